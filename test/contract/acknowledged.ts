import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { committed, openLedger } from '../support/open-ledger.ts';
import { startPeer } from '../support/peer.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';

/** Promise 3: a promise resolves only after COMMIT, and with `durability: 'full'` on the disk. */
export function acknowledgedMeansCommitted(strategy: StrategyUnderTest): void {
  describe('3. Acknowledged means committed', () => {
    const dir = useTempDir();

    test('a write that resolved is there for another connection, whoever came along', async () => {
      const db = await openLedger(dir, strategy);
      const other = dir.raw();
      const rowsOf = other.prepare('SELECT count(*) FROM entries WHERE call = ?').pluck();
      const seen = await Promise.all(
        Array.from({ length: 64 }, async (_, at) => {
          await db.api.entries.run(String(at));
          return rowsOf.get(String(at));
        }),
      );
      expect(seen).toEqual(seen.map(() => 2));
    });

    test('a transaction that resolved is there for another connection', async () => {
      const db = await openLedger(dir, strategy);
      await db.transaction((api) => api.entries.run('a'));
      expect(committed(dir)).toEqual(['a/1', 'a/2']);
    });

    test('a write that resolved is there for another process', async () => {
      const db = await openLedger(dir, strategy);
      const peer = await startPeer(dir);
      await db.api.entries.run('a', ['row']);
      expect(await peer.ask({ kind: 'list' })).toEqual(['a/1']);
      await Promise.all([db.api.entries.run('b', ['row']), db.api.entries.run('c', ['row'])]);
      expect(await peer.ask({ kind: 'list' })).toEqual(['a/1', 'b/1', 'c/1']);
    });

    test('an effect sees what its call committed', async () => {
      const db = await openLedger(dir, strategy);
      const log = dir.file('effects.log');
      await Promise.all(['a', 'b', 'c'].map((call) => db.api.entries.witnessed(call, dir.file(), log)));
      await db.transaction((api) => api.entries.witnessed('d', dir.file(), log));
      expect(readFileSync(log, 'utf8')).toBe('1\n1\n1\n1\n');
    });

    test.for([
      ['full', 2],
      ['normal', 1],
    ] as const)(
      'durability %s reads back as synchronous %i on the connections of reads and of writes',
      async ([durability, synchronous]) => {
        const db = await openLedger(dir, strategy, { durability });
        expect(await db.api.entries.pragma('synchronous')).toBe(synchronous);
        expect(await db.transaction((api) => api.entries.pragma('synchronous'))).toBe(synchronous);
        expect(await db.snapshot((api) => api.entries.pragma('synchronous'))).toBe(synchronous);
        expect(await db.transaction((api) => api.entries.pragma('foreign_keys'))).toBe(1);
      },
    );

    test('without a word about durability it is full', async () => {
      const db = await openLedger(dir, strategy);
      expect(await db.transaction((api) => api.entries.pragma('synchronous'))).toBe(2);
    });
  });
}
