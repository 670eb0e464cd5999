import { symlinkSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { committed, openLedger } from '../support/open-ledger.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { expectBlocked, gate } from '../support/waiting.ts';

/** Promise 1: all writes happen one after another, first come first served. */
export function serialisedWrites(strategy: StrategyUnderTest): void {
  describe('1. Serialised writes', () => {
    const dir = useTempDir();

    test('a call that fails does not move the calls behind it', async () => {
      const db = await openLedger(dir, strategy);
      const calls = ['a', 'b', 'c', 'd'].map((call, at) =>
        db.api.entries.run(call, at % 2 === 0 ? ['row', 'again'] : ['row']),
      );
      await Promise.allSettled(calls);
      expect(committed(dir)).toEqual(['b/1', 'd/1']);
    });

    test('the writes of one caller are committed in the order in which they were made', async () => {
      const db = await openLedger(dir, strategy);
      const calls = Array.from({ length: 300 }, (_, at) => String(at));
      await Promise.all(calls.map((call) => db.api.entries.run(call, ['row'])));
      expect(committed(dir)).toEqual(calls.map((call) => `${call}/1`));
    });

    test('the writes of many callers are committed in the order in which they arrived', async () => {
      const db = await openLedger(dir, strategy, { batch: { calls: 7 } });
      const arrived: string[] = [];
      const caller = async (name: number): Promise<void> => {
        for (let at = 0; at < 20; at++) {
          arrived.push(`${name}-${at}/1`);
          await db.api.entries.run(`${name}-${at}`, ['row']);
        }
      };
      await Promise.all(Array.from({ length: 16 }, (_, name) => caller(name)));
      expect(committed(dir)).toEqual(arrived);
    });

    test('the rows of one call stand together, whoever else writes', async () => {
      const db = await openLedger(dir, strategy);
      const calls = Array.from({ length: 50 }, (_, at) => String(at));
      await Promise.all(calls.map((call) => db.api.entries.run(call, ['row', 'row', 'row'])));
      expect(committed(dir)).toEqual(calls.flatMap((call) => [`${call}/1`, `${call}/2`, `${call}/3`]));
    });

    test('handlers that read and then write lose no update', async () => {
      const db = await openLedger(dir, strategy);
      const { id } = await db.api.accounts.insert({ owner: 'ann' });
      await Promise.all([
        ...Array.from({ length: 100 }, () => db.api.accounts.credit(id, 1)),
        ...Array.from({ length: 10 }, () =>
          db.transaction(async (api) => {
            const account = await api.accounts.get(id);
            await api.accounts.update(id, { cents: (account?.cents ?? 0) + 10 });
          }),
        ),
        ...Array.from({ length: 100 }, () => db.api.accounts.credit(id, 1)),
      ]);
      expect((await db.api.accounts.get(id))?.cents).toBe(300);
    });

    test('a transaction has its place in the line, and holds it until it ends', async () => {
      // | caller 1   | transaction        | caller 2        |
      // |------------|--------------------|-----------------|
      // | run before |                    |                 |
      // |            | begins             |                 |
      // |            | run first          | run after       |
      // |            |   (gate)           |   still blocked |
      // |            | run second, commit |                 |
      // |            |                    |   runs          |
      const db = await openLedger(dir, strategy);
      const half = gate();
      const held = gate();
      const before = db.api.entries.run('before', ['row']);
      const transaction = db.transaction(async (api) => {
        await api.entries.run('first', ['row']);
        half.open();
        await held.passed;
        await api.entries.run('second', ['row']);
      });
      const after = db.api.entries.run('after', ['row']);
      await half.passed;
      await expectBlocked(after);
      await before;
      held.open();
      await Promise.all([transaction, after]);
      expect(committed(dir)).toEqual(['before/1', 'first/1', 'second/1', 'after/1']);
    });

    test.runIf(strategy.oneLine)('two databases on one file stand in one line', async () => {
      const one = await openLedger(dir, strategy);
      const two = await openLedger(dir, strategy);
      const calls = Array.from({ length: 60 }, (_, at) => String(at));
      await Promise.all(calls.map((call, at) => (at % 3 === 0 ? one : two).api.entries.run(call, ['row'])));
      expect(committed(dir)).toEqual(calls.map((call) => `${call}/1`));
    });

    test.runIf(strategy.oneLine)('two databases on two names of one file stand in one line', async () => {
      const one = await openLedger(dir, strategy);
      symlinkSync(dir.file(), dir.file('alias'));
      const two = await openLedger(dir, strategy, { file: dir.file('alias') });
      const calls = Array.from({ length: 20 }, (_, at) => String(at));
      await Promise.all(calls.map((call, at) => (at % 2 === 0 ? one : two).api.entries.run(call, ['row'])));
      expect(committed(dir)).toEqual(calls.map((call) => `${call}/1`));
    });

    test('a transaction of one database makes the writes of another one on the same file wait', async () => {
      const one = await openLedger(dir, strategy);
      const two = await openLedger(dir, strategy);
      const begun = gate();
      const held = gate();
      const transaction = one.transaction(async (api) => {
        await api.entries.run('one', ['row']);
        begun.open();
        await held.passed;
      });
      await begun.passed;
      const write = two.api.entries.run('two', ['row']);
      const other = two.transaction((api) => api.entries.run('three', ['row']));
      await expectBlocked(write);
      await expectBlocked(other);
      held.open();
      await Promise.all([transaction, write, other]);
      expect(committed(dir)).toEqual(['one/1', 'two/1', 'three/1']);
    });
  });
}
