import { describe, expect, test } from 'vitest';
import { type DatabaseStats, type WriteStats } from '../../src/index.ts';
import { type LedgerDatabase, Refusal } from '../support/ledger.ts';
import { committed, openLedger } from '../support/open-ledger.ts';
import { startPeer } from '../support/peer.ts';
import { IN_THREAD } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { gate, rejection, until } from '../support/waiting.ts';

for (const strategy of IN_THREAD) {
  describe(strategy.name, () => {
    const dir = useTempDir();

    function writes(db: LedgerDatabase): WriteStats {
      const { writes } = db.stats();
      if (writes === undefined) throw new Error('it can only be read');
      return writes;
    }
    const counts = (db: LedgerDatabase): readonly number[] => {
      const { batches, commits, replays, busyRetries } = writes(db);
      return [batches, commits, replays, busyRetries];
    };

    /** From here on `entries.run` is known to run several statements. */
    async function prime(db: LedgerDatabase): Promise<void> {
      await db.api.entries.run('primed', ['row', 'row']);
      await db.api.entries.clear();
    }

    test('of a database that did nothing are zeros', async () => {
      const db = await openLedger(dir, strategy);
      const nothing = { count: 0, mean: 0, p50: 0, p90: 0, p99: 0, max: 0 };
      expect(db.stats()).toEqual({
        writes: {
          queued: 0,
          batches: 0,
          commits: 0,
          replays: 0,
          busyRetries: 0,
          discarded: 0,
          batchSize: nothing,
          wait: nothing,
          run: nothing,
        },
        readers: { open: 0, leased: 0, waiting: 0, oldest: undefined, repaired: 0, discarded: 0 },
        streams: { pinning: 0, oldest: undefined },
        wal: { size: 0, limit: 64 * 1024 * 1024, checkpoints: 0, blocked: 0, longest: 0 },
        advice: [],
        hazards: [],
      } satisfies DatabaseStats);
    });

    test('are plain data, made anew each time, also after the close', async () => {
      const db = await openLedger(dir, strategy);
      const before = db.stats();
      await db.api.entries.run('a', ['row']);
      expect(before.writes?.commits).toBe(0);
      const after = db.stats();
      expect(structuredClone(after)).toEqual(after);
      await db.close();
      expect(db.stats().writes).toEqual(after.writes);
    });

    test('count a batch and a commit for each call that came alone', async () => {
      const db = await openLedger(dir, strategy);
      for (const call of ['a', 'b', 'c']) await db.api.entries.run(call, ['row']);
      expect(counts(db)).toEqual([3, 3, 0, 0]);
      expect(writes(db).batchSize).toMatchObject({ count: 3, max: 1, mean: 1 });
    });

    test('count one batch and one commit for calls that came together', async () => {
      const db = await openLedger(dir, strategy, { batch: { calls: 8, slice: 10_000 } });
      await Promise.all(Array.from({ length: 20 }, (_, at) => db.api.entries.run(String(at), ['row'])));
      expect(counts(db)).toEqual([3, 3, 0, 0]);
      expect(writes(db).batchSize).toMatchObject({ count: 3, max: 8, mean: 20 / 3 });
      expect(writes(db).wait.count).toBe(20);
      expect(writes(db).run.count).toBe(20);
    });

    test('count no commit for a batch in which every call failed', async () => {
      const db = await openLedger(dir, strategy);
      await rejection(db.api.entries.run('a', ['row', 'again']), Error);
      expect(counts(db)).toEqual([1, 0, 0, 0]);
    });

    test('count a transaction that committed, and none that did not', async () => {
      const db = await openLedger(dir, strategy);
      await db.transaction(async (api) => {
        await api.entries.run('a', ['row']);
        await db.transaction((inner) => inner.entries.run('b', ['row']));
      });
      await rejection(
        db.transaction(() => {
          throw new Refusal('no');
        }),
        Refusal,
      );
      expect(counts(db)).toEqual([0, 1, 0, 0]);
    });

    test('count who runs again after a poison, and not who had not run yet', async () => {
      const db = await openLedger(dir, strategy, { batch: { slice: 10_000 } });
      await prime(db);
      await Promise.allSettled(
        ['a', 'b', 'guilty', 'd'].map((call) =>
          db.api.entries.run(call, call === 'guilty' ? ['row', 'rollback'] : ['row']),
        ),
      );
      // One is undone by the guilty call, one has a and b again, one the guilty call, one has d.
      expect(counts(db)).toEqual([2 + 4, 2 + 2, 3, 0]);
      expect(committed(dir)).toEqual(['a/1', 'b/1', 'd/1']);
    });

    test('count everybody who runs again after COMMIT refused the batch', async () => {
      const db = await openLedger(dir, strategy, { batch: { slice: 10_000 } });
      await prime(db);
      await Promise.allSettled(
        ['a', 'guilty', 'c'].map((call) => db.api.entries.run(call, call === 'guilty' ? ['row', 'orphan'] : ['row'])),
      );
      // One is undone at its COMMIT, and then each has one of its own.
      expect(counts(db)).toEqual([2 + 4, 2 + 2, 3, 0]);
      expect(committed(dir)).toEqual(['a/1', 'c/1']);
    });

    test('count who runs again because a method fails that was trusted not to, once', async () => {
      const db = await openLedger(dir, strategy, { batch: { slice: 10_000 } });
      await Promise.all(Array.from({ length: 64 }, (_, at) => db.api.entries.run(`before-${at}`, ['row'])));
      await db.api.entries.clear();
      const together = (): Promise<unknown> =>
        Promise.allSettled(
          ['a', 'b', 'c'].map((call) => db.api.entries.run(call, call === 'b' ? ['row', 'throw'] : ['row'])),
        );
      await together();
      expect(writes(db).replays).toBe(2);
      await db.api.entries.clear();
      await together();
      expect(writes(db).replays).toBe(2);
      expect(committed(dir)).toEqual(['a/1', 'c/1']);
    });

    test.for(['a call', 'a transaction'] as const)(
      'count the tries of %s while another process holds the lock, and none once it is free',
      async (what) => {
        const db = await openLedger(dir, strategy);
        const peer = await startPeer(dir);
        await peer.ask({ kind: 'lock' });
        const write =
          what === 'a call' ? db.api.entries.run('a', ['row']) : db.transaction((api) => api.entries.run('a', ['row']));
        await until('three tries', () => writes(db).busyRetries >= 3);
        expect(writes(db).commits).toBe(0);
        await peer.ask({ kind: 'unlock' });
        await write;
        const { busyRetries, commits } = writes(db);
        expect(commits).toBe(1);
        await db.api.entries.run('b', ['row']);
        expect(writes(db).busyRetries).toBe(busyRetries);
      },
    );

    test('count the tries while another handle of this process holds the lock', async () => {
      const db = await openLedger(dir, strategy);
      const other = dir.raw();
      other.exec('BEGIN IMMEDIATE');
      const call = db.api.entries.run('a', ['row']);
      await until('a try', () => writes(db).busyRetries > 0);
      expect(writes(db).queued).toBe(1);
      other.exec('COMMIT');
      await call;
      expect(counts(db).slice(0, 3)).toEqual([1, 1, 0]);
    });

    test('say how many calls wait, until they do no more', async () => {
      const db = await openLedger(dir, strategy);
      const [begun, held] = [gate(), gate()];
      const transaction = db.transaction(async () => {
        begun.open();
        await held.passed;
      });
      await begun.passed;
      const calls = ['a', 'b', 'c'].map((call) => db.api.entries.run(call, ['row']));
      expect(writes(db).queued).toBe(3);
      const controller = new AbortController();
      const aborted = db.context({ signal: controller.signal }, () => rejection(db.api.entries.run('d'), Error));
      expect(writes(db).queued).toBe(4);
      controller.abort();
      await aborted;
      expect(writes(db).queued).toBe(3);
      held.open();
      await Promise.all([transaction, ...calls]);
      expect(writes(db).queued).toBe(0);
    });

    test('know how long calls waited and ran, in milliseconds', async () => {
      const db = await openLedger(dir, strategy, { batch: { slice: 10_000 } });
      const before = performance.now();
      await Promise.all([db.api.entries.spin('a', 20), db.api.entries.spin('b', 20)]);
      const took = performance.now() - before;
      const { wait, run } = writes(db);
      expect(run.count).toBe(2);
      expect(run.p50).toBeGreaterThanOrEqual(20);
      expect(run.max).toBeLessThanOrEqual(took);
      expect(wait.max, 'the second one waited for the first').toBeGreaterThanOrEqual(20);
      expect(wait.max).toBeLessThanOrEqual(took);
    });

    test('of two databases on one file are each one’s own', async () => {
      const one = await openLedger(dir, strategy);
      const two = await openLedger(dir, strategy);
      await one.api.entries.run('a', ['row']);
      await two.transaction((api) => api.entries.run('b', ['row']));
      await two.api.entries.run('c', ['row']);
      expect(counts(one)).toEqual([1, 1, 0, 0]);
      expect(counts(two)).toEqual([1, 2, 0, 0]);
    });

    test.runIf(strategy.writesDuringSnapshot)('say who has a reader and who waits for one', async () => {
      const db = await openLedger(dir, strategy, { readers: 1 });
      const [begun, held] = [gate(), gate()];
      const snapshot = db.snapshot(async () => {
        begun.open();
        await held.passed;
      });
      await begun.passed;
      const waiting = db.snapshot((api) => api.entries.count());
      expect(db.stats().readers).toMatchObject({ open: 1, leased: 1, waiting: 1, oldest: { label: 'snapshot' } });
      held.open();
      await Promise.all([snapshot, waiting]);
      expect(db.stats().readers).toMatchObject({ open: 1, leased: 0, waiting: 0, oldest: undefined });
    });

    test('of a database that is only read have no writes', async () => {
      const made = await openLedger(dir, strategy);
      await made.close();
      const db = await openLedger(dir, strategy, { readonly: true });
      expect(await db.api.entries.count()).toBe(0);
      expect(db.stats()).toMatchObject({ writes: undefined, readers: { leased: 0 } });
    });
  });
}
