import { describe, expect, test } from 'vitest';
import { ClosedError } from '../../src/index.ts';
import { committed, expectNoTransaction, openLedger } from '../support/open-ledger.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { expectBlocked, gate, rejection } from '../support/waiting.ts';

/** Promises 1, 7 and 14 for two `Database`s on one file, opened in one thread: one line where it is theirs, two lives. */
export function twoDatabases(strategy: StrategyUnderTest): void {
  describe('Two databases on one file', () => {
    const dir = useTempDir();
    /** Between threads nobody is in a line. */
    const inLine = (rows: string[]): string[] => (strategy.oneLine ? rows : rows.toSorted());

    test.runIf(strategy.oneLine)(
      'calls and transactions of both are committed in the order in which they arrived',
      async () => {
        // | holder (of one) | one                       | two                       |
        // |-----------------|---------------------------|---------------------------|
        // | begins          |                           |                           |
        // |   (gate)        | 0: call, 3: transaction … | 1: transaction, 2: call … |
        // | commits         |                           |                           |
        // |                 |         each when it is its turn, in one line         |
        const pair = [await openLedger(dir, strategy), await openLedger(dir, strategy)] as const;
        const [begun, held] = [gate(), gate()];
        const holder = pair[0].transaction(async () => {
          begun.open();
          await held.passed;
        });
        await begun.passed;
        const calls = Array.from({ length: 24 }, (_, at) => {
          const db = pair[Math.floor(at / 2) % 2 === 0 ? 0 : 1];
          const name = String(at);
          if (at % 3 > 0) return db.api.entries.run(name, ['row']);
          return db.transaction(async (api) => {
            await api.entries.run(name, ['row']);
            return api.entries.run(`${name}-more`, ['row']);
          });
        });
        held.open();
        await Promise.all([holder, ...calls]);
        const expected = calls.flatMap((_, at) => (at % 3 > 0 ? [`${at}/1`] : [`${at}/1`, `${at}-more/1`]));
        expect(committed(dir)).toEqual(expected);
      },
    );

    test('a transaction of each excludes the other, and neither sees what the other has not committed', async () => {
      // | one                | two                          |
      // |--------------------|------------------------------|
      // | begins, run a      |                              |
      // |   (gate)           | transaction: blocked         |
      // |                    | reads nothing of a, or waits |
      // | commits            |                              |
      // |                    | begins, sees a, run b        |
      const [one, two] = [await openLedger(dir, strategy), await openLedger(dir, strategy)];
      const [begun, held] = [gate(), gate()];
      let inside = 0;
      const alone = async <T>(run: () => Promise<T>): Promise<T> => {
        expect(++inside, 'transactions open').toBe(1);
        const result = await run();
        inside -= 1;
        return result;
      };
      const first = one.transaction((api) =>
        alone(async () => {
          await api.entries.run('a', ['row']);
          begun.open();
          await held.passed;
        }),
      );
      await begun.passed;
      const second = two.transaction((api) =>
        alone(async () => {
          expect(await api.entries.listed()).toEqual(['a/1']);
          await api.entries.run('b', ['row']);
        }),
      );
      // Another handle than that of the open transaction, under every strategy: what it reads is what is committed.
      expect(await two.api.entries.listed()).toEqual([]);
      await expectBlocked(second);
      held.open();
      await Promise.all([first, second]);
      expect(committed(dir)).toEqual(['a/1', 'b/1']);
    });

    test('closing one leaves the other its place in the line, its transaction and its snapshot', async () => {
      // | one                   | two                            |
      // |-----------------------|--------------------------------|
      // |                       | transaction begins, run a      |
      // | run b is accepted     |   (gate)                       |
      // | close: waits          | run c is accepted              |
      // |                       | run d, commits                 |
      // | b runs, closes        | c runs                         |
      const [one, two] = [await openLedger(dir, strategy), await openLedger(dir, strategy)];
      const [begun, held] = [gate(), gate()];
      const transaction = two.transaction(async (api) => {
        await api.entries.run('a', ['row']);
        begun.open();
        await held.passed;
        await api.entries.run('d', ['row']);
      });
      await begun.passed;
      const b = one.api.entries.run('b', ['row']);
      const closed = one.close();
      const c = two.api.entries.run('c', ['row']);
      await expectBlocked(closed);
      held.open();
      await Promise.all([transaction, b, c, closed]);
      expect(inLine(committed(dir).slice(2))).toEqual(['b/1', 'c/1']);
      expect(committed(dir).slice(0, 2)).toEqual(['a/1', 'd/1']);
      expect((await rejection(one.api.entries.run('late'), ClosedError)).outcome).toBe('not-started');
      const seen = await two.snapshot(async (api) => {
        const before = await api.entries.count();
        return [before, await api.entries.count()];
      });
      expect(seen).toEqual([4, 4]);
      expectNoTransaction(dir);
    });

    test('a close of one that gives up on what it has rejects nothing of the other', async () => {
      const [one, two] = [await openLedger(dir, strategy), await openLedger(dir, strategy)];
      const [begun, never] = [gate(), gate()];
      const straggler = rejection(
        one.transaction(async (api) => {
          await api.entries.run('a', ['row']);
          begun.open();
          await never.passed;
        }),
        ClosedError,
      );
      await begun.passed;
      const theirs = [two.api.entries.run('b', ['row']), two.transaction((api) => api.entries.run('c', ['row']))];
      const report = await one.close({ drain: 20 });
      expect(report.abandoned).toEqual(['transaction']);
      expect((await straggler).outcome).toBe('rolled-back');
      await Promise.all(theirs);
      never.open();
      expect(inLine(committed(dir))).toEqual(['b/1', 'c/1']);
    });
  });
}
