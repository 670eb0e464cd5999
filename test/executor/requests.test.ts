/** What a thread does with requests that no api made: whoever has a port can send what it likes. */
import { once } from 'node:events';
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { type Answer, type Request } from '../../src/executor/protocol.ts';
import { openHostile } from '../support/open-hostile.ts';
import { committed } from '../support/open-ledger.ts';
import { useTempDir } from '../support/temp-dir.ts';

describe.for(['executor', 'per-context'] as const)('a port to %s', (strategy) => {
  const dir = useTempDir();

  /** The port that leads to the thread, behind the one that `db.port()` gives. */
  async function openLine(): Promise<{ ask: (request: Request) => Promise<Answer> }> {
    const db = await openHostile(dir, { strategy });
    const control = db.port();
    receiveMessageOnPort(control);
    const [{ port }] = (await once(control, 'message')) as [{ port: MessagePort }];
    dir.atEnd(() => {
      port.close();
      control.close();
    });
    return {
      async ask(request) {
        port.postMessage([request]);
        for (;;) {
          const [batch] = (await once(port, 'message')) as [readonly Answer[]];
          const answer = batch.find(([kind]) => kind !== 'stats');
          if (answer !== undefined) return answer;
        }
      },
    };
  }

  /** The word of the request, by which it is answered. */
  const word = 4;
  const call = (repository: string, method: string, scope = 0): Request => [
    'call',
    ...([1, word, scope, repository, method, ['a'], undefined, undefined] as const),
  ];

  test.for([
    ['hostile', 'constructor'],
    ['hostile', '__proto__'],
    ['hostile', 'toString'],
    ['hostile', 'hasOwnProperty'],
    ['things', 'add'],
    ['__proto__', 'add'],
    ['constructor', 'constructor'],
    ['entries', 'add'],
  ] as const)('finds no %s.%s among the registry’s own methods', async ([repository, method]) => {
    const { ask } = await openLine();
    expect(await ask(call(repository, method))).toMatchObject(['error', word, { type: 'UnknownMethodError' }]);
    expect(committed(dir)).toEqual([]);
  });

  test('finds no transaction that was not begun through it', async () => {
    const { ask } = await openLine();
    expect(await ask(call('hostile', 'add', 7))).toMatchObject(['error', word, { type: 'TransactionEndedError' }]);
    expect(committed(dir)).toEqual([]);
  });
});
