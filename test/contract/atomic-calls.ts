import { existsSync, readFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { ConstraintError, HandlerError, TransactionEndedError } from '../../src/index.ts';
import { type Failure, Refusal, type Step } from '../support/ledger.ts';
import { committed, expectNoTransaction, openLedger } from '../support/open-ledger.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection } from '../support/waiting.ts';

const FAILURES: readonly Failure[] = ['again', 'throw', 'abort', 'fail', 'rollback', 'or-rollback', 'orphan'];

/** Promise 2: a write call is all or nothing, and so is a transaction. */
export function atomicCalls(strategy: StrategyUnderTest): void {
  describe('2. Atomic calls', () => {
    const dir = useTempDir();

    test.for(FAILURES)('a lone call whose second statement fails (%s) leaves nothing', async (failure) => {
      const db = await openLedger(dir, strategy);
      await rejection(db.api.entries.run('a', ['row', failure]), Error);
      expectNoTransaction(dir);
      expect(committed(dir)).toEqual([]);
    });

    test('a constraint that fails names its kind, table and columns, and what became of the call', async () => {
      const db = await openLedger(dir, strategy);
      const error = await rejection(db.api.entries.run('a', ['row', 'again']), ConstraintError);
      expect(error).toMatchObject({ kind: 'unique', table: 'entries', columns: ['call', 'part'] });
      expect(error.outcome).toBe('rolled-back');
      expect(error.code).toBe('SLUICE_CONSTRAINT');
    });

    test('a deferred foreign key that fails at COMMIT is the call’s own constraint error', async () => {
      const db = await openLedger(dir, strategy);
      const error = await rejection(db.api.entries.run('a', ['row', 'orphan']), ConstraintError);
      expect(error).toMatchObject({ kind: 'foreign-key', outcome: 'rolled-back' });
    });

    test('an exception of the handler’s own passes through', async () => {
      const db = await openLedger(dir, strategy);
      const error = await rejection(db.api.entries.run('a', ['row', 'throw']), Error);
      expect(error).toMatchObject({ name: 'Refusal', message: 'a was refused' });
      expect(committed(dir)).toEqual([]);
    });

    test('a handler that catches what ended the transaction cannot write any more', async () => {
      const db = await openLedger(dir, strategy);
      for (const failure of ['rollback', 'or-rollback'] as const) {
        // The second row, were it written, would be a transaction of its own: committed by itself, and half a call.
        const error = await rejection(
          db.api.entries.run('a', ['row', `caught ${failure}`, 'row']),
          TransactionEndedError,
        );
        expect(error.outcome).toBe('rolled-back');
        await rejection(db.api.entries.run('b', ['row', `caught ${failure}`]), TransactionEndedError);
      }
      expect(committed(dir)).toEqual([]);
    });

    test('a handler that catches an ordinary failure goes on, and all else it did is kept', async () => {
      const db = await openLedger(dir, strategy);
      await db.api.entries.run('a', ['row', 'caught again', 'caught throw', 'caught abort', 'row']);
      expect(committed(dir)).toEqual(['a/1', 'a/2']);
    });

    test('a transfer moves money wholly or not at all', async () => {
      const db = await openLedger(dir, strategy);
      const ann = await db.api.accounts.insert({ owner: 'ann', cents: 100 });
      const bob = await db.api.accounts.insert({ owner: 'bob' });
      await db.api.transfers.send(ann.id, bob.id, 60, 'first');
      const poor = await rejection(db.api.transfers.send(ann.id, bob.id, 60, 'second'), ConstraintError);
      expect(poor).toMatchObject({ kind: 'check', constraint: 'accounts_cents_not_negative' });
      const twice = await rejection(db.api.transfers.send(ann.id, bob.id, 10, 'first'), ConstraintError);
      expect(twice.kind).toBe('unique');
      expect((await db.api.accounts.find()).map(({ cents }) => cents)).toEqual([40, 60]);
      expect(await db.api.transfers.count()).toBe(1);
      expect(await db.api.audit.count()).toBe(2);
    });

    test('insertMany of more rows than one statement takes is one call', async () => {
      const db = await openLedger(dir, strategy);
      const rows = Array.from({ length: 25_000 }, (_, at) => ({ call: String(at), part: 1 }));
      await rejection(db.api.entries.insertMany([...rows, { call: '0', part: 1 }]), ConstraintError);
      expect(await db.api.entries.count()).toBe(0);
      expect(await db.api.entries.insertMany(rows)).toBe(25_000);
      expect(await db.api.entries.count()).toBe(25_000);
    });

    test('a nested transaction of Drizzle’s that is undone leaves the rest of the call', async () => {
      const db = await openLedger(dir, strategy);
      await db.api.entries.nested('a');
      expect(committed(dir)).toEqual(['a/1', 'a/3']);
    });

    describe('transactions', () => {
      test('a callback that throws undoes everything and passes its exception on', async () => {
        const db = await openLedger(dir, strategy);
        const mine = new Refusal('mine');
        const failed = db.transaction(async (api) => {
          await api.entries.run('a');
          throw mine;
        });
        expect(await rejection(failed, Refusal)).toBe(mine);
        const atOnce = db.transaction(() => {
          throw mine;
        });
        expect(await rejection(atOnce, Refusal)).toBe(mine);
        expectNoTransaction(dir);
        expect(committed(dir)).toEqual([]);
      });

      test.for(['rollback', 'or-rollback'] as const)(
        'a statement that ends the transaction (%s) ends it for good, even where the callback catches the error',
        async (failure) => {
          const db = await openLedger(dir, strategy);
          const refused: unknown[] = [];
          const failed = db.transaction(async (api) => {
            await api.entries.run('a');
            await api.entries.run('b', ['row', failure]).catch((error: unknown) => refused.push(error));
            await api.entries.run('c').catch((error: unknown) => refused.push(error));
          });
          const error = await rejection(failed, TransactionEndedError);
          expect(error.outcome).toBe('rolled-back');
          expect(refused).toHaveLength(2);
          expect(refused[1]).toBeInstanceOf(TransactionEndedError);
          expectNoTransaction(dir);
          expect(committed(dir)).toEqual([]);
        },
      );

      test('a statement that ends the transaction and is caught by its handler ends it all the same', async () => {
        const db = await openLedger(dir, strategy);
        const failed = db.transaction(async (api) => {
          await api.entries.run('a');
          await api.entries.run('b', ['row', 'caught rollback', 'row']).catch(() => undefined);
        });
        await rejection(failed, TransactionEndedError);
        expect(committed(dir)).toEqual([]);
      });

      test('a deferred foreign key that fails at COMMIT rejects the transaction and undoes it', async () => {
        const db = await openLedger(dir, strategy);
        const failed = db.transaction(async (api) => {
          await api.entries.run('a');
          await api.entries.run('b', ['row', 'orphan']);
        });
        const error = await rejection(failed, ConstraintError);
        expect(error).toMatchObject({ kind: 'foreign-key', outcome: 'rolled-back' });
        expectNoTransaction(dir);
        expect(committed(dir)).toEqual([]);
      });

      test('its api is refused after its end, however it ended', async () => {
        const db = await openLedger(dir, strategy);
        const kept = await db.transaction((api) => Promise.resolve(() => api.entries.run('late')));
        await rejection(kept(), TransactionEndedError);
        let reading: (() => Promise<unknown>) | undefined;
        const failed = db.transaction((api) => {
          reading = () => api.entries.count();
          throw new Refusal('no');
        });
        await rejection(failed, Refusal);
        await rejection(reading?.() ?? Promise.resolve(), TransactionEndedError);
        expect(committed(dir)).toEqual([]);
      });

      test('a call that nobody awaited before the end is part of it, and one after the end is refused', async () => {
        const db = await openLedger(dir, strategy);
        let late: Promise<unknown> = Promise.resolve();
        await db.transaction((api) => {
          void api.entries.run('floating', ['row']);
          late = turn().then(() => api.entries.run('late'));
          late.catch(() => undefined);
          return Promise.resolve();
        });
        await rejection(late, TransactionEndedError);
        expect(committed(dir)).toEqual(['floating/1']);
      });

      test('a callback that resolves commits everything and gives its result', async () => {
        const db = await openLedger(dir, strategy);
        const result = await db.transaction(async (api) => {
          await api.entries.run('a');
          await turn();
          expect(await api.entries.count(), 'it sees its own rows').toBe(2);
          expect(committed(dir), 'nobody else does').toEqual([]);
          await api.entries.run('b', ['row']);
          return 'done';
        });
        expect(result).toBe('done');
        expect(committed(dir)).toEqual(['a/1', 'a/2', 'b/1']);
      });

      test('a call that fails inside and is caught undoes itself alone', async () => {
        const db = await openLedger(dir, strategy);
        await db.transaction(async (api) => {
          await api.entries.run('a', ['row']);
          await rejection(api.entries.run('b', ['row', 'again']), ConstraintError);
          await rejection(api.entries.run('c', ['row', 'row', 'throw']), Error);
          await rejection(api.entries.run('d', ['row', 'fail']), ConstraintError);
          await api.entries.run('b', ['row']);
        });
        expect(committed(dir)).toEqual(['a/1', 'b/1']);
      });

      test('its calls take turns in Promise.all', async () => {
        const db = await openLedger(dir, strategy);
        await db.transaction(async (api) => {
          const settled = await Promise.allSettled([
            api.entries.run('a'),
            api.entries.run('b', ['row', 'again']),
            api.entries.count(),
            api.entries.run('c'),
          ]);
          expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
        });
        expect(committed(dir)).toEqual(['a/1', 'a/2', 'c/1', 'c/2']);
      });

      test('effects run once, after the commit and in call order, and never for what was undone', async () => {
        const db = await openLedger(dir, strategy);
        const log = dir.file('effects.log');
        await rejection(
          db.transaction(async (api) => {
            await api.entries.run('never', ['row', 'note'], log);
            throw new Refusal('no');
          }),
          Refusal,
        );
        await db.transaction(async (api) => {
          await api.entries.run('a', ['row', 'note'], log);
          await rejection(api.entries.run('b', ['row', 'note', 'again'], log), ConstraintError);
          await api.entries.run('c', ['note', 'row'], log);
          expect(existsSync(log), 'not before the commit').toBe(false);
        });
        expect(readFileSync(log, 'utf8')).toBe('a\nc\n');
      });
    });

    // A handler of another thread cannot get hold of this one's `Database`.
    test.runIf(strategy.inThread)(
      'an api call made by a handler is a call of its own, and does not carry the handler’s half-done work',
      async () => {
        // A lone call runs without a savepoint. Whoever joins its batch meanwhile must not commit what it left behind.
        const db = await openLedger(dir, strategy);
        let inner: Promise<unknown> = Promise.resolve();
        // Steps that call back stand for a handler whose module holds the api.
        const steps = {
          *[Symbol.iterator](): Generator<Step> {
            yield 'row';
            inner = db.api.entries.run('inner', ['row']);
            yield 'throw';
          },
        };
        await rejection(db.api.entries.run('outer', steps as never), Error);
        await inner;
        expect(committed(dir)).toEqual(['inner/1']);
      },
    );

    test('a refused statement of a handler undoes the whole call', async () => {
      const db = await openLedger(dir, strategy);
      await rejection(db.api.entries.execute('a', 'COMMIT'), HandlerError);
      expect(committed(dir)).toEqual([]);
    });
  });
}
