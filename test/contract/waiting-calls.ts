import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { QueueFullError, TimeoutError } from '../../src/index.ts';
import { committed, openLedger } from '../support/open-ledger.ts';
import { startPeer } from '../support/peer.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { expectBlocked, gate, rejection, until, watch } from '../support/waiting.ts';

/** Promises 9 to 11 as far as the write lane goes: no sleep in SQLite, an end to every wait, a known outcome. */
export function waitingCalls(strategy: StrategyUnderTest): void {
  describe('9 to 11. Waiting calls', () => {
    const dir = useTempDir();

    test('one call more than may wait is refused at once', async () => {
      const db = await openLedger(dir, strategy, { maxQueue: 3 });
      const held = gate();
      const begun = gate();
      const transaction = db.transaction(async () => {
        begun.open();
        await held.passed;
      });
      await begun.passed;
      const accepted = ['a', 'b', 'c'].map((call) => db.api.entries.run(call, ['row']));
      const refused = [
        rejection(db.api.entries.run('d'), QueueFullError),
        rejection(
          db.transaction((api) => api.entries.run('e')),
          QueueFullError,
        ),
      ];
      // The lane is still held: they were refused without waiting for it.
      for (const error of await Promise.all(refused)) {
        expect(error).toMatchObject({ limit: 3, outcome: 'not-started', code: 'SLUICE_QUEUE_FULL' });
      }
      held.open();
      await Promise.all([transaction, ...accepted]);
      await db.api.entries.run('f', ['row']);
      expect(committed(dir)).toEqual(['a/1', 'b/1', 'c/1', 'f/1']);
    });

    test('a write that waited too long for a transaction names it, and has not started', async () => {
      const db = await openLedger(dir, strategy, { timeout: 50 });
      const held = gate();
      const begun = gate();
      const transaction = db.transaction(async (api) => {
        await api.entries.run('first', ['row']);
        begun.open();
        await held.passed;
      });
      await begun.passed;
      const write = await rejection(db.api.entries.run('late'), TimeoutError);
      expect(write).toMatchObject({ code: 'SLUICE_TIMEOUT', wait: 'write lane', outcome: 'not-started' });
      expect(write.holder?.label).toBe('transaction');
      expect(write.holder?.site, 'where the transaction was called').toContain('waiting-calls.ts:');
      expect(write.message).toContain(String(write.holder?.site));
      expect(write.holder?.heldFor).toBeGreaterThan(25);
      expect(write.message).toMatch(/entries\.run: waited \d+ ms .*transaction/);
      const other = await rejection(
        db.transaction((api) => api.entries.run('later')),
        TimeoutError,
      );
      expect(other).toMatchObject({ outcome: 'not-started' });
      expect(other.holder?.label).toBe('transaction');
      held.open();
      await transaction;
      expect(committed(dir)).toEqual(['first/1']);
    });

    test('a write that waited too long behind other writes has not started', async () => {
      // Each call takes longer than a batch may, so that every one is a batch of its own.
      const db = await openLedger(dir, strategy, { timeout: 60, batch: { slice: 5 } });
      const calls = Array.from({ length: 40 }, (_, at) => db.api.entries.spin(String(at), 10));
      const settled = await Promise.allSettled(calls);
      const late = settled.filter((result) => result.status === 'rejected');
      expect(late.length, 'of 400 ms of work most must come too late').toBeGreaterThan(15);
      for (const { reason } of late) {
        expect(reason).toBeInstanceOf(TimeoutError);
        expect(reason).toMatchObject({ wait: 'write lane', outcome: 'not-started' });
      }
      expect(committed(dir)).toHaveLength(calls.length - late.length);
    });

    test('a write waits for another process without putting the event loop to sleep', async () => {
      // | another process  | this one                                     |
      // |------------------|----------------------------------------------|
      // | BEGIN IMMEDIATE  |                                              |
      // |                  | run: blocked, and thirty timers go by        |
      // | COMMIT           |                                              |
      // |                  | run resolves                                 |
      const db = await openLedger(dir, strategy);
      const peer = await startPeer(dir);
      await peer.ask({ kind: 'lock' });
      let ticks = 0;
      let longest = 0;
      let last = performance.now();
      const timer = setInterval(() => {
        ticks += 1;
        longest = Math.max(longest, performance.now() - last);
        last = performance.now();
      }, 10);
      dir.atEnd(() => {
        clearInterval(timer);
      });
      const writes = [
        db.api.entries.run('a', ['row']),
        db.api.entries.run('b', ['row']),
        db.transaction((api) => api.entries.run('c', ['row'])),
      ];
      const seen = writes.map((write) => watch(write));
      await until('thirty timers', () => ticks >= 30);
      expect(seen).toEqual([{ settled: false }, { settled: false }, { settled: false }]);
      expect(longest, 'ms that the event loop stood still').toBeLessThan(2000);
      expect(await db.api.entries.count(), 'reads go on').toBe(0);
      await peer.ask({ kind: 'unlock' });
      await Promise.all(writes);
      expect(committed(dir)).toEqual(['a/1', 'b/1', 'c/1']);
    });

    test('a write or a transaction that waited too long for another process has not started', async () => {
      const db = await openLedger(dir, strategy, { timeout: 50 });
      const peer = await startPeer(dir);
      await peer.ask({ kind: 'lock' });
      const write = await rejection(db.api.entries.run('late'), TimeoutError);
      expect(write).toMatchObject({ wait: 'file lock', outcome: 'not-started' });
      const transaction = await rejection(
        db.transaction((api) => api.entries.run('late')),
        TimeoutError,
      );
      expect(transaction).toMatchObject({ wait: 'file lock', outcome: 'not-started' });
      await peer.ask({ kind: 'unlock' });
      await db.api.entries.run('after', ['row']);
      expect(committed(dir)).toEqual(['after/1']);
    });

    test('a snapshot that waited too long for a reader or the handle names who has it', async () => {
      const db = await openLedger(dir, strategy, { timeout: 50, readers: 1 });
      const held = gate();
      const begun = gate();
      const first = db.snapshot(async () => {
        begun.open();
        await held.passed;
      });
      await begun.passed;
      const second = await rejection(
        db.snapshot((api) => api.entries.count()),
        TimeoutError,
      );
      expect(second.holder?.label).toBe('snapshot');
      expect(second.holder?.site, 'where the snapshot was called').toContain('waiting-calls.ts:');
      const read = await rejection(db.api.entries.count(), TimeoutError);
      expect(read.holder?.label).toBe('snapshot');
      held.open();
      await first;
      expect(await db.api.entries.count()).toBe(0);
    });

    test('a lone call waits for no company, and callers of one turn share a commit', async () => {
      // A slice that a slow machine does not use up.
      const db = await openLedger(dir, strategy, { batch: { slice: 10_000 } });
      const other = dir.raw();
      const version = (): unknown => other.pragma('data_version', { simple: true });
      const count = other.prepare('SELECT count(*) FROM entries').pluck();
      const before = version();
      const calls = Array.from({ length: 50 }, (_, at) => db.api.entries.run(String(at), ['row']));
      // The first commit that another connection can see has all of them in it.
      await until('a commit', () => version() !== before);
      expect(count.get()).toBe(50);
      await Promise.all(calls);
    });

    test('ten thousand waiting writes let timers run between the batches', async () => {
      const db = await openLedger(dir, strategy, { maxQueue: 10_000 });
      const calls = Array.from({ length: 10_000 }, (_, at) => db.api.entries.run(String(at), ['row']));
      const writers = watch(Promise.all(calls));
      let turnsTaken = 0;
      while (!writers.settled) {
        turnsTaken += 1;
        await turn();
      }
      await Promise.all(calls);
      expect(turnsTaken).toBeGreaterThan(5);
      expect(await db.api.entries.count()).toBe(10_000);
    });

    test('a transaction of another process makes nobody lose the order of arrival', async () => {
      const db = await openLedger(dir, strategy);
      const peer = await startPeer(dir);
      await peer.ask({ kind: 'lock' });
      const first = db.api.entries.run('first', ['row']);
      await expectBlocked(first);
      const second = db.api.entries.run('second', ['row']);
      await expectBlocked(second);
      await peer.ask({ kind: 'unlock' });
      await Promise.all([first, second]);
      expect(committed(dir)).toEqual(['first/1', 'second/1']);
    });
  });
}
