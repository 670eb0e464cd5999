/**
 * A process under write load, to be killed at any moment: many callers write without a pause, and each writes its call's
 * name to stdout once, and only once, its promise has resolved. Every call leaves two rows or none.
 */
import { once } from 'node:events';
import { writeSync } from 'node:fs';
import { ledger } from '../support/ledger.ts';
import { strategiesNamed } from '../support/strategies.ts';

const [, , file = '', title = '', run = ''] = process.argv;
const [strategy] = strategiesNamed(title);
if (strategy === undefined) throw new Error(`unknown strategy ${title}`);
const CALLERS = 24;

// Loading takes longer than a life does: the next one is loaded while this one still writes, and begins at a word.
await once(process.stdin, 'data');
const db = await strategy.open({ file, repositories: ledger, batch: { calls: 10 } });

/** Straight to the pipe: what the parent reads had been acknowledged before the process died. */
function say(line: string): void {
  writeSync(1, `${line}\n`);
}

async function caller(name: number): Promise<never> {
  for (let at = 0; ; at++) {
    const call = `${run}-${name}-${at}`;
    switch ((name * 5 + at) % 16) {
      case 0:
        // Two calls with a turn of the event loop between them: the kill may come while the transaction is open.
        await db.transaction(async (api) => {
          await api.entries.run(call, ['row']);
          await new Promise(setImmediate);
          await api.entries.insert({ call, part: 2 });
        });
        say(call);
        break;
      case 1:
        // Ends everybody's transaction, so that the kill may come while the others run again.
        await db.api.entries.run(call, ['row', 'rollback']).catch(() => undefined);
        break;
      case 2:
        await db.api.entries.run(call, ['row', 'orphan']).catch(() => undefined);
        break;
      case 3:
        await db.api.entries.run(call, ['row', 'again']).catch(() => undefined);
        break;
      case 4:
        await db.snapshot((api) => api.entries.count());
        break;
      default:
        await db.api.entries.run(call);
        say(call);
    }
  }
}

say('ready');
await Promise.all(Array.from({ length: CALLERS }, (_, name) => caller(name)));
