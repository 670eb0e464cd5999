/** `db.port()` and `connect()`: the same database from other threads, whatever strategy it has. */
import { MessageChannel } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import {
  ClosedError,
  connect,
  ContextError,
  type Database,
  defineRepositories,
  defineRepository,
  ExecutorError,
  open,
  OptionError,
  TimeoutError,
  TransactionEndedError,
} from '../../src/index.ts';
import { hostile } from '../support/hostile.ts';
import { createLedger, entries, ledger } from '../support/ledger.ts';
import { openHostile } from '../support/open-hostile.ts';
import { committed, expectNoTransaction } from '../support/open-ledger.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { expectBlocked, gate, rejection, until } from '../support/waiting.ts';
import { startThread } from './thread.ts';

describe('misuse', () => {
  const dir = useTempDir();

  test('a port that is none of db.port() is refused', async () => {
    const db = await openHostile(dir, { strategy: 'per-context' });
    const { port1, port2 } = new MessageChannel();
    expect(() => connect(port1, hostile)).toThrow(OptionError);
    expect(() => connect(undefined as never, hostile)).toThrow(/the first argument is undefined/);
    port1.close();
    port2.close();
    const port = db.port();
    const connected = connect(port, hostile);
    expect(() => connect(port, hostile)).toThrow(/was connected already/);
    await connected.close();
  });

  test('a registry of other repositories is refused', async () => {
    const db = await openHostile(dir, { strategy: 'per-context' });
    const port = db.port();
    expect(() => connect(port, ledger)).toThrow(/has the repositories hostile, things, and the registry accounts/);
    port.close();
  });

  test('a closed database gives no port', async () => {
    const db = await openHostile(dir, { strategy: 'per-context' });
    await db.close();
    expect(() => db.port()).toThrow(ClosedError);
  });

  test('the main thread must not block', async () => {
    const db = await openHostile(dir, { strategy: 'per-context' });
    const connected = connect(db.port(), hostile);
    const { isMainThread } = await import('node:worker_threads');
    expect(() => connected.blocking.hostile.listed()).toThrow(ContextError);
    expect(() => connected.blocking.hostile.listed()).toThrow(isMainThread ? /main thread/ : /serves the calls/);
    await connected.close();
  });
});

for (const strategy of ['per-context', 'executor'] as const) {
  describe(strategy, () => {
    const dir = useTempDir();

    test('another thread calls, reads what it wrote, and is seen', async () => {
      const db = await openHostile(dir, { strategy });
      const thread = startThread(dir, db);
      expect(await thread.tell({ kind: 'add', call: 'a' })).toBe(1);
      expect(await thread.tell({ kind: 'snapshot' })).toEqual(['a/1']);
      expect(await db.api.hostile.listed()).toEqual(['a/1']);
    });

    test('another thread may block until the answer is there', async () => {
      const db = await openHostile(dir, { strategy });
      const thread = startThread(dir, db);
      expect(await thread.tell({ kind: 'blocking-add', call: 'a' })).toEqual([1, ['a/1']]);
      expect(await thread.tell({ kind: 'blocking-in-transaction', call: 'b' })).toEqual([1, ['a/1', 'b/1']]);
      expect(await rejection(thread.tell({ kind: 'blocking-error', call: 'c' }), RangeError)).toMatchObject({
        name: 'Tantrum',
        degree: 3,
        outcome: 'rolled-back',
      });
      expect(committed(dir)).toEqual(['a/1', 'b/1']);
    });

    test('another thread may not block where it would wait for what itself has begun', async () => {
      const db = await openHostile(dir, { strategy, readers: 1 });
      const thread = startThread(dir, db);
      // Those of a transaction's callback are what it is undone with.
      const outcomes = {
        'beside-transaction': 'rolled-back',
        'before-transaction': 'not-started',
        'beside-nested': 'rolled-back',
        'beside-snapshots': undefined,
      } as const;
      for (const [kind, outcome] of Object.entries(outcomes) as [keyof typeof outcomes, string | undefined][]) {
        const since = performance.now();
        const error = await rejection(thread.tell({ kind: `blocking-${kind}`, call: kind }), ContextError);
        expect(error.message, kind).toMatch(
          /cannot block here: it would wait for a transaction or snapshot of this thread/,
        );
        expect(error.outcome, kind).toBe(outcome);
        expect(performance.now() - since, kind).toBeLessThan(4000);
      }
      expect(committed(dir)).toEqual([]);
    });

    test('another thread may block where what it has begun is over', async () => {
      const db = await openHostile(dir, { strategy, readers: 1 });
      const thread = startThread(dir, db);
      expect(await thread.tell({ kind: 'blocking-after-settled', call: 'a' })).toBe(1);
      expect(await thread.tell({ kind: 'blocking-in-stream', call: 'b' })).toEqual([1, 2, 1, 2]);
      expect(committed(dir)).toEqual(['a-before/1', 'a/1']);
    });

    test('a blocking call in a transaction that was given up is refused like any other', async () => {
      const db = await openHostile(dir, { strategy });
      const thread = startThread(dir, db);
      const error = await rejection(thread.tell({ kind: 'blocking-given-up', call: 'a' }), TransactionEndedError);
      expect(error.outcome).toBe('not-started');
      expect(committed(dir)).toEqual([]);
    });

    test('a thread that dies in a transaction has it undone, and the lane goes on', async () => {
      // | other thread     | here           |
      // |------------------|----------------|
      // | adds a           |                |
      // |   (for ever)     | add: blocked   |
      // | is terminated    |                |
      // |                  | adds b         |
      const db = await openHostile(dir, { strategy, timeout: 60_000 });
      const thread = startThread(dir, db);
      expect(await thread.tell({ kind: 'transact', call: 'a' })).toBe('inside');
      const add = db.api.hostile.add('b');
      await expectBlocked(add);
      await thread.worker.terminate();
      await add;
      expectNoTransaction(dir);
      expect(committed(dir)).toEqual(['b/1']);
    });

    test('a transaction of another thread makes those here wait, and is named by its kind', async () => {
      const db = await openHostile(dir, { strategy });
      const thread = startThread(dir, db);
      expect(await thread.tell({ kind: 'transact', call: 'a' })).toBe('inside');
      const late = await db.context({ timeout: 100 }, () => rejection(db.api.hostile.add('b'), TimeoutError));
      expect(late).toMatchObject({ outcome: 'not-started', wait: 'write lane', holder: { label: 'transaction' } });
    });

    test('a connected database that is closed leaves the other one open', async () => {
      const db = await openHostile(dir, { strategy });
      const thread = startThread(dir, db);
      await thread.tell({ kind: 'add', call: 'a' });
      expect(await thread.tell({ kind: 'close' })).toEqual({ abandoned: [] });
      await rejection(thread.tell({ kind: 'add', call: 'b' }), ClosedError);
      await db.api.hostile.add('c');
      expect(committed(dir)).toEqual(['a/1', 'c/1']);
    });

    test('a database that is closed refuses the calls of the other threads', async () => {
      const db = await openHostile(dir, { strategy });
      const thread = startThread(dir, db);
      await thread.tell({ kind: 'add', call: 'a' });
      await db.close();
      const error = await rejection(thread.tell({ kind: 'add', call: 'b' }), ClosedError);
      expect(error).toMatchObject({ outcome: 'not-started' });
      expect(committed(dir)).toEqual(['a/1']);
    });

    test('eight threads serve a thousand requests on the same repositories, each transaction by itself', async () => {
      const db = await openHostile(dir, { strategy, timeout: 60_000 });
      const threads = Array.from({ length: 8 }, () => startThread(dir, db));
      const served = await Promise.all(
        threads.map((thread, at) => thread.tell({ kind: 'requests', call: String(at), count: 125 })),
      );
      expect(served).toEqual(threads.map(() => 125));
      expect(await db.api.hostile.listed()).toHaveLength(2000);
    }, 120_000);
  });
}

describe('an executor that is started again', () => {
  const dir = useTempDir();

  test('is reached by the other threads as before, and what they had queued is run', async () => {
    const db = await openHostile(dir, { timeout: 60_000 });
    const thread = startThread(dir, db);
    await thread.tell({ kind: 'add', call: 'a' });
    const fatal = rejection(db.api.hostile.addAndExit('fatal'), ExecutorError);
    const added = thread.tell({ kind: 'add', call: 'b' });
    await fatal;
    await added;
    await thread.tell({ kind: 'add', call: 'c' });
    expect(committed(dir)).toEqual(['a/1', 'b/1', 'c/1']);
  });
});

describe('the place that a holder was called from', () => {
  const dir = useTempDir();

  test('is said where it is of the thread that waits, and never a place of this thread for a holder of another', async () => {
    // | another thread | here                                   |
    // |----------------|----------------------------------------|
    // | a snapshot     |                                        |
    // |                | three more, and one more waits in vain |
    // | dies           |                                        |
    // |                | a fourth, and one more waits in vain   |
    const db = await openHostile(dir, { timeout: 100 });
    const thread = startThread(dir, db);
    expect(await thread.tell({ kind: 'hold-snapshot' })).toBe('inside');
    const hold = gate();
    const holdOne = async (): Promise<Promise<void>[]> => {
      const begun = gate();
      const held = db.snapshot(async (api) => {
        await api.hostile.listed();
        begun.open();
        await hold.passed;
      });
      await begun.passed;
      return [held];
    };
    const held = [...(await holdOne()), ...(await holdOne()), ...(await holdOne())];
    const waitInVain = (): Promise<TimeoutError> =>
      rejection(
        db.snapshot(() => 1),
        TimeoutError,
      );
    const behindAnother = await waitInVain();
    expect(behindAnother).toMatchObject({ wait: 'reader', holder: { label: 'snapshot', site: undefined } });
    expect(behindAnother.message).not.toContain('called');
    await thread.worker.terminate();
    await until('the snapshot of the other thread to end', () => db.stats().readers.leased === 3);
    held.push(...(await holdOne()));
    const behindOwn = await waitInVain();
    expect(behindOwn.holder?.site).toMatch(/ports\.test\.ts:\d+:\d+/);
    expect(behindOwn.message).toContain(`called ${behindOwn.holder?.site}`);
    hold.open();
    await Promise.all(held);
  });
});

describe('effects of calls from elsewhere', () => {
  const dir = useTempDir();

  // | the caller           | the thread that serves it            |
  // |----------------------|--------------------------------------|
  // | calls, with a label  |                                      |
  // |                      | commits, and begins its effect,      |
  // | is answered          | which calls the same database itself |
  // | calls again          |                                      |
  // |                      | must not take one call for the other |
  test('make calls of their own, which nobody else has given up, and which give nobody up', async () => {
    const db = await openEchoing();
    const far = connect(db.port(), echoing);
    for (let at = 0; at < 100; at++) {
      await far.context({ label: 'GET /x' }, () =>
        Promise.all([far.api.entries.addAndEcho(`a-${at}`), far.api.entries.add(`b-${at}`)]),
      );
    }
    await far.close();
    expect((await Promise.allSettled(echoes)).filter(({ status }) => status === 'rejected')).toEqual([]);
    expect(committed(dir)).toHaveLength(300);
  });

  const echoes: Promise<unknown>[] = [];
  const echoing = defineRepositories(import.meta.url, {
    entries: defineRepository(entries, {
      writes: (db, { afterCommit }) => {
        const add = (call: string): void => {
          db.insert(entries).values({ call, part: 1 }).run();
        };
        return {
          add,
          addAndEcho(call: string) {
            add(call);
            afterCommit(() => {
              echoes.push(opened.api.entries.add(`echo of ${call}`));
            });
          },
        };
      },
    }),
  });
  let opened: Database<typeof echoing>;
  async function openEchoing(): Promise<typeof opened> {
    createLedger(dir.file());
    opened = await open({ file: dir.file(), repositories: echoing, strategy: 'per-context' });
    dir.atEnd(() => opened.close());
    return opened;
  }
});
