import { describe, expect, test } from 'vitest';
import { StorageError } from '../../src/index.ts';
import { type Failure, Refusal, type Step } from '../support/ledger.ts';
import { committed, expectNoTransaction, openLedger } from '../support/open-ledger.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection } from '../support/waiting.ts';

const FAILURES: readonly Step[] = [
  ...(['again', 'throw', 'abort', 'fail', 'rollback', 'or-rollback', 'orphan'] satisfies Failure[]),
  'caught rollback',
];

/** Promise 12: a connection is clean when it returns to its lane, or it is discarded. */
export function noZombies(strategy: StrategyUnderTest): void {
  describe('12. No zombie transactions', () => {
    const dir = useTempDir();

    test.for(FAILURES)(
      'after a call that failed (%s) nobody holds a transaction, and the next call works',
      async (step) => {
        const db = await openLedger(dir, strategy);
        for (let round = 0; round < 3; round++) {
          await rejection(db.api.entries.run('bad', ['row', step]), Error);
          expectNoTransaction(dir);
          expect(await db.api.entries.run(`good-${round}`, ['row'])).toBe(1);
          expect(await db.api.entries.count()).toBe(round + 1);
        }
      },
    );

    test.for(FAILURES)('after a transaction that failed (%s) nobody holds one, and the next works', async (step) => {
      const db = await openLedger(dir, strategy);
      for (let round = 0; round < 3; round++) {
        await rejection(
          db.transaction(async (api) => {
            await api.entries.run('kept?', ['row']);
            await api.entries.run('bad', ['row', step]);
          }),
          Error,
        );
        expectNoTransaction(dir);
        await db.transaction((api) => api.entries.run(`good-${round}`, ['row']));
        expect(await db.api.entries.count()).toBe(round + 1);
      }
    });

    test('after a read that failed between its statements nobody holds a snapshot', async () => {
      const db = await openLedger(dir, strategy);
      await db.api.entries.around(dir.file());
      for (let round = 0; round < 3; round++) {
        await rejection(db.api.entries.around(dir.file('no-such-folder/ledger.db')), Error);
        await rejection(db.api.entries.ask('SELECT * FROM nothing'), Error);
        expectNoTransaction(dir);
        await db.api.entries.run(`good-${round}`, ['row']);
      }
    });

    test('after a snapshot that failed nobody holds it', async () => {
      const db = await openLedger(dir, strategy);
      await rejection(
        db.snapshot(async (api) => {
          await api.entries.count();
          throw new Refusal('no');
        }),
        Refusal,
      );
      await rejection(
        db.snapshot(() => {
          throw new Refusal('at once');
        }),
        Refusal,
      );
      expectNoTransaction(dir);
      expect(await db.snapshot((api) => api.entries.count())).toBe(0);
    });

    test('after the disk was full nobody holds a transaction, and what fits is written', async () => {
      const made = await openLedger(dir, strategy);
      await made.close();
      const before = dir.raw();
      const pages = before.pragma('page_count', { simple: true }) as number;
      before.close();
      const db = await openLedger(dir, strategy, { pragmas: { max_page_count: pages + 2 } });
      const rows = Array.from({ length: 2000 }, (_, at) => ({ call: `many-${at}`, part: 1 }));
      for (let round = 0; round < 3; round++) {
        const error = await rejection(db.api.entries.insertMany(rows), StorageError);
        expect(error.outcome).toBe('rolled-back');
        expectNoTransaction(dir);
        await db.api.entries.run(`good-${round}`, ['row']);
        await rejection(
          db.transaction((api) => api.entries.insertMany(rows)),
          Error,
        );
        expectNoTransaction(dir);
      }
      expect(committed(dir)).toEqual(['good-0/1', 'good-1/1', 'good-2/1']);
    });
  });
}
