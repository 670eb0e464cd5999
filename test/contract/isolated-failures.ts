import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ConstraintError, TransactionEndedError } from '../../src/index.ts';
import { type LedgerDatabase, Refusal, type Step } from '../support/ledger.ts';
import { committed, expectNoTransaction, openLedger } from '../support/open-ledger.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';

/** Calls that arrive together, by name: those whose steps end in `note` alone are to be kept. */
type Together = Readonly<Record<string, readonly Step[]>>;

const good: readonly Step[] = ['row', 'note', 'row'];

/** Promise 4: one caller's error undoes that caller's work and nobody else's. */
export function isolatedFailures(strategy: StrategyUnderTest): void {
  describe('4. Isolated failures', () => {
    const dir = useTempDir();

    /** Runs all in one batch. What is kept, what the effects say and what each caller learns must agree. */
    async function expectOnlyTheGuiltyFail(together: Together, error: new (...args: never[]) => Error): Promise<void> {
      await expectOnlyTheGuiltyFailOn(await openLedger(dir, strategy), together, error);
    }

    /** The same where the method has succeeded so often that its calls run without a savepoint. */
    async function openTrusted(): Promise<LedgerDatabase> {
      const db = await openLedger(dir, strategy);
      await Promise.all(Array.from({ length: 200 }, (_, at) => db.api.entries.run(`before-${at}`, ['row', 'row'])));
      await db.api.entries.clear();
      return db;
    }

    async function expectOnlyTheGuiltyFailOn(
      db: LedgerDatabase,
      together: Together,
      error: new (...args: never[]) => Error,
    ): Promise<void> {
      const log = dir.file('effects.log');
      const calls = Object.entries(together);
      const settled = await Promise.allSettled(calls.map(([call, steps]) => db.api.entries.run(call, steps, log)));
      const innocent = calls.filter(([, steps]) => steps === good).map(([call]) => call);
      for (const [at, result] of settled.entries()) {
        const [call = '', steps] = calls[at] ?? [];
        expect(result.status, call).toBe(steps === good ? 'fulfilled' : 'rejected');
        if (result.status === 'rejected') {
          expect(result.reason, call).toBeInstanceOf(error);
          expect(result.reason, call).toHaveProperty('outcome', 'rolled-back');
        }
      }
      expectNoTransaction(dir);
      expect(committed(dir), 'rows').toEqual(innocent.flatMap((call) => [`${call}/1`, `${call}/2`]));
      expect(readFileSync(log, 'utf8'), 'effects').toBe(innocent.map((call) => `${call}\n`).join(''));
      await db.api.entries.run('after', ['row']);
      expect(committed(dir)).toHaveLength(innocent.length * 2 + 1);
    }

    const bad = (...steps: Step[]): readonly Step[] => ['row', 'note', ...steps];

    test('of sixteen callers those fail that violate a constraint', () =>
      expectOnlyTheGuiltyFail(
        Object.fromEntries(
          Array.from({ length: 16 }, (_, at) => [`c${at}`, at % 5 === 2 ? bad('row', 'again') : good] as const),
        ),
        ConstraintError,
      ));

    test('RAISE(FAIL), which keeps half a statement, undoes its caller alone', () =>
      expectOnlyTheGuiltyFail({ a: good, b: bad('fail'), c: good }, ConstraintError));

    test('RAISE(ROLLBACK), which ends everybody’s transaction, undoes its caller alone', () =>
      expectOnlyTheGuiltyFail({ a: good, b: good, c: bad('rollback'), d: good, e: good }, ConstraintError));

    test('OR ROLLBACK undoes its caller alone', () =>
      expectOnlyTheGuiltyFail({ a: good, b: bad('or-rollback'), c: good }, ConstraintError));

    test('a deferred foreign key that fails at COMMIT undoes its caller alone', () =>
      expectOnlyTheGuiltyFail({ a: good, b: good, c: bad('orphan'), d: good }, ConstraintError));

    test('a handler that catches the end of the transaction and writes on undoes itself alone', () =>
      expectOnlyTheGuiltyFail({ a: good, b: bad('caught rollback', 'row'), c: good }, TransactionEndedError));

    test('the first and the last of a batch may be the guilty ones', () =>
      expectOnlyTheGuiltyFail({ a: bad('rollback'), b: good, c: good, d: bad('rollback') }, ConstraintError));

    test('any number of guilty ones of any kind leave the others as they are', () =>
      expectOnlyTheGuiltyFail(
        {
          a: good,
          b: bad('orphan'),
          c: good,
          d: bad('rollback'),
          e: bad('again'),
          f: good,
          g: bad('orphan'),
          h: bad('or-rollback'),
          i: bad('fail'),
          j: good,
          k: bad('rollback'),
          l: good,
        },
        ConstraintError,
      ));

    test.for<Step>(['again', 'throw', 'fail', 'rollback', 'or-rollback', 'orphan'])(
      'a method that never failed before and does now (%s) undoes that call alone, however often',
      async (step) => {
        const db = await openTrusted();
        const kind = step === 'throw' ? Refusal : ConstraintError;
        await expectOnlyTheGuiltyFailOn(db, { a: good, b: bad(step), c: good, d: bad('row', step), e: good }, kind);
        await expect.poll(() => db.stats().writes?.replays).toBeGreaterThan(0);
      },
    );

    test('a batch of nothing but guilty ones leaves nothing', async () => {
      const db = await openLedger(dir, strategy);
      const calls: Step[] = ['rollback', 'orphan', 'again', 'or-rollback', 'throw', 'abort'];
      const settled = await Promise.allSettled(calls.map((step) => db.api.entries.run(step, ['row', step])));
      expect(settled.map(({ status }) => status)).toEqual(calls.map(() => 'rejected'));
      expectNoTransaction(dir);
      expect(committed(dir)).toEqual([]);
    });

    // Through a port it is the owner's thread that warns, in its own process object.
    test.runIf(strategy.title !== 'port')('an effect that throws fails nobody and is reported', async () => {
      const db = await openLedger(dir, strategy);
      const warnings: Error[] = [];
      const listen = (warning: Error): void => {
        warnings.push(warning);
      };
      process.on('warning', listen);
      dir.atEnd(() => process.off('warning', listen));
      const folder = dir.file('no-such-folder/effects.log');
      const calls = [
        db.api.entries.run('a', ['row', 'note'], folder),
        db.api.entries.run('b', ['row', 'note'], dir.file('effects.log')),
      ];
      await Promise.all(calls);
      expect(committed(dir)).toEqual(['a/1', 'b/1']);
      expect(readFileSync(dir.file('effects.log'), 'utf8')).toBe('b\n');
      await new Promise(setImmediate);
      expect(warnings.map(({ name, message }) => `${name}: ${message}`)).toEqual([
        expect.stringMatching(/^SluiceWarning: entries\.run: .*afterCommit.*ENOENT/s),
      ]);
    });
  });
}
