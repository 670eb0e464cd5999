import { describe, expect, test } from 'vitest';
import { openLedger } from '../support/open-ledger.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { gate } from '../support/waiting.ts';

/** Promise 6: a call made after a write resolved sees it, on whichever connection it lands. */
export function readYourWrites(strategy: StrategyUnderTest): void {
  describe('6. Read your writes', () => {
    const dir = useTempDir();

    test('a read after a write that resolved sees it, with any number of callers', async () => {
      const db = await openLedger(dir, strategy);
      const seen = await Promise.all(
        Array.from({ length: 32 }, async (_, name) => {
          const own: number[] = [];
          for (let at = 0; at < 10; at++) {
            await db.api.entries.run(`${name}-${at}`, ['row']);
            own.push(await db.api.entries.count({ call: { like: `${name}-%` } }));
          }
          return own;
        }),
      );
      expect(seen).toEqual(seen.map(() => [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
    });

    test('insert, update and upsert give the row as stored, and get sees the same', async () => {
      const db = await openLedger(dir, strategy);
      const inserted = await db.api.accounts.insert({ owner: 'ann', details: { tags: ['new'] } });
      expect(inserted).toMatchObject({ owner: 'ann', cents: 0, closed: false, details: { tags: ['new'] }, version: 1 });
      expect(await db.api.accounts.get(inserted.id)).toEqual(inserted);
      const updated = await db.api.accounts.update(inserted.id, { cents: 5 });
      expect(await db.api.accounts.get(inserted.id)).toEqual(updated);
      expect(await db.api.accounts.remove(inserted.id)).toBe(true);
      expect(await db.api.accounts.get(inserted.id)).toBeUndefined();
    });

    test('a read after a transaction that resolved sees it, on every reader', async () => {
      const db = await openLedger(dir, strategy, { readers: 3 });
      await db.transaction((api) => api.entries.run('a'));
      const all = gate();
      let arrived = 0;
      // Where there are readers all three are leased at once; where there is one handle the snapshots take turns.
      const size = strategy.writesDuringSnapshot ? 3 : 1;
      const counts = await Promise.all(
        Array.from({ length: size }, () =>
          db.snapshot(async (api) => {
            if (++arrived === size) all.open();
            await all.passed;
            return api.entries.count();
          }),
        ),
      );
      expect(counts).toEqual(counts.map(() => 2));
    });

    test('a snapshot that begins after a write resolved sees it', async () => {
      const db = await openLedger(dir, strategy);
      for (let at = 1; at <= 10; at++) {
        await db.api.entries.run(String(at), ['row']);
        expect(await db.snapshot((api) => api.entries.count())).toBe(at);
      }
    });

    test('a read of one database sees what another one on the same file has written', async () => {
      const one = await openLedger(dir, strategy);
      const two = await openLedger(dir, strategy);
      for (let at = 1; at <= 10; at++) {
        await one.api.entries.run(String(at), ['row']);
        expect(await two.api.entries.count()).toBe(at);
      }
    });
  });
}
