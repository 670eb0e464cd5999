import { existsSync, statSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ClosedError } from '../../src/index.ts';
import { createLedger, ledger } from '../support/ledger.ts';
import { committed, expectNoTransaction, openLedger } from '../support/open-ledger.ts';
import { startPeer } from '../support/peer.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { expectBlocked, gate, rejection } from '../support/waiting.ts';

/** Promise 14: `close()` refuses new calls, finishes accepted ones, checkpoints, and is idempotent. */
export function closing(strategy: StrategyUnderTest): void {
  describe('14. Closing loses nothing', () => {
    const dir = useTempDir();

    test('a call made while the close waits is refused', async () => {
      const db = await openLedger(dir, strategy);
      const accepted = db.api.entries.run('accepted', ['row']);
      const closed = db.close();
      expect((await rejection(db.api.entries.run('refused'), ClosedError)).outcome).toBe('not-started');
      await rejection(db.api.entries.count(), ClosedError);
      await rejection(
        db.transaction((api) => api.entries.run('refused')),
        ClosedError,
      );
      await Promise.all([accepted, closed]);
      expect(committed(dir)).toEqual(['accepted/1']);
    });

    test('accepted writes are finished, though nobody awaited them', async () => {
      const db = await openLedger(dir, strategy, { batch: { calls: 9 } });
      const writes = Array.from({ length: 100 }, (_, at) => db.api.entries.run(String(at), ['row']));
      expect(await db.close()).toEqual({ abandoned: [] });
      expect(committed(dir)).toEqual(writes.map((_, at) => `${at}/1`));
      await Promise.all(writes);
    });

    test('accepted transactions, snapshots and the calls they still make are finished', async () => {
      // | transaction       | snapshot      | close            |
      // |-------------------|---------------|------------------|
      // | begins            |               |                  |
      // |   (gate)          | is accepted   | waits            |
      // | writes, commits   |               |                  |
      // |                   | reads         |                  |
      // |                   |               | resolves         |
      const db = await openLedger(dir, strategy);
      const begun = gate();
      const held = gate();
      const transaction = db.transaction(async (api) => {
        begun.open();
        await held.passed;
        await api.entries.run('a');
      });
      await begun.passed;
      const queued = db.api.entries.run('b', ['row']);
      const snapshot = db.snapshot((api) => api.entries.count());
      const closed = db.close();
      await expectBlocked(closed);
      held.open();
      await Promise.all([transaction, queued, closed]);
      expect([0, 2, 3]).toContain(await snapshot);
      expect(committed(dir)).toEqual(['a/1', 'a/2', 'b/1']);
    });

    test('it is idempotent: every close gives the same report', async () => {
      const db = await openLedger(dir, strategy);
      const [one, two] = await Promise.all([db.close(), db.close({ drain: 0 })]);
      expect(two).toBe(one);
      expect(await db.close()).toBe(one);
      await db[Symbol.asyncDispose]();
    });

    test('a deadline that passes names what it gave up on, and rejects it with its outcome', async () => {
      const db = await openLedger(dir, strategy);
      const begun = gate();
      const never = gate();
      const transaction = db.transaction(async (api) => {
        await api.entries.run('a');
        begun.open();
        await never.passed;
      });
      const straggler = rejection(transaction, ClosedError);
      await begun.passed;
      const queued = ['b', 'c'].map((call) => rejection(db.api.entries.run(call), ClosedError));
      const waiting = rejection(
        db.transaction((api) => api.entries.run('d')),
        ClosedError,
      );
      const report = await db.close({ drain: 20 });
      expect(report.abandoned).toEqual(['transaction', 'entries.run', 'entries.run', 'transaction']);
      expect((await straggler).outcome).toBe('rolled-back');
      for (const error of [...(await Promise.all(queued)), await waiting]) expect(error.outcome).toBe('not-started');
      expect(dir.descriptors()).toEqual([]);
      expectNoTransaction(dir);
      expect(committed(dir)).toEqual([]);
      never.open();
    });

    test('a deadline that passes ends snapshots too', async () => {
      const db = await openLedger(dir, strategy);
      const begun = gate();
      const snapshot = db.snapshot(async (api) => {
        await api.entries.count();
        begun.open();
        await gate().passed;
      });
      const straggler = rejection(snapshot, ClosedError);
      await begun.passed;
      const report = await db.close({ drain: 20 });
      expect(report.abandoned).toEqual(['snapshot']);
      await straggler;
      expectNoTransaction(dir);
    });

    test('a deadline is kept while another process holds the lock', async () => {
      const db = await openLedger(dir, strategy, { timeout: 60_000 });
      const peer = await startPeer(dir);
      await peer.ask({ kind: 'lock' });
      const transaction = rejection(
        db.transaction((api) => api.entries.run('a')),
        ClosedError,
      );
      const write = rejection(db.api.entries.run('b'), ClosedError);
      const report = await db.close({ drain: 20 });
      expect(report.abandoned.toSorted()).toEqual(['entries.run', 'transaction']);
      expect((await transaction).outcome).toBe('not-started');
      expect((await write).outcome).toBe('not-started');
      await peer.ask({ kind: 'unlock' });
      expect(committed(dir)).toEqual([]);
    });

    test('a deadline that does not pass abandons nothing', async () => {
      const db = await openLedger(dir, strategy);
      const writes = Array.from({ length: 20 }, (_, at) => db.api.entries.run(String(at), ['row']));
      expect(await db.close({ drain: 10_000 })).toEqual({ abandoned: [] });
      await Promise.all(writes);
    });

    test('the WAL is emptied into the database, or gone', async () => {
      const db = await openLedger(dir, strategy);
      await Promise.all(Array.from({ length: 50 }, (_, at) => db.api.entries.run(String(at))));
      await db.close();
      const wal = `${dir.file()}-wal`;
      expect(existsSync(wal) ? statSync(wal).size : 0).toBe(0);
    });

    test('of two databases on one file the other one goes on working', async () => {
      const one = await openLedger(dir, strategy);
      const two = await openLedger(dir, strategy);
      const writes = ['a', 'b'].map((call) => two.api.entries.run(call, ['row']));
      await Promise.all([one.api.entries.run('c', ['row']), one.close()]);
      await Promise.all(writes);
      await two.transaction((api) => api.entries.run('d', ['row']));
      expect(await two.api.entries.count()).toBe(4);
      await rejection(one.api.entries.count(), ClosedError);
    });

    test('a database closes while another one on the same file is in a transaction, which goes on', async () => {
      const one = await openLedger(dir, strategy);
      const two = await openLedger(dir, strategy);
      await one.api.entries.run('a', ['row']);
      const begun = gate();
      const held = gate();
      const transaction = two.transaction(async (api) => {
        await api.entries.run('b', ['row']);
        begun.open();
        await held.passed;
        await api.entries.run('c', ['row']);
      });
      await begun.passed;
      const closed = one.close();
      held.open();
      await Promise.all([transaction, closed]);
      expect(committed(dir)).toEqual(['a/1', 'b/1', 'c/1']);
    });

    test('a file can be opened again while its last database is still closing', async () => {
      const one = await openLedger(dir, strategy);
      const writes = Array.from({ length: 50 }, (_, at) => one.api.entries.run(String(at), ['row']));
      const closed = one.close();
      const two = await openLedger(dir, strategy);
      await two.api.entries.run('after', ['row']);
      await Promise.all([...writes, closed]);
      const expected = [...writes.map((_, at) => `${at}/1`), 'after/1'];
      const rows = committed(dir);
      if (strategy.oneLine) expect(rows).toEqual(expected);
      else expect(rows.toSorted()).toEqual(expected.toSorted());
    });

    test('opening and closing many times leaves no descriptor', async () => {
      createLedger(dir.file());
      const options = { file: dir.file(), repositories: ledger };
      for (let at = 0; at < (strategy.name === 'executor' ? 5 : 50); at++) {
        const db = await strategy.open(options);
        await db.api.entries.run(String(at), ['row']);
        expect(await db.snapshot((api) => api.entries.count())).toBe(at + 1);
        await db.close();
        expect(dir.descriptors()).toEqual([]);
      }
    });

    test('no timer is left that would keep the process alive', async () => {
      const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
      const before = timers();
      const db = await openLedger(dir, strategy, { timeout: 60_000, readers: 1 });
      const begun = gate();
      const held = gate();
      const holds = async (): Promise<void> => {
        begun.open();
        await held.passed;
      };
      const transaction = db.transaction(holds);
      await begun.passed;
      const calls = [
        db.api.entries.run('a'),
        db.transaction((api) => api.entries.run('b')),
        db.snapshot((api) => api.entries.count()),
        db.snapshot((api) => api.entries.count()),
        db.api.entries.count(),
      ];
      held.open();
      await Promise.all([transaction, ...calls]);
      await db.close({ drain: 60_000 });
      expect(timers()).toBeLessThanOrEqual(before);
    });
  });
}
