import { describe, expect, test } from 'vitest';
import { HandlerError, type Outcome, ReadOnlyError, type SluiceError } from '../../src/index.ts';
import { type LedgerDatabase, Refusal } from '../support/ledger.ts';
import { committed, openLedger } from '../support/open-ledger.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection } from '../support/waiting.ts';

/** Promise 11: what rejects says what became of the write that it ended, whatever it said of another one before. */
export function knownOutcomes(strategy: StrategyUnderTest): void {
  describe('11. Known outcome', () => {
    const dir = useTempDir();

    /** What a promise rejects with, and the outcome that it carries. */
    async function end(promise: Promise<unknown>): Promise<{ error: unknown; outcome: Outcome | undefined }> {
      const [result] = await Promise.allSettled([promise]);
      if (result.status === 'fulfilled') throw new Error('resolved, where an error is due');
      const error: unknown = result.reason;
      return { error, outcome: (error as { outcome?: Outcome }).outcome };
    }

    /** A call that never started, and says so. */
    function refused(db: LedgerDatabase): Promise<ReadOnlyError> {
      return db.snapshot(async () => {
        const error = await rejection(db.api.entries.run('refused'), ReadOnlyError);
        expect(error.outcome).toBe('not-started');
        return error;
      });
    }

    test('a transaction that passes on the error of a call that did not start says that it was rolled back', async () => {
      const db = await openLedger(dir, strategy);
      const passedOn = await end(
        db.transaction(async (api) => {
          await api.entries.run('a', ['row']);
          await db.snapshot(() => db.api.entries.run('refused'));
        }),
      );
      expect(passedOn.error).toBeInstanceOf(ReadOnlyError);
      expect(passedOn.outcome).toBe('rolled-back');
      expect(committed(dir)).toEqual([]);
    });

    test('a transaction that passes on the error of another database says what became of itself', async () => {
      const db = await openLedger(dir, strategy);
      const other = await openLedger(dir, strategy, { file: dir.file('other.db') });
      const seen: unknown[] = [];
      const passedOn = await end(
        db.transaction(async (api) => {
          await api.entries.run('a', ['row']);
          const error = await refused(other);
          seen.push(error);
          throw error;
        }),
      );
      expect(passedOn.error).toBe(seen[0]);
      expect(passedOn.outcome).toBe('rolled-back');
      // And what the transaction said is not what the next one says.
      const kept = passedOn.error as SluiceError;
      kept.outcome = 'committed';
      const again = await end(db.transaction(() => Promise.reject(kept)));
      expect(again).toEqual({ error: kept, outcome: 'rolled-back' });
    });

    test('a transaction that did not start says so, and one whose error was seen in it before does too', async () => {
      const db = await openLedger(dir, strategy);
      const reason = new Refusal('seen before');
      expect((await end(db.transaction(() => Promise.reject(reason)))).outcome).toBe('rolled-back');
      expect(reason).toHaveProperty('outcome', 'rolled-back');
      const early = await end(db.context({ signal: AbortSignal.abort(reason) }, () => db.transaction(() => 1)));
      expect(early.outcome).toBe('not-started');
      expect(reason).toHaveProperty('outcome', 'rolled-back');
    });

    test('a nested transaction says what became of itself, and the outer one of itself', async () => {
      const db = await openLedger(dir, strategy);
      const outer = await end(
        db.transaction(async (api) => {
          await api.entries.run('a', ['row']);
          const early = await end(
            db.context({ signal: AbortSignal.abort() }, () => db.transaction((inner) => inner.entries.run('b'))),
          );
          expect(early.outcome, 'given up before it began').toBe('not-started');
          const nested = await end(
            db.transaction(async (inner) => {
              await inner.entries.run('c', ['row']);
              throw early.error;
            }),
          );
          expect(nested).toEqual({ error: early.error, outcome: 'rolled-back' });
          const readOnly = await end(db.snapshot(() => db.transaction(() => 1)));
          expect(readOnly.outcome).toBe('not-started');
          throw readOnly.error;
        }),
      );
      expect(outer.error).toBeInstanceOf(ReadOnlyError);
      expect(outer.outcome).toBe('rolled-back');
      expect(committed(dir)).toEqual([]);
    });

    test.for([
      ['a call', 'throw frozen', (db: LedgerDatabase) => db.api.entries.run('a', ['row', 'throw frozen'])],
      [
        'a call in a transaction',
        'throw frozen',
        (db: LedgerDatabase) => db.transaction((api) => api.entries.run('a', ['row', 'throw frozen'])),
      ],
      [
        'a transaction',
        'throw frozen',
        (db: LedgerDatabase) => db.transaction(() => Promise.reject(Object.freeze(new Refusal('a was refused')))),
      ],
      [
        'a nested transaction',
        'throw frozen',
        (db: LedgerDatabase) =>
          db.transaction(() => db.transaction(() => Promise.reject(Object.freeze(new Refusal('a was refused'))))),
      ],
    ] as const)(
      'a frozen error that ends %s arrives as one of its class that carries the outcome',
      async ([, , make]) => {
        const db = await openLedger(dir, strategy);
        const { error, outcome } = await end(make(db));
        expect(error).toBeInstanceOf(Refusal);
        expect(error).toMatchObject({ name: 'Refusal', message: 'a was refused' });
        expect((error as Error).stack).toContain('Refusal: a was refused');
        expect(outcome).toBe('rolled-back');
        expect(committed(dir)).toEqual([]);
      },
    );

    test.for([
      ['a call', (db: LedgerDatabase) => db.api.entries.run('a', ['row', 'throw text'])],
      [
        'a call in a transaction',
        (db: LedgerDatabase) => db.transaction((api) => api.entries.run('a', ['row', 'throw text'])),
      ],
      [
        'a transaction',
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- what JavaScript callers may do
        (db: LedgerDatabase) => db.transaction(() => Promise.reject('a was refused')),
      ],
    ] as const)('a text that is thrown in %s is the cause of an error that carries the outcome', async ([, make]) => {
      const db = await openLedger(dir, strategy);
      const { error, outcome } = await end(make(db));
      expect(error).toBeInstanceOf(HandlerError);
      expect((error as HandlerError).cause).toBe('a was refused');
      expect(outcome).toBe('rolled-back');
      expect(committed(dir)).toEqual([]);
    });

    test('an object that is no error is passed on as it is, with the outcome', async () => {
      const db = await openLedger(dir, strategy);
      const redirect = { to: '/login' };
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- as some frameworks do
      const { error, outcome } = await end(db.transaction(() => Promise.reject(redirect)));
      expect(error).toBe(redirect);
      expect(outcome).toBe('rolled-back');
      expect(Object.keys(redirect)).toEqual(['to']);
      const call = await end(db.api.entries.run('a', ['row', 'throw object']));
      expect(call).toEqual({ error: { refused: 'a' }, outcome: 'rolled-back' });
    });

    test('an exception that has an outcome of its own kind keeps it', async () => {
      const db = await openLedger(dir, strategy);
      const declined = Object.assign(new Refusal('no money'), { outcome: 'declined' });
      const { error } = await end(db.transaction(() => Promise.reject(declined)));
      expect(error).toBe(declined);
      expect(declined.outcome).toBe('declined');
    });
  });
}
