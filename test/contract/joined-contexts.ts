import { AsyncResource } from 'node:async_hooks';
import { EventEmitter } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import {
  AbortError,
  ContextError,
  DeadlockError,
  ReadOnlyError,
  TimeoutError,
  TransactionEndedError,
} from '../../src/index.ts';
import { type LedgerDatabase, Refusal } from '../support/ledger.ts';
import { committed, expectNoTransaction, openLedger } from '../support/open-ledger.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { expectBlocked, gate, rejection, until, watch } from '../support/waiting.ts';

/** Promise 7: a call made inside `transaction` or `snapshot` of the same database joins it through the async context. */
export function joinedContexts(strategy: StrategyUnderTest): void {
  describe('7. Joined contexts', () => {
    const dir = useTempDir();

    /** Service code that knows nothing of transactions, and comes back to the database by every road that Node has. */
    async function serve(db: LedgerDatabase, call: string): Promise<void> {
      await turn();
      await db.api.entries.run(`${call}-after-immediate`, ['row']);
      await new Promise<void>((resolve) => {
        process.nextTick(resolve);
      });
      await db.api.entries.run(`${call}-after-tick`, ['row']);
      await readFile(new URL(import.meta.url));
      await db.api.entries.run(`${call}-after-file`, ['row']);
      await new Promise<void>((resolve, reject) => {
        queueMicrotask(() => {
          db.api.entries.run(`${call}-in-callback`, ['row']).then(() => {
            resolve();
          }, reject);
        });
      });
    }
    const served = (call: string): string[] =>
      ['after-immediate', 'after-tick', 'after-file', 'in-callback'].map((road) => `${call}-${road}/1`);

    describe('misuse', () => {
      test('a write deep inside a snapshot is refused, and the snapshot goes on', async () => {
        const db = await openLedger(dir, strategy);
        const seen = await db.snapshot(async () => {
          const error = await rejection(serve(db, 'hidden'), ReadOnlyError);
          expect(error.outcome).toBe('not-started');
          return db.api.entries.count();
        });
        expect(seen).toBe(0);
        expect(committed(dir)).toEqual([]);
      });

      test('a transaction inside a snapshot is refused before its callback runs', async () => {
        const db = await openLedger(dir, strategy);
        let ran = false;
        await db.snapshot(async () => {
          const nested = db.transaction(() => {
            ran = true;
          });
          expect((await rejection(nested, ReadOnlyError)).outcome).toBe('not-started');
        });
        expect(ran).toBe(false);
      });

      test('a write inside a snapshot inside a transaction is refused, and the transaction goes on', async () => {
        const db = await openLedger(dir, strategy);
        await db.transaction(async (api) => {
          await api.entries.run('a', ['row']);
          await db.snapshot(async (reading) => {
            expect(await reading.entries.listed(), 'it sees what the transaction sees').toEqual(['a/1']);
            const deep = await rejection(db.api.entries.run('hidden', ['row']), ReadOnlyError);
            expect(deep.outcome).toBe('not-started');
            await rejection((reading as typeof api).entries.run('hidden', ['row']), ReadOnlyError);
          });
          await api.entries.run('b', ['row']);
        });
        expect(committed(dir)).toEqual(['a/1', 'b/1']);
      });

      test('a close inside is refused, and the database stays open', async () => {
        const db = await openLedger(dir, strategy);
        await db.transaction(async (api) => {
          await api.entries.run('a', ['row']);
          await rejection(db.close(), ContextError);
          await db.transaction(async () => {
            await rejection(db.close({ drain: 0 }), ContextError);
          });
        });
        await db.snapshot(async () => {
          await rejection(db.close(), ContextError);
        });
        await db.api.entries.run('b', ['row']);
        expect(committed(dir)).toEqual(['a/1', 'b/1']);
      });

      test('a call that is still waiting for its turn when the transaction ends is refused', async () => {
        // | callback        | nested           | sibling              |
        // |-----------------|------------------|----------------------|
        // | run a           |                  |                      |
        // |                 | run b            |                      |
        // |                 |   (gate)         | run c: its turn is   |
        // | returns         |                  | not yet come         |
        // |                 | undone           | refused              |
        const db = await openLedger(dir, strategy);
        const inside = gate();
        const never = gate();
        let nested: Promise<unknown> = Promise.resolve();
        let sibling: Promise<unknown> = Promise.resolve();
        await db.transaction(async (api) => {
          await api.entries.run('a', ['row']);
          nested = rejection(
            db.transaction(async () => {
              await db.api.entries.run('b', ['row']);
              inside.open();
              await never.passed;
            }),
            TransactionEndedError,
          );
          await inside.passed;
          sibling = rejection(api.entries.run('c', ['row']), TransactionEndedError);
        });
        await nested;
        expect(await sibling).toMatchObject({ outcome: 'not-started' });
        expectNoTransaction(dir);
        expect(committed(dir)).toEqual(['a/1']);
      });

      test.for(['its own api', 'the outer api', 'db.api'] as const)(
        'a nested transaction that nobody awaited is undone at the end, and cannot go on through %s',
        async (through) => {
          // | callback        | nested            |
          // |-----------------|-------------------|
          // | run a           |                   |
          // |                 | run b             |
          // |                 |   (gate)          |
          // | returns, commit | is undone         |
          // |                 | run c: refused    |
          const db = await openLedger(dir, strategy);
          const log = dir.file('effects.log');
          const [inside, held, over] = [gate(), gate(), gate()];
          let nested: Promise<unknown> = Promise.resolve();
          let late: Promise<unknown> = Promise.resolve();
          await db.transaction(async (outer) => {
            await outer.entries.run('a', ['row', 'note'], log);
            nested = rejection(
              db.transaction(async (own) => {
                await own.entries.run('b', ['row', 'note'], log);
                inside.open();
                await held.passed;
                const api = through === 'db.api' ? db.api : through === 'its own api' ? own : outer;
                late = rejection(api.entries.run('c', ['row', 'note'], log), TransactionEndedError);
                over.open();
                await late;
              }),
              TransactionEndedError,
            );
            await inside.passed;
          });
          await nested;
          held.open();
          await over.passed;
          expect(await late).toMatchObject({ outcome: 'not-started' });
          expectNoTransaction(dir);
          expect(committed(dir)).toEqual(['a/1']);
          expect(readFileSync(log, 'utf8')).toBe('a\n');
        },
      );

      test('a nested transaction that had not begun when the transaction ended never runs', async () => {
        const db = await openLedger(dir, strategy);
        let ran = false;
        let nested: Promise<unknown> = Promise.resolve();
        let sibling: Promise<unknown> = Promise.resolve();
        await db.transaction(() => {
          sibling = rejection(
            db.transaction(() => gate().passed),
            TransactionEndedError,
          );
          nested = rejection(
            db.transaction(() => {
              ran = true;
            }),
            TransactionEndedError,
          );
        });
        await sibling;
        expect(await nested).toMatchObject({ outcome: 'not-started' });
        expect(ran).toBe(false);
      });

      test.for(['abort', 'deadline'] as const)(
        'the callback of a transaction that was given up (%s) cannot write on, inside or outside',
        async (why) => {
          // | context               | callback              |
          // |-----------------------|-----------------------|
          // |                       | run a                 |
          // |                       |   (gate)              |
          // | gives up, undoes a    |                       |
          // |                       | run b: refused        |
          const db = await openLedger(dir, strategy);
          const controller = new AbortController();
          const [inside, held, over] = [gate(), gate(), gate()];
          const errors: unknown[] = [];
          const given = db.context(why === 'abort' ? { signal: controller.signal } : { timeout: 50 }, () =>
            db.transaction(async (api) => {
              await api.entries.run('a', ['row']);
              inside.open();
              await held.passed;
              await api.entries.run('b', ['row']).catch((error: unknown) => errors.push(error));
              await db.api.entries.run('c', ['row']).catch((error: unknown) => errors.push(error));
              await db
                .transaction(() => db.api.entries.run('d', ['row']))
                .catch((error: unknown) => errors.push(error));
              over.open();
            }),
          );
          await inside.passed;
          if (why === 'abort') controller.abort();
          const error = await rejection(given, why === 'abort' ? AbortError : TimeoutError);
          expect(error).toMatchObject({ outcome: 'rolled-back' });
          held.open();
          await over.passed;
          expect(errors).toHaveLength(3);
          expect(committed(dir)).toEqual([]);
        },
      );

      test.for(['transaction', 'snapshot', 'nested transaction'] as const)(
        'a %s whose callback never settles ends at the deadline of its context, and says where it was called',
        async (what) => {
          const db = await openLedger(dir, strategy, { timeout: 60_000 });
          const never = new Promise<never>(() => undefined);
          const begin = (): Promise<never> =>
            what === 'snapshot' ? db.snapshot(() => never) : db.transaction(() => never);
          const late = async (): Promise<void> => {
            const error = await db.context({ timeout: 50, label: 'ann' }, () => rejection(begin(), TimeoutError));
            expect(error).toMatchObject({ wait: 'callback', holder: { label: `${what} in ann` } });
            expect(error.outcome).toBe(what === 'snapshot' ? undefined : 'rolled-back');
            expect(error.holder?.site).toMatch(/joined-contexts\.ts:\d+:\d+/);
          };
          await (what === 'nested transaction' ? db.transaction(late) : late());
          expect(await db.api.entries.run('next', ['row'])).toBe(1);
          expectNoTransaction(dir);
        },
      );

      test('a joined call whose own signal was aborted before does not run', async () => {
        const db = await openLedger(dir, strategy);
        await db.transaction(async (api) => {
          await api.entries.run('a', ['row']);
          await db.context({ signal: AbortSignal.abort() }, async () => {
            expect((await rejection(db.api.entries.run('b', ['row']), AbortError)).outcome).toBe('not-started');
          });
        });
        expect(committed(dir)).toEqual(['a/1']);
      });
    });

    test('a nested transaction whose own signal aborts is undone alone', async () => {
      // | callback           | nested             | signal   |
      // |--------------------|--------------------|----------|
      // | run a              |                    |          |
      // |                    | run b              |          |
      // |                    |   (gate)           | aborts   |
      // |                    | is undone          |          |
      // | run c, commit      |                    |          |
      const db = await openLedger(dir, strategy);
      const controller = new AbortController();
      await db.transaction(async (api) => {
        await api.entries.run('a', ['row']);
        const nested = db.context({ signal: controller.signal }, () =>
          db.transaction(async (own) => {
            await own.entries.run('b', ['row']);
            controller.abort();
            await gate().passed;
          }),
        );
        expect(await rejection(nested, AbortError)).toMatchObject({ outcome: 'rolled-back' });
        await api.entries.run('c', ['row']);
      });
      expect(committed(dir)).toEqual(['a/1', 'c/1']);
    });

    describe('a transaction', () => {
      test('has every call that is made inside, however deep in service code and across awaits', async () => {
        const db = await openLedger(dir, strategy);
        await db.transaction(async () => {
          await serve(db, 'a');
          expect(await db.api.entries.listed(), 'it sees its own rows').toEqual(served('a'));
          expect(committed(dir), 'nobody else does').toEqual([]);
        });
        expect(committed(dir)).toEqual(served('a'));
      });

      test('undoes every call that joined it when its callback throws', async () => {
        const db = await openLedger(dir, strategy);
        const log = dir.file('effects.log');
        const failed = db.transaction(async () => {
          await serve(db, 'a');
          await db.api.entries.run('b', ['row', 'note'], log);
          await db.transaction((api) => api.entries.run('c', ['row', 'note'], log));
          throw new Refusal('after all of it');
        });
        await rejection(failed, Refusal);
        expectNoTransaction(dir);
        expect(committed(dir)).toEqual([]);
        expect(existsSync(log)).toBe(false);
      });

      test('of many at once has its own calls, and nobody else’s', async () => {
        const db = await openLedger(dir, strategy);
        const names = Array.from({ length: 6 }, (_, at) => String(at));
        const settled = await Promise.allSettled(
          names.map((name, at) =>
            db.transaction(async () => {
              await serve(db, name);
              if (at % 2 === 1) throw new Refusal(name);
            }),
          ),
        );
        expect(settled.map(({ status }) => status === 'fulfilled')).toEqual(names.map((_, at) => at % 2 === 0));
        expect(committed(dir)).toEqual(names.filter((_, at) => at % 2 === 0).flatMap(served));
      });

      // | outer transaction       | nested one                      |
      // |-------------------------|---------------------------------|
      // | begins the nested one   |                                 |
      // | (its listener) calls    | in its very first step          |
      // |                         | fails: undoes itself alone      |
      // | runs the call, keeps it |                                 |
      test('has what its listeners call in the first step of a nested one: it comes after that one', async () => {
        const db = await openLedger(dir, strategy);
        await db.transaction(async () => {
          const listener = AsyncResource.bind((call: string) => db.api.entries.run(call, ['row']));
          let heard: Promise<unknown> = Promise.resolve();
          const nested = db.transaction(async () => {
            heard = listener('heard');
            await db.api.entries.run('nested', ['row']);
            throw new Refusal('no');
          });
          await rejection(nested, Refusal);
          await heard;
        });
        expect(committed(dir)).toEqual(['heard/1']);
      });

      test('has one nested transaction after the other, also when the first one’s first step begins the second', async () => {
        const db = await openLedger(dir, strategy);
        const held = gate();
        await db.transaction(async () => {
          const listener = AsyncResource.bind(() =>
            db.transaction(async (api) => {
              await api.entries.run('second', ['row']);
              await held.passed;
              throw new Refusal('no');
            }),
          );
          let second: Promise<unknown> = Promise.resolve();
          await db.transaction(async (api) => {
            second = listener();
            await api.entries.run('first', ['row']);
          });
          const refused = rejection(second, Refusal);
          held.open();
          expect(await refused).toMatchObject({ outcome: 'rolled-back' });
        });
        expect(committed(dir)).toEqual(['first/1']);
      });

      test('undoes such a second one that nobody awaited: it has outlived its transaction', async () => {
        const db = await openLedger(dir, strategy);
        const held = gate();
        let second: Promise<unknown> = Promise.resolve();
        await db.transaction(async () => {
          const listener = AsyncResource.bind(() =>
            db.transaction(async (api) => {
              await api.entries.run('second', ['row']);
              await held.passed;
              await api.entries.run('late', ['row']);
            }),
          );
          await db.transaction(async (api) => {
            second = listener();
            second.catch(() => undefined);
            await api.entries.run('first', ['row']);
          });
        });
        held.open();
        expect(await rejection(second, TransactionEndedError)).toMatchObject({ outcome: 'rolled-back' });
        expect(committed(dir)).toEqual(['first/1']);
        expectNoTransaction(dir);
      });

      test('that is over refuses writes, which did not start, and reads, which have no outcome', async () => {
        const db = await openLedger(dir, strategy);
        const kept = await db.transaction((api) => Promise.resolve({ api }));
        const write = await rejection(kept.api.entries.run('late', ['row']), TransactionEndedError);
        expect(write.outcome).toBe('not-started');
        const late = db.context({ label: 'ann' }, () => rejection(kept.api.entries.count(), TransactionEndedError));
        const read = await late;
        expect(read.outcome).toBeUndefined();
        expect(read.message).toBe(
          'entries.count in ann: its transaction has ended; await every call inside the callback',
        );
        expect(committed(dir)).toEqual([]);
      });

      test('has nested ones that an aborted signal refuses under their own name', async () => {
        const db = await openLedger(dir, strategy);
        await db.transaction(async () => {
          const nested = db.context({ signal: AbortSignal.abort() }, () => db.transaction(() => Promise.resolve()));
          expect((await rejection(nested, AbortError)).message).toBe('nested transaction: aborted');
        });
      });

      test('has a snapshot that is taken inside: it sees what the transaction sees', async () => {
        const db = await openLedger(dir, strategy);
        await db.transaction(async () => {
          await db.api.entries.run('a', ['row']);
          const seen = await db.snapshot(async (api) => [await api.entries.count(), await db.api.entries.count()]);
          expect(seen).toEqual([1, 1]);
        });
      });

      // Whether another thread waits for this one is not known: there the deadline ends the wait.
      test.runIf(strategy.inThread)(
        'has nothing of a database on the same file: that one would wait for it, and waits when called outside',
        async () => {
          const one = await openLedger(dir, strategy);
          const two = await openLedger(dir, strategy);
          let other: Promise<unknown> = Promise.resolve();
          const failed = one.transaction(async (api) => {
            await api.entries.run('one', ['row']);
            await rejection(two.api.entries.run('two', ['row']), DeadlockError);
            other = one.detached(() => two.api.entries.run('two', ['row']));
            await expectBlocked(other);
            throw new Refusal('no');
          });
          await rejection(failed, Refusal);
          await other;
          expect(committed(dir)).toEqual(['two/1']);
        },
      );

      test('of each of two databases has the calls of its own', async () => {
        const one = await openLedger(dir, strategy);
        const two = await openLedger(dir, strategy, { file: dir.file('two.db') });
        const failed = one.transaction(async () => {
          await one.api.entries.run('a', ['row']);
          await two.transaction(async () => {
            await Promise.all([one.api.entries.run('b', ['row']), two.api.entries.run('c', ['row'])]);
            expect(await one.api.entries.count()).toBe(2);
            expect(await two.api.entries.count()).toBe(1);
          });
          await two.api.entries.run('d', ['row']);
          throw new Refusal('one');
        });
        await rejection(failed, Refusal);
        expect(committed(dir)).toEqual([]);
        expect(committed(dir, dir.file('two.db'))).toEqual(['c/1', 'd/1']);
      });
    });

    describe('a nested transaction', () => {
      test('is undone alone when its failure is caught, and its effects with it', async () => {
        const db = await openLedger(dir, strategy);
        const log = dir.file('effects.log');
        await db.transaction(async () => {
          await db.api.entries.run('a', ['row', 'note'], log);
          const failed = db.transaction(async () => {
            await db.api.entries.run('b', ['row', 'note'], log);
            await db.transaction((api) => api.entries.run('c', ['row', 'note'], log));
            throw new Refusal('caught');
          });
          expect(await rejection(failed, Refusal)).toMatchObject({ outcome: 'rolled-back' });
          expect(await db.api.entries.listed()).toEqual(['a/1']);
          await db.transaction(async () => {
            await db.api.entries.run('d', ['row', 'note'], log);
            const inner = db.transaction(async (api) => {
              await api.entries.run('e', ['row', 'note'], log);
              throw new Refusal('caught inside');
            });
            await rejection(inner, Refusal);
          });
        });
        expect(committed(dir)).toEqual(['a/1', 'd/1']);
        expect(readFileSync(log, 'utf8')).toBe('a\nd\n');
      });

      test('undoes everything when nobody catches its failure', async () => {
        const db = await openLedger(dir, strategy);
        const failed = db.transaction(async () => {
          await db.api.entries.run('a', ['row']);
          await db.transaction(async (api) => {
            await api.entries.run('b', ['row']);
            throw new Refusal('no');
          });
        });
        expect((await rejection(failed, Refusal)) as object).toHaveProperty('outcome', 'rolled-back');
        expect(committed(dir)).toEqual([]);
      });

      test('takes turns with its siblings in Promise.all', async () => {
        // | a         | nested 1        | b         | nested 2        | c         |
        // |-----------|-----------------|-----------|-----------------|-----------|
        // | run       |                 |           |                 |           |
        // |           | run 1a          |           |                 |           |
        // |           |   (turns)       | waits     | waits           | waits     |
        // |           | run 1b, release |           |                 |           |
        // |           |                 | run       |                 |           |
        // |           |                 |           | run 2a, undone  |           |
        // |           |                 |           |                 | run       |
        const db = await openLedger(dir, strategy);
        await db.transaction(async (api) => {
          const settled = await Promise.allSettled([
            api.entries.run('a', ['row']),
            db.transaction(async (own) => {
              await own.entries.run('1a', ['row']);
              await turn();
              await turn();
              await db.api.entries.run('1b', ['row']);
            }),
            api.entries.run('b', ['row']),
            db.transaction(async (own) => {
              await own.entries.run('2a', ['row']);
              await turn();
              throw new Refusal('no');
            }),
            db.api.entries.run('c', ['row']),
          ]);
          expect(settled.map(({ status }) => status)).toEqual([
            'fulfilled',
            'fulfilled',
            'fulfilled',
            'rejected',
            'fulfilled',
          ]);
        });
        expect(committed(dir)).toEqual(['a/1', '1a/1', '1b/1', 'b/1', 'c/1']);
      });

      test('has the calls that are made inside it through the outer api, which does not wait for itself', async () => {
        const db = await openLedger(dir, strategy);
        await db.transaction(async (outer) => {
          const failed = db.transaction(async () => {
            await outer.entries.run('undone', ['row']);
            await db.transaction(async () => {
              await outer.entries.run('undone, too', ['row']);
            });
            expect(await outer.entries.count()).toBe(2);
            throw new Refusal('no');
          });
          await rejection(failed, Refusal);
          await outer.entries.run('kept', ['row']);
        });
        expect(committed(dir)).toEqual(['kept/1']);
      });

      test('whose statement ends the whole transaction ends it for the outer one, too', async () => {
        const db = await openLedger(dir, strategy);
        const failed = db.transaction(async (api) => {
          await api.entries.run('a', ['row']);
          await db.transaction((own) => own.entries.run('b', ['row', 'rollback'])).catch(() => undefined);
          await rejection(api.entries.run('c', ['row']), TransactionEndedError);
        });
        await rejection(failed, TransactionEndedError);
        expectNoTransaction(dir);
        expect(committed(dir)).toEqual([]);
      });
    });

    describe('a snapshot', () => {
      test('has every read that is made inside, while others write or wait', async () => {
        // | snapshot          | writer                                      |
        // |-------------------|---------------------------------------------|
        // | lists: a          |                                             |
        // |   (gate)          | run b: resolves, or is blocked until the end|
        // | lists: a          |                                             |
        const db = await openLedger(dir, strategy);
        await db.api.entries.run('a', ['row']);
        const [inside, held] = [gate(), gate()];
        const reading = async (): Promise<string[]> => {
          await turn();
          return db.api.entries.listed();
        };
        const snapshot = db.snapshot(async () => {
          const first = await reading();
          inside.open();
          await held.passed;
          return [first, await reading(), await db.snapshot((api) => api.entries.listed())];
        });
        await inside.passed;
        const write = db.api.entries.run('b', ['row']);
        if (strategy.writesDuringSnapshot) await write;
        else await expectBlocked(write);
        held.open();
        expect(await snapshot).toEqual([['a/1'], ['a/1'], ['a/1']]);
        await write;
      });
    });

    describe('outside is', () => {
      test('a timer that was started inside and fires after the end', async () => {
        const db = await openLedger(dir, strategy);
        const ended = gate();
        let late: Promise<unknown> = Promise.resolve();
        const failed = db.transaction(async (api) => {
          await api.entries.run('undone', ['row']);
          late = ended.passed.then(async () => {
            await db.api.entries.run('late', ['row']);
            await db.transaction(() => db.api.entries.run('later', ['row']));
            return db.snapshot(() => db.api.entries.count());
          });
          throw new Refusal('no');
        });
        await rejection(failed, Refusal);
        ended.open();
        expect(await late).toBe(2);
        expect(committed(dir)).toEqual(['late/1', 'later/1']);
      });

      test('an effect, which runs after the commit', async () => {
        const db = await openLedger(dir, strategy);
        const log = dir.file('effects.log');
        await db.transaction(async (api) => {
          await api.entries.witnessed('a', dir.file(), log);
          expect(existsSync(log)).toBe(false);
        });
        expect(readFileSync(log, 'utf8')).toBe('1\n');
      });

      test('what runs detached: it waits for the end, or sees what is committed', async () => {
        const db = await openLedger(dir, strategy);
        let write: Promise<unknown> = Promise.resolve();
        let read: Promise<number> = Promise.resolve(NaN);
        const failed = db.transaction(async (api) => {
          await api.entries.run('undone', ['row']);
          write = db.detached(() => db.api.entries.run('detached', ['row']));
          read = db.detached(() => db.api.entries.count());
          if (strategy.readsDuringTransaction) expect(await read).toBe(0);
          else await expectBlocked(read);
          await expectBlocked(write);
          expect(await db.api.entries.count(), 'around it the transaction goes on').toBe(1);
          throw new Refusal('no');
        });
        await rejection(failed, Refusal);
        await write;
        expect([0, 1]).toContain(await read);
        expect(committed(dir)).toEqual(['detached/1']);
      });

      test('a transaction that is begun detached: it is one of its own', async () => {
        const db = await openLedger(dir, strategy);
        let detached: Promise<unknown> = Promise.resolve();
        await db.transaction(async (api) => {
          detached = db.detached(() =>
            db.transaction(async () => {
              await serve(db, 'own');
            }),
          );
          await api.entries.run('first', ['row']);
          await expectBlocked(detached);
          await api.entries.run('second', ['row']);
        });
        await detached;
        expect(committed(dir)).toEqual(['first/1', 'second/1', ...served('own')]);
      });

      test('whoever emits outside, though the listener was added inside', async () => {
        // | outside           | transaction            |
        // |-------------------|------------------------|
        // |                   | adds a listener        |
        // |                   |   (gate)               |
        // | emits: blocked    |                        |
        // |                   | throws, is undone      |
        // | its write runs    |                        |
        const db = await openLedger(dir, strategy);
        const emitter = new EventEmitter();
        const [inside, held] = [gate(), gate()];
        const failed = rejection(
          db.transaction(async (api) => {
            await api.entries.run('undone', ['row']);
            emitter.on('event', (answer: (write: Promise<unknown>) => void) => {
              answer(db.api.entries.run('event', ['row']));
            });
            inside.open();
            await held.passed;
            throw new Refusal('no');
          }),
          Refusal,
        );
        await inside.passed;
        let write: Promise<unknown> = Promise.resolve();
        emitter.emit('event', (made: Promise<unknown>) => {
          write = made;
        });
        await expectBlocked(write);
        held.open();
        await failed;
        await write;
        expect(committed(dir)).toEqual(['event/1']);
      });

      test('whoever lost the async context; the callback’s own api needs none', async () => {
        const db = await openLedger(dir, strategy);
        // What runs jobs without their caller's context, as a hand-made queue does.
        const jobs: (() => void)[] = [];
        const over = gate();
        const ended = watch(over.passed);
        const worker = (async () => {
          while (!ended.settled) {
            jobs.shift()?.();
            await turn();
          }
        })();
        const enqueue = <T>(job: () => Promise<T>): Promise<T> =>
          new Promise((resolve, reject) => {
            jobs.push(() => {
              job().then(resolve, reject);
            });
          });
        let lost: Promise<unknown> = Promise.resolve();
        const failed = db.transaction(async (api) => {
          await enqueue(() => api.entries.run('inside', ['row']));
          expect(await db.api.entries.count()).toBe(1);
          lost = enqueue(() => db.api.entries.run('outside', ['row']));
          await until('the job to be taken', () => jobs.length === 0);
          await expectBlocked(lost);
          throw new Refusal('no');
        });
        await rejection(failed, Refusal);
        await lost;
        over.open();
        await worker;
        expect(committed(dir)).toEqual(['outside/1']);
      });
    });
  });
}
