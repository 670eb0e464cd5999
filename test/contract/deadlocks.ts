import { AsyncLocalStorage } from 'node:async_hooks';
import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import {
  ContextError,
  DeadlockError,
  defineAsyncRepository,
  defineRepositories,
  defineRepository,
  open,
  TimeoutError,
} from '../../src/index.ts';
import { entries, type LedgerDatabase, Refusal } from '../support/ledger.ts';
import { committed, openLedger } from '../support/open-ledger.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { iterate } from '../support/streaming.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { expectBlocked, gate, rejection, turns, until } from '../support/waiting.ts';

/** Promises 7 and 10: nothing waits for itself, not even in a circle. */
export function deadlocks(strategy: StrategyUnderTest): void {
  describe('7 and 10. No deadlocks', () => {
    const dir = useTempDir();

    async function openThree(): Promise<[LedgerDatabase, LedgerDatabase, LedgerDatabase]> {
      return [
        await openLedger(dir, strategy, { file: dir.file('a.db') }),
        await openLedger(dir, strategy, { file: dir.file('b.db') }),
        await openLedger(dir, strategy, { file: dir.file('c.db') }),
      ];
    }

    test('of two contexts that take two databases in opposite order one is refused at once, and the other goes on', async () => {
      const [a, b] = await openThree();
      const [inA, inB] = [gate(), gate()];
      // ann: holds a        waits for b …                                  has b, ends
      // bob:        holds b               wants a: refused, ends, gives b
      const ann = a.context({ label: 'ann' }, () =>
        a.transaction(async (api) => {
          await api.entries.run('ann', ['row']);
          inA.open();
          await inB.passed;
          await b.api.entries.run('ann', ['row']);
        }),
      );
      const since = performance.now();
      const bob = b.context({ label: 'bob' }, () =>
        b.transaction(async (api) => {
          await inA.passed;
          await api.entries.run('bob', ['row']);
          inB.open();
          await expectBlocked(ann);
          await a.api.entries.run('bob', ['row']);
        }),
      );
      const error = await rejection(bob, DeadlockError);
      expect(performance.now() - since, 'long before the deadline of 5000 ms').toBeLessThan(4000);
      expect(error.cycle).toEqual([
        expect.stringMatching(/^transaction in bob waits for .*a\.db$/),
        expect.stringMatching(/transaction in ann holds and waits for .*b\.db$/),
        'which transaction in bob holds',
      ]);
      await ann;
      expect(committed(dir, dir.file('a.db'))).toEqual(['ann/1']);
      expect(committed(dir, dir.file('b.db'))).toEqual(['ann/1']);
    });

    test('a circle of three is seen, and caught inside its transaction it costs only that call', async () => {
      const databases = await openThree();
      const entered = databases.map(() => gate());
      const refused: DeadlockError[] = [];
      await Promise.all(
        databases.map((own, at) =>
          own.transaction(async (api) => {
            await api.entries.run(`own-${at}`, ['row']);
            entered[at]?.open();
            await Promise.all(entered.map(({ passed }) => passed));
            try {
              await databases[(at + 1) % 3]?.api.entries.run(`next-${at}`, ['row']);
            } catch (error) {
              if (!(error instanceof DeadlockError)) throw error;
              refused.push(error);
            }
          }),
        ),
      );
      expect(refused).toHaveLength(1);
      expect(refused[0]?.outcome).toBe('not-started');
      expect(refused[0]?.cycle).toHaveLength(4);
      const rows = ['a.db', 'b.db', 'c.db'].flatMap((name) => committed(dir, dir.file(name)));
      expect(rows).toHaveLength(5);
    });

    test('a circle through the only reader of a database is seen', async () => {
      // in a snapshot of a: has the reader     waits for b …                            has b, ends
      // in a transaction of b:  has b                        wants the reader: refused, ends
      const a = await openLedger(dir, strategy, { file: dir.file('a.db'), readers: 1 });
      const b = await openLedger(dir, strategy, { file: dir.file('b.db') });
      const [inA, inB] = [gate(), gate()];
      const reading = a.snapshot(async (api) => {
        await api.entries.count();
        inA.open();
        await inB.passed;
        await b.api.entries.run('reading', ['row']);
      });
      const writing = b.transaction(async (api) => {
        await inA.passed;
        await api.entries.run('writing', ['row']);
        inB.open();
        await expectBlocked(reading);
        const error = await rejection(
          a.snapshot(() => 1),
          DeadlockError,
        );
        expect(error.cycle[0]).toMatch(/^transaction waits for (a reader|the write lane) of .*a\.db$/);
        expect(error.cycle[1]).toMatch(/^which snapshot holds and waits for the write lane of .*b\.db$/);
      });
      await Promise.all([reading, writing]);
      expect(committed(dir, dir.file('b.db'))).toEqual(['writing/1', 'reading/1']);
    });

    // inside a transaction of a:
    // nested:   has the turn in a                          waits for b …              has b, ends
    // other:                      has b, a transaction of b               wants a turn in a: refused, ends, gives b
    test.each(['a call', 'a transaction', 'a snapshot'])(
      'a circle through the turns inside a transaction is seen: %s of its own behind a nested one that waits for another database',
      async (what) => {
        const [a, b] = await openThree();
        const [inA, inB] = [gate(), gate()];
        const asks: Record<string, () => Promise<unknown>> = {
          'a call': () => a.api.entries.run('other', ['row']),
          'a transaction': () => a.transaction((api) => api.entries.run('other', ['row'])),
          'a snapshot': () => a.snapshot((api) => api.entries.count()),
        };
        const since = performance.now();
        const error = await a.transaction(async (api) => {
          await api.entries.run('outer', ['row']);
          const nested = a.transaction(async (inner) => {
            inA.open();
            await inB.passed;
            await b.api.entries.run('nested', ['row']);
            await inner.entries.run('nested', ['row']);
          });
          const other = a.context({ label: 'bob' }, () =>
            b.transaction(async (inner) => {
              await inA.passed;
              await inner.entries.run('other', ['row']);
              inB.open();
              await expectBlocked(nested);
              await asks[what]?.();
            }),
          );
          const refused = await rejection(other, DeadlockError);
          await nested;
          return refused;
        });
        expect(performance.now() - since, 'long before the deadline of 5000 ms').toBeLessThan(4000);
        expect(error.cycle).toEqual([
          'transaction in bob waits for a turn inside transaction',
          expect.stringMatching(/^which nested transaction holds and waits for the write lane of .*b\.db$/),
          'which transaction in bob holds',
        ]);
        expect(error.outcome).toBe('rolled-back');
        expect(committed(dir, dir.file('a.db'))).toEqual(['outer/1', 'nested/1']);
        expect(committed(dir, dir.file('b.db'))).toEqual(['nested/1']);
      },
    );

    test('a nested transaction that would close the circle is refused, and undone alone', async () => {
      // inside a transaction of a:
      // nested:   has the turn in a                                     wants b: refused, ends
      // other:                       has b    waits for a turn in a …                             has it, ends
      const [a, b] = await openThree();
      const [inA, inB] = [gate(), gate()];
      await a.transaction(async () => {
        const nested = a.transaction(async (outer) => {
          await outer.entries.run('nested', ['row']);
          // However deep: it is a transaction inside this one that waits.
          await a.transaction(async (inner) => {
            await inner.entries.run('deep', ['row']);
            inA.open();
            await inB.passed;
            await expectBlocked(other);
            await b.api.entries.run('nested', ['row']);
          });
        });
        const other = b.transaction(async (inner) => {
          await inA.passed;
          await inner.entries.run('other', ['row']);
          inB.open();
          await a.api.entries.run('other', ['row']);
        });
        const error = await rejection(nested, DeadlockError);
        expect(error.cycle).toEqual([
          expect.stringMatching(/^nested transaction waits for the write lane of .*b\.db$/),
          'which transaction holds and waits for a turn inside transaction',
          'which nested transaction holds',
        ]);
        await other;
      });
      expect(committed(dir, dir.file('a.db'))).toEqual(['other/1']);
      expect(committed(dir, dir.file('b.db'))).toEqual(['other/1']);
    });

    test('siblings that take turns and all need another database wait for each other, and all go on', async () => {
      const [a, b] = await openThree();
      const calls = ['1', '2', '3'];
      await a.transaction(async () => {
        await Promise.all(
          calls.flatMap((call) => [
            a.transaction(async (inner) => {
              await inner.entries.run(call, ['row']);
              await b.transaction(async (far) => {
                await far.entries.run(call, ['row']);
                await a.api.entries.run(`${call}-deep`, ['row']);
              });
            }),
            a.api.entries.run(`${call}-beside`, ['row']),
            b.api.entries.run(`${call}-beside`, ['row']),
          ]),
        );
      });
      const inA = calls.flatMap((call) => [`${call}-beside/1`, `${call}-deep/1`, `${call}/1`]);
      expect(committed(dir, dir.file('a.db')).sort()).toEqual(inA.sort());
      const inB = calls.flatMap((call) => [`${call}-beside/1`, `${call}/1`]);
      expect(committed(dir, dir.file('b.db')).sort()).toEqual(inB.sort());
    });

    test('a circle through the end of a stream that is left is seen', async () => {
      // inside a transaction of a:
      // other:    has b, walks over a                          leaves, which is a step in a …              has b, ends
      // nested:                         has the turn in a                          wants b: refused, ends
      const [a, b] = await openThree();
      // More than one step has.
      await Promise.all(Array.from({ length: 150 }, (_, at) => a.api.entries.run(`row-${at}`, ['row'])));
      const [inA, inB] = [gate(), gate()];
      await a.transaction(async () => {
        const other = b.transaction(async (inner) => {
          await inner.entries.run('other', ['row']);
          for await (const row of a.api.entries.each(1)) {
            expect(row).toBe('row-0/1');
            inB.open();
            await inA.passed;
            break;
          }
        });
        await inB.passed;
        const nested = a.transaction(async () => {
          inA.open();
          await turns(20);
          await b.api.entries.run('nested', ['row']);
        });
        const error = await rejection(nested, DeadlockError);
        expect(error.cycle).toContain('which transaction holds and waits for a turn inside transaction');
        await other;
      });
      expect(committed(dir, dir.file('b.db'))).toEqual(['other/1']);
    });

    test('a stream that is left does not wait where that would close a circle, and its end comes later', async () => {
      // inside a transaction of a:
      // other:    has b, walks over a                                     leaves: its end waits, and nobody for it     ends
      // nested:                         has the turn in a   waits for b …                                                 has b
      const [a, b] = await openThree();
      await Promise.all(Array.from({ length: 150 }, (_, at) => a.api.entries.run(`row-${at}`, ['row'])));
      const [inA, inB] = [gate(), gate()];
      const log = dir.file('log');
      await a.transaction(async () => {
        const nested: { promise?: Promise<void> } = {};
        const other = b.transaction(async (inner) => {
          await inner.entries.run('other', ['row']);
          for await (const row of a.api.entries.each(1, log)) {
            expect(row).toBe('row-0/1');
            inB.open();
            await inA.passed;
            await expectBlocked(nested.promise ?? Promise.resolve());
            break;
          }
        });
        await inB.passed;
        nested.promise = a.transaction(async () => {
          inA.open();
          await b.api.entries.run('nested', ['row']);
        });
        await Promise.all([nested.promise, other]);
      });
      expect(committed(dir, dir.file('b.db'))).toEqual(['other/1', 'nested/1']);
      expect(readFileSync(log, 'utf8'), 'its finally has run').toMatch(/^begins\nends with 150 rows\n$/);
    });

    test('who waits for its turn in vain learns who has it, since when, and where that was called', async () => {
      const a = await openLedger(dir, strategy, { timeout: 100 });
      await a.transaction(async (api) => {
        const hold = gate();
        const nested = a.context({ label: 'ann', timeout: 5000 }, () => a.transaction(() => hold.passed));
        await wait(100);
        const late = a.context({ label: 'bob' }, () => api.entries.run('late', ['row']));
        const error = await rejection(late, TimeoutError);
        expect(error).toMatchObject({ wait: 'turn', outcome: 'not-started' });
        expect(error.message).toMatch(/^entries\.run in bob: waited \d+ ms inside transaction/);
        expect(error.holder?.label).toBe('nested transaction in ann');
        expect(error.holder?.heldFor, 'longer than the other has waited').toBeGreaterThan(150);
        expect(error.holder?.site).toMatch(/deadlocks\.ts:\d+:\d+/);
        hold.open();
        await nested;
      });
    });

    test
      .runIf(strategy.inThread)
      .each(['beside it inside the transaction', 'outside, and the handler is detached'] as const)(
      'a circle through the turn of an asynchronous handler is seen, by one %s',
      async (where) => {
        // handler:  in a transaction of a                       wants b: refused, undone
        // other:                             has b    wants a …                            has it, ends
        const [, b] = await openThree();
        const [inA, inB] = [gate(), gate()];
        const notes = defineAsyncRepository(entries, {
          writes: (drizzle) => ({
            async add(call: string) {
              await drizzle.insert(entries).values({ call, part: 1 });
              inA.open();
              await inB.passed;
              await b.api.entries.run(call, ['row']);
            },
          }),
        });
        const a = await open({
          file: dir.file('a.db'),
          repositories: defineRepositories(import.meta.url, { notes }),
          strategy: strategy.name,
        });
        dir.atEnd(() => a.close());
        const runOther = (): Promise<void> =>
          b.transaction(async (inner) => {
            await inA.passed;
            await inner.entries.run('other', ['row']);
            const waiting = a.transaction(() => 1);
            await expectBlocked(waiting);
            inB.open();
            await waiting;
          });
        const isOutside = where.startsWith('outside');
        const outside = isOutside ? runOther() : undefined;
        await a.transaction(async (api) => {
          // It runs in the transaction whose api it is called by, whatever its async context says.
          const handler = isOutside ? a.detached(() => api.notes.add('handler')) : api.notes.add('handler');
          const inside = isOutside ? undefined : runOther();
          const error = await rejection(handler, DeadlockError);
          expect(error.cycle.at(-1)).toBe(isOutside ? 'which transaction holds' : 'which notes.add holds');
          await inside;
        });
        await outside;
        expect(committed(dir, dir.file('a.db'))).toEqual([]);
        expect(committed(dir, dir.file('b.db'))).toEqual(['other/1']);
      },
    );

    test('two contexts that take two databases in the same order wait for each other and both go on', async () => {
      const [a, b] = await openThree();
      await Promise.all(
        ['ann', 'bob'].map((who) =>
          a.transaction(async (api) => {
            await api.entries.run(who, ['row']);
            await b.transaction((inner) => inner.entries.run(who, ['row']));
          }),
        ),
      );
      expect(committed(dir, dir.file('b.db'))).toEqual(['ann/1', 'bob/1']);
    });

    test.runIf(strategy.inThread)(
      'an asynchronous handler that calls the api of its own database is refused at once, and nothing of it is kept',
      async () => {
        const later: { add?: (call: string) => Promise<void> } = {};
        const notes = defineAsyncRepository(entries, {
          writes: (drizzle) => ({
            async add(call: string) {
              await drizzle.insert(entries).values({ call, part: 1 });
            },
            async both(call: string) {
              await drizzle.insert(entries).values({ call, part: 1 });
              await later.add?.(`${call}-inner`);
            },
          }),
        });
        await openLedger(dir, strategy);
        const opened = await open({
          file: dir.file(),
          repositories: defineRepositories(import.meta.url, { notes }),
          strategy: strategy.name,
        });
        dir.atEnd(() => opened.close());
        later.add = (call) => opened.api.notes.add(call);
        const alone = await rejection(opened.api.notes.both('a'), ContextError);
        expect(alone.message).toMatch(/notes\.add: called through the api inside the handler notes\.both.*use\(/s);
        await opened.transaction(async (api) => {
          await rejection(api.notes.both('b'), ContextError);
          // Also through the transaction's own api, which the handler is called by.
          later.add = (call) => api.notes.add(call);
          await rejection(api.notes.both('b'), ContextError);
        });
        expect(committed(dir)).toEqual([]);
        await opened.api.notes.add('c');
        expect(committed(dir)).toEqual(['c/1']);
      },
    );

    test.runIf(strategy.inThread)(
      'a stream that an asynchronous handler ends has its finally run by the transaction around it',
      async () => {
        const later: { end?: () => Promise<unknown> } = {};
        const ended: string[] = [];
        const [notes, walks] = [
          defineAsyncRepository(entries, {
            writes: () => ({
              async end() {
                await later.end?.();
              },
            }),
          }),
          defineRepository(entries, {
            reads: () => ({
              *each() {
                try {
                  for (let at = 0; ; at++) yield at;
                } finally {
                  ended.push('ended');
                }
              },
            }),
          }),
        ];
        await openLedger(dir, strategy);
        const opened = await open({
          file: dir.file(),
          repositories: defineRepositories(import.meta.url, { notes, walks }),
          strategy: strategy.name,
        });
        dir.atEnd(() => opened.close());
        await opened.transaction(async (api) => {
          const walk = iterate(api.walks.each());
          await walk.next();
          later.end = () => walk.return();
          await api.notes.end();
          await until('the finally', () => ended.length === 1);
        });
        expect(ended).toEqual(['ended']);
      },
    );

    // A handler of another thread cannot get hold of this one's `Database`.
    const here = test.runIf(strategy.inThread);
    here('an asynchronous handler that was given up can write through the api no more than while it ran', async () => {
      const later: { add?: (call: string) => Promise<void> } = {};
      const refused: unknown[] = [];
      const notes = defineAsyncRepository(entries, {
        writes: (drizzle) => ({
          async add(call: string) {
            await drizzle.insert(entries).values({ call, part: 1 });
          },
          async slow(call: string) {
            await drizzle.insert(entries).values({ call, part: 1 });
            await turns(20);
            await later.add?.(`${call}-ghost`).catch((error: unknown) => refused.push(error));
          },
        }),
      });
      await openLedger(dir, strategy);
      const opened = await open({
        file: dir.file(),
        repositories: defineRepositories(import.meta.url, { notes }),
        strategy: strategy.name,
      });
      dir.atEnd(() => opened.close());
      later.add = (call) => opened.api.notes.add(call);
      await opened.api.notes.slow('a');
      await turns(40);
      // Its first run was undone, because it waits for something else; the second one is the call.
      expect(refused).toHaveLength(2);
      expect(committed(dir)).toEqual(['a/1']);
    });

    test('what a nested transaction leaves behind in its async context belongs to the transaction around it', async () => {
      const db = await openLedger(dir, strategy);
      await db.transaction(async (api) => {
        await api.entries.run('outer', ['row']);
        let count: Promise<number> | undefined;
        const inner = gate();
        await db.transaction(async () => {
          count = inner.passed.then(() => db.api.entries.count());
          await Promise.resolve();
        });
        inner.open();
        expect(await count).toBe(1);
      });
    });

    test('a wait that somebody will end is none, whoever else waits in a circle meanwhile', async () => {
      const [a, b] = await openThree();
      const free = gate();
      // s1: holds a reader of a, waits for b     s2: holds the other reader of a     t: holds b, waits for a reader of a
      const begun = [gate(), gate(), gate()];
      const s1 = a.snapshot(async () => {
        begun[0]?.open();
        await begun[2]?.passed;
        await b.api.entries.run('s1', ['row']);
      });
      const s2 = begun[0]?.passed.then(() =>
        b.transaction(async (api) => {
          await api.entries.run('t', ['row']);
          begun[1]?.open();
          begun[2]?.open();
          await free.passed;
        }),
      );
      await begun[1]?.passed;
      const bystander = b.api.entries.run('bystander', ['row']);
      await expectBlocked(bystander);
      free.open();
      await Promise.all([s1, s2, bystander]);
      expect(committed(dir, dir.file('b.db')).sort()).toEqual(['bystander/1', 's1/1', 't/1']);
    });

    test('a nested transaction that waits for a call of the outer api gives up at the deadline, and is undone alone', async () => {
      const db = await openLedger(dir, strategy, { timeout: 100 });
      await db.transaction(async (outer) => {
        await outer.entries.run('outer', ['row']);
        // The async context is lost, as by an event emitter made elsewhere: the call cannot know that it is inside.
        const outside = AsyncLocalStorage.snapshot();
        const nested = db.transaction(async (inner) => {
          await inner.entries.run('inner', ['row']);
          await outside(() => outer.entries.run('waits', ['row']));
        });
        const error = await rejection(nested, TimeoutError);
        expect(error.wait).toBe('turn');
        expect(error.holder?.label).toBe('nested transaction');
      });
      expect(committed(dir)).toEqual(['outer/1']);
    });

    test('a call behind a sibling that never ends is released by its signal', async () => {
      const db = await openLedger(dir, strategy);
      const controller = new AbortController();
      const hold = gate();
      await rejection(
        db.transaction(async (api) => {
          const sibling = db.transaction(async () => {
            await hold.passed;
          });
          const waiting = db.context({ signal: controller.signal }, () => api.entries.run('a', ['row']));
          await expectBlocked(waiting);
          controller.abort();
          const aborted = await rejection(waiting, Error);
          expect(aborted).toMatchObject({ name: 'AbortError', outcome: 'not-started' });
          hold.open();
          await sibling;
          throw new Refusal('enough');
        }),
        Refusal,
      );
      expect(committed(dir)).toEqual([]);
    });
  });
}
