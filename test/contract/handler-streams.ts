import { existsSync, readFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import {
  AbortError,
  ClosedError,
  ContextError,
  HandlerError,
  ReadOnlyError,
  TimeoutError,
  TransactionEndedError,
} from '../../src/index.ts';
import { commitElsewhere, type LedgerDatabase, Refusal } from '../support/ledger.ts';
import { committed, expectNothingHeld, openLedger } from '../support/open-ledger.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { collect, countCalls, exhaust, fill, iterate } from '../support/streaming.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { expectBlocked, gate, rejection, until } from '../support/waiting.ts';

/** Read handlers that are generator functions, which callers stream. */
export function handlerStreams(strategy: StrategyUnderTest): void {
  describe('Handlers that yield', () => {
    const dir = useTempDir();
    const log = (): string => dir.file('handler.log');
    const logged = (): string[] => (existsSync(log()) ? readFileSync(log(), 'utf8').split('\n').slice(0, -1) : []);
    const nothingHeld = (db: LedgerDatabase): Promise<void> => expectNothingHeld(dir, db, strategy);

    test('are streams to their callers, each iteration a call of its own', async () => {
      const db = await openLedger(dir, strategy);
      const rows = await fill(db, 250);
      const stream = db.api.entries.each(7);
      expect(await collect(stream)).toEqual(rows);
      await fill(db, 1, 'b');
      expect(await collect(stream)).toEqual([...rows, 'b/1']);
      expect(await collect(db.api.entries.steps([]))).toEqual([]);
      await nothingHeld(db);
    });

    test('do not begin before the first pull, and run no further than a batch ahead of the last one', async () => {
      const db = await openLedger(dir, strategy);
      await fill(db, 250);
      const calls = countCalls(dir, 'entries.each');
      const rows = iterate(db.api.entries.each(10, log()));
      await turn();
      expect(logged()).toEqual([]);
      expect(calls.begun).toBe(0);
      await rows.next();
      await turn();
      expect(logged()).toEqual(['begins']);
      expect(calls.begun).toBe(1);
      await rows.return();
      expect(logged()).toEqual(['begins', 'ends with 250 rows']);
    });

    test('hold nothing between two pulls: others write, and the connection is lent to others', async () => {
      // | stream    | others                                              |
      // |-----------|-----------------------------------------------------|
      // | 100 rows  |                                                     |
      // |           | write, run a transaction, and snapshots everywhere  |
      // | the rest  |                                                     |
      const db = await openLedger(dir, strategy, { readers: 2 });
      await fill(db, 150);
      const rows = iterate(db.api.entries.each(10));
      expect((await rows.next()).value).toBe('a/1');
      await nothingHeld(db);
      await db.api.entries.run('b', ['row']);
      await db.transaction((api) => api.entries.run('c', ['row']));
      await Promise.all(Array.from({ length: 4 }, () => db.snapshot((api) => api.entries.count())));
      const { items } = await exhaust(rows);
      expect(items).toHaveLength(151);
      expect(items.slice(-2)).toEqual(['b/1', 'c/1']);
    });

    test('see the latest committed state with every step, and one state within each', async () => {
      const db = await openLedger(dir, strategy);
      const counts = iterate(db.api.entries.around150(dir.file()));
      expect((await counts.next()).value, 'it commits a row elsewhere, and does not see it').toEqual([0, 0]);
      const { items } = await exhaust(counts);
      for (const [before, after] of items) expect(after).toBe(before);
      // 100 items at most in one step.
      expect(new Set(items.map(([before]) => before)).size).toBeGreaterThanOrEqual(2);
    });

    test('go on while every reader is leased, where reads go on during a snapshot', async () => {
      const db = await openLedger(dir, strategy, { readers: 1 });
      await fill(db, 250);
      const rows = iterate(db.api.entries.each(10));
      await rows.next();
      const begun = gate();
      const held = gate();
      const snapshot = db.snapshot(() => {
        begun.open();
        return held.passed;
      });
      await begun.passed;
      const rest = exhaust(rows);
      if (strategy.writesDuringSnapshot) await rest;
      else await expectBlocked(rest);
      held.open();
      expect((await rest).items).toHaveLength(249);
      await snapshot;
    });

    test('are many at once, and end in any order', async () => {
      const db = await openLedger(dir, strategy, { readers: 1 });
      const rows = await fill(db, 250);
      const all = Array.from({ length: 8 }, (_, at) => collect(db.api.entries.each(at + 1)));
      const broken = iterate(db.api.entries.each(3));
      await broken.next();
      for (const seen of await Promise.all(all)) expect(seen).toEqual(rows);
      await broken.return();
      await nothingHeld(db);
    });

    test('end with break, with an error in the body and with throw: their finally reads what is committed', async () => {
      const db = await openLedger(dir, strategy);
      await fill(db, 250);
      const stream = db.api.entries.each(10, log());
      for await (const row of stream) if (row === 'a/3') break;
      await db.api.entries.run('b', ['row']);
      await rejection(
        (async () => {
          for await (const row of stream) if (row === 'a/3') throw new Refusal('enough');
        })(),
        Refusal,
      );
      const thrown = iterate(stream);
      await thrown.next();
      await rejection(thrown.throw(new Refusal('no')), Refusal);
      expect(await thrown.next()).toEqual({ done: true, value: undefined });
      await iterate(stream).return();
      expect(logged()).toEqual([
        ...['begins', 'ends with 250 rows'],
        ...['begins', 'ends with 251 rows'],
        ...['begins', 'ends with 251 rows'],
      ]);
      await nothingHeld(db);
    });

    test.for([
      ['its signal', {}],
      ['its deadline', {}],
      ['the option "timeout"', { timeout: 400 }],
    ] as const)(
      'are left at %s by who waits for their end, and their finally runs in its turn',
      async ([what, options]) => {
        // inside a transaction:
        // | a loop                   | a nested one  |
        // |--------------------------|---------------|
        // | has the first item       |               |
        // |                          | has its turn  |
        // | leaves: its end waits    |               |
        // | goes on without that     |               |
        // |                          | ends          |
        // | its finally              |               |
        const db = await openLedger(dir, strategy, { timeout: 60_000, ...options });
        await fill(db, 150);
        const controller = new AbortController();
        const around = { 'its signal': { signal: controller.signal }, 'its deadline': { timeout: 400 } };
        await db.transaction(async () => {
          const [pulled, leave, free] = [gate(), gate(), gate()];
          const loop = db.context(what in around ? around[what as keyof typeof around] : {}, async () => {
            for await (const row of db.api.entries.each(10, log())) {
              expect(row).toBe('a/1');
              pulled.open();
              await leave.passed;
              break;
            }
          });
          await pulled.passed;
          const nested = db.context({ timeout: 60_000 }, () => db.transaction(() => free.passed));
          leave.open();
          await expectBlocked(loop);
          controller.abort();
          await loop;
          expect(logged()).toEqual(['begins']);
          free.open();
          await nested;
          await until('the finally', () => logged().length === 2);
        });
        expect(logged()).toEqual(['begins', 'ends with 150 rows']);
        await nothingHeld(db);
      },
    );

    test('that fail give what they yielded before, then the error, and are over', async () => {
      const db = await openLedger(dir, strategy);
      const items = iterate(db.api.entries.steps(['name', 'throw', 'name'], log()));
      expect((await items.next()).value).toBe('name');
      expect((await rejection(items.next(), Refusal)).message).toBe('the handler refused');
      expect(await items.next()).toEqual({ done: true, value: undefined });
      expect(logged()).toEqual(['ends with 0 rows']);
      await nothingHeld(db);
    });

    test('cannot write', async () => {
      const db = await openLedger(dir, strategy);
      await rejection(collect(db.api.entries.steps(['name', 'write'])), ReadOnlyError);
      await rejection(
        db.transaction((api) => collect(api.entries.steps(['write']))),
        ReadOnlyError,
      );
      expect(committed(dir)).toEqual([]);
    });

    test('must yield values: a promise or a query that was not run ends them, and their finally runs', async () => {
      const db = await openLedger(dir, strategy);
      for (const [step, message] of [
        ['promise', 'entries.steps yielded a promise'],
        ['query', 'entries.steps yielded a query that was not run'],
      ] as const) {
        const error = await rejection(collect(db.api.entries.steps([step], log())), HandlerError);
        expect(error.message).toContain(message);
      }
      expect(logged()).toEqual(['ends with 0 rows', 'ends with 0 rows']);
    });

    test('reach the database only while a step runs', async () => {
      const db = await openLedger(dir, strategy);
      const items = iterate(db.api.entries.steps(['late'], log()));
      await items.next();
      await until('the timer that it left behind', () => logged().includes('ContextError'));
    });

    test('are ended by the signal and the deadline of the context', async () => {
      const db = await openLedger(dir, strategy);
      await fill(db, 250);
      const controller = new AbortController();
      const aborted = iterate(db.context({ signal: controller.signal }, () => db.api.entries.each(10, log())));
      await aborted.next();
      controller.abort();
      await rejection(aborted.next(), AbortError);
      expect(await aborted.next()).toEqual({ done: true, value: undefined });
      // Nobody waits for a `finally` whose caller has no time left.
      await until('the end of the first', () => logged().length === 2);
      const late = iterate(db.context({ timeout: 20 }, () => db.api.entries.each(10, log())));
      await late.next();
      const passed = performance.now() + 40;
      while (performance.now() < passed) await turn();
      expect((await rejection(late.next(), TimeoutError)).wait).toBe('stream');
      await until('the end of both', () => logged().length === 4);
      expect(logged()).toEqual(['begins', 'ends with 250 rows', 'begins', 'ends with 250 rows']);
    });

    test('see what their transaction has written, nested ones included, and end with it', async () => {
      const db = await openLedger(dir, strategy);
      await fill(db, 150);
      const left = await db.transaction(async (api) => {
        await api.entries.run('b', ['row']);
        const rows = iterate(db.api.entries.each(50));
        await rows.next();
        const { items } = await db.transaction(async () => {
          await db.api.entries.run('c', ['row']);
          return exhaust(rows);
        });
        expect(items).toHaveLength(151);
        expect(items.slice(-2)).toEqual(['b/1', 'c/1']);
        const begun = iterate(api.entries.each(10));
        await begun.next();
        return [begun, iterate(api.entries.each(10))];
      });
      for (const rows of left) {
        expect((await exhaust(rows)).error).toBeInstanceOf(TransactionEndedError);
        expect(await rows.next()).toEqual({ done: true, value: undefined });
      }
      await nothingHeld(db);
    });

    test('in a snapshot they see its state, whatever is committed meanwhile', async () => {
      const db = await openLedger(dir, strategy);
      const rows = await fill(db, 250);
      const seen = await db.snapshot(async (api) => {
        const items: string[] = [];
        for await (const row of api.entries.each(10)) {
          if (items.length % 50 === 0) commitElsewhere(dir.file());
          items.push(row);
        }
        return items;
      });
      expect(seen).toEqual(rows);
      expect(await db.api.entries.count()).toBe(255);
    });

    test('begun outside a transaction they cannot go on inside, where they would wait for themselves', async () => {
      const db = await openLedger(dir, strategy, { readers: 1 });
      await fill(db, 250);
      for (const run of [db.transaction.bind(db), db.snapshot.bind(db)]) {
        const rows = iterate(db.api.entries.each(10, log()));
        await rows.next();
        const { error } = await run(() => exhaust(rows));
        expect(error).toBeInstanceOf(ContextError);
        expect((error as ContextError).message).toMatch(
          /^entries\.each: begun outside the (transaction|snapshot) that it is pulled in/,
        );
        const broken = iterate(db.api.entries.each(10));
        await broken.next();
        await run(() => broken.return());
        // What is begun inside is at home there.
        expect(await run(() => collect(db.api.entries.each(100)))).toHaveLength(250);
      }
      await turn();
      expect(logged()).toEqual(['begins', 'ends with 250 rows', 'begins', 'ends with 250 rows']);
      await nothingHeld(db);
    });

    test('a close does not wait for one, and its next step is refused', async () => {
      const db = await openLedger(dir, strategy);
      await fill(db, 250);
      const rows = iterate(db.api.entries.each(10));
      await rows.next();
      expect(await db.close()).toEqual({ abandoned: [] });
      const { items, error } = await exhaust(rows);
      expect(items.length, 'those of the step before').toBeLessThan(100);
      expect(error).toBeInstanceOf(ClosedError);
      await rejection(iterate(db.api.entries.each(10)).next(), ClosedError);
      const broken = iterate(db.api.entries.each(10));
      await broken.return();
    });

    test('a plain function that returns an iterator is refused, and a write that does is undone', async () => {
      const db = await openLedger(dir, strategy);
      const read = await rejection(db.api.entries.lazily(), HandlerError);
      expect(read.message).toMatch(/^entries\.lazily returned an iterator, .* generator function/);
      const write = await rejection(db.api.entries.lazy('a'), HandlerError);
      expect(write).toMatchObject({ outcome: 'rolled-back' });
      expect(committed(dir)).toEqual([]);
    });

    test('a handler walks a table by its stream, and writes as it goes', async () => {
      const db = await openLedger(dir, strategy);
      await fill(db, 25);
      expect(await db.api.entries.negate(4)).toBe(25);
      expect(committed(dir)).toEqual(Array.from({ length: 25 }, (_, at) => `a/${-(at + 1)}`));
    });
  });
}
