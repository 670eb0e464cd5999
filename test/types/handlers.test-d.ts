/** Which handlers the compiler refuses. What it says of each is asserted in test/unit/type-tests.test.ts. */
import { asc, eq, type SQL, sql } from 'drizzle-orm';
import { integer, type SQLiteColumn, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { describe, expectTypeOf, test } from 'vitest';
import {
  defineAsyncRepository,
  defineRepositories,
  defineRepository,
  type ReadDatabase,
  type SluiceTypeError,
  type WriteDatabase,
} from '../../src/index.ts';
import { type CanCross, type CheckHandlers } from '../../src/repository/handler-checks.ts';

const notes = sqliteTable('notes', { id: integer().primaryKey(), text: text() });

class Money {
  readonly cents = 1;
  plus(other: Money): Money {
    return other;
  }
}
/** What generator functions give. */
declare const yielded: <T>() => Generator<T>;
declare const awaited: <T>() => AsyncGenerator<T>;
declare const mapped: (run: () => number) => Generator<number>;
type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

describe('a handler is refused when it', () => {
  test('is asynchronous', () => {
    defineRepository(notes, {
      // @ts-expect-error an async function
      writes: () => ({
        later: async (id: number) => {
          await Promise.resolve();
          return id;
        },
      }),
    });
    // @ts-expect-error a promise, refused
    defineRepository(notes, { reads: () => ({ later: (id: number) => Promise.resolve(id) }) });
    // @ts-expect-error a promise sometimes
    defineRepository(notes, { reads: () => ({ later: (id: number) => (id > 1 ? Promise.resolve(id) : id) }) });
    // @ts-expect-error an asynchronous factory
    defineRepository(notes, { reads: () => Promise.resolve({ now: () => 1 }) });
  });

  test('returns a query that was not run', () => {
    // @ts-expect-error a builder, refused
    defineRepository(notes, { reads: (db) => ({ unrun: () => db.select().from(notes) }) });
    defineRepository(notes, {
      // @ts-expect-error a builder with more said
      reads: (db) => ({ unrun: () => db.select().from(notes).orderBy(asc(notes.id)).limit(1) }),
    });
    // @ts-expect-error a prepared query
    defineRepository(notes, { reads: (db) => ({ unrun: () => db.select().from(notes).prepare() }) });
    // @ts-expect-error an insert, refused
    defineRepository(notes, { writes: (db) => ({ unrun: (id: number) => db.insert(notes).values({ id }) }) });
    // @ts-expect-error an update with RETURNING
    defineRepository(notes, { writes: (db) => ({ unrun: () => db.update(notes).set({ text: 'a' }).returning() }) });
    // @ts-expect-error a delete, refused
    defineRepository(notes, { writes: (db) => ({ unrun: (id: number) => db.delete(notes).where(eq(notes.id, id)) }) });
    // @ts-expect-error an expression
    defineRepository(notes, { reads: () => ({ unrun: () => sql`SELECT 1` }) });
    // @ts-expect-error a query or nothing
    defineRepository(notes, { reads: (db) => ({ unrun: (id: number) => (id > 1 ? db.select().from(notes) : null) }) });
  });

  test('takes what cannot cross a thread', () => {
    // @ts-expect-error a Drizzle expression
    defineRepository(notes, { reads: (db) => ({ by: (by: SQL) => db.select().from(notes).where(by).all() }) });
    // @ts-expect-error a Drizzle expression inside an object
    defineRepository(notes, { reads: () => ({ by: (options: { by?: SQL }) => typeof options }) });
    // @ts-expect-error a column, refused
    defineRepository(notes, { reads: () => ({ by: (column: SQLiteColumn) => column.name }) });
    defineRepository(notes, {
      // @ts-expect-error a function
      reads: () => ({
        each: (run: (id: number) => void) => {
          run(1);
        },
      }),
    });
    // @ts-expect-error an optional function
    defineRepository(notes, { reads: () => ({ each: (run?: () => void) => run?.() }) });
    // @ts-expect-error functions in a list
    defineRepository(notes, { reads: () => ({ each: (...runs: (() => void)[]) => runs.length }) });
    // @ts-expect-error a symbol, refused
    defineRepository(notes, { reads: () => ({ by: (key: symbol) => key.description }) });
    // @ts-expect-error a class instance
    defineRepository(notes, { reads: () => ({ pay: (money: Money) => money.cents }) });
    // @ts-expect-error class instances in a Map
    defineRepository(notes, { reads: () => ({ pay: (money: Map<string, Money>) => money.size }) });
    // @ts-expect-error a promise, refused
    defineRepository(notes, { reads: () => ({ by: (id: Promise<number>) => typeof id }) });
    // @ts-expect-error a class that structured clone does not know
    defineRepository(notes, { reads: () => ({ by: (url: URL) => url.href }) });
  });

  test('gives what cannot cross a thread', () => {
    // @ts-expect-error a function
    defineRepository(notes, { reads: () => ({ make: () => () => 1 }) });
    // @ts-expect-error a symbol, refused
    defineRepository(notes, { reads: () => ({ make: () => Symbol('a') }) });
    // @ts-expect-error class instances
    defineRepository(notes, { reads: () => ({ make: () => [new Money()] }) });
    // @ts-expect-error a promise inside an object
    defineRepository(notes, { reads: () => ({ make: () => ({ later: Promise.resolve(1) }) }) });
  });

  test('gives an iterator where it cannot be streamed', () => {
    // @ts-expect-error a plain function, which nobody can tell from one that gives a value
    defineRepository(notes, { reads: () => ({ make: () => [1].values() }) });
    const rows = defineRepository(notes);
    // @ts-expect-error the table's stream inside a handler, returned from it
    defineRepository(notes, { reads: (_db, { use }) => ({ make: () => use(rows).stream() }) });
    // @ts-expect-error an iterator sometimes
    defineRepository(notes, { reads: () => ({ make: (id: number) => (id > 1 ? [1].values() : undefined) }) });
    defineRepository(notes, {
      // @ts-expect-error a generator function that writes
      writes: (db) => ({
        *make(id: number) {
          yield db.insert(notes).values({ id }).run().changes;
        },
      }),
    });
    // @ts-expect-error an asynchronous generator function
    defineRepository(notes, { reads: () => ({ make: () => awaited<number>() }) });
    // @ts-expect-error a generator function in an asynchronous repository
    defineAsyncRepository(notes, { reads: () => ({ make: () => yielded<number>() }) });
    // @ts-expect-error an asynchronous generator function there
    defineAsyncRepository(notes, { writes: () => ({ make: () => awaited<number>() }) });
    // @ts-expect-error a promise of an iterator
    defineAsyncRepository(notes, { reads: () => ({ make: () => Promise.resolve([1].values()) }) });
  });

  test('yields what cannot cross a thread, or is not done', () => {
    // @ts-expect-error class instances
    defineRepository(notes, { reads: () => ({ make: () => yielded<Money>() }) });
    // @ts-expect-error promises, refused
    defineRepository(notes, { reads: () => ({ make: () => yielded<Promise<number>>() }) });
    // @ts-expect-error queries that were not run
    defineRepository(notes, { reads: () => ({ make: () => yielded<SQL>() }) });
    // @ts-expect-error an argument that is a function
    defineRepository(notes, { reads: () => ({ make: mapped }) });
  });

  test('is no function', () => {
    // @ts-expect-error a number, refused
    defineRepository(notes, { reads: () => ({ make: 1 }) });
  });

  test('writes in a read', () => {
    expectTypeOf<ReadDatabase>().not.toHaveProperty('insert');
    expectTypeOf<ReadDatabase>().not.toHaveProperty('update');
    expectTypeOf<ReadDatabase>().not.toHaveProperty('delete');
    expectTypeOf<ReadDatabase>().not.toHaveProperty('run');
    expectTypeOf<ReadDatabase>().not.toHaveProperty('transaction');
    expectTypeOf<WriteDatabase>().toHaveProperty('insert');
    // @ts-expect-error the whole definition has no such option
    defineRepository(notes, { queries: () => ({}) });
  });
});

describe('a handler may', () => {
  test('take and give whatever structured clone copies', () => {
    defineRepository(notes, {
      reads: (db) => ({
        none: () => undefined,
        nothing: () => {
          db.select().from(notes).all();
        },
        rows: (id: number) => db.select().from(notes).where(eq(notes.id, id)).all(),
        row: () =>
          db
            .select({ n: sql<number>`1` })
            .from(notes)
            .get(),
        json: (value: Json) => value,
        unknown: (value: unknown) => value,
        record: (value: Readonly<Record<string, readonly number[]>>) => value,
        kinds: (a: Date, b: Uint8Array, c: Map<string, Set<bigint>>, d: RegExp, e: ArrayBuffer, f: Error) => ({
          a,
          b,
          c,
          d,
          e,
          f,
        }),
        optional: (a?: string, ...rest: readonly (number | null)[]) => [a, rest.length] as const,
        *yields(id: number) {
          yield* db.select().from(notes).where(eq(notes.id, id)).all();
          const answer: unknown = yield { id, text: null };
          return typeof answer;
        },
        never: () => yielded<never>(),
      }),
      writes: (db) => ({
        run: (id: number) => db.insert(notes).values({ id }).run(),
        nested: () => db.transaction((tx) => tx.select().from(notes).all()),
        fails: (): never => {
          throw new Error('always');
        },
      }),
    });
  });
});

describe('the checks', () => {
  test('leave a good handler as it is', () => {
    type Good = { ok: (id: number) => string; empty: () => void };
    expectTypeOf<CheckHandlers<Good, 'read'>>().toEqualTypeOf<Good>();
  });

  test('turn a bad one into a sentence', () => {
    type Bad = CheckHandlers<
      { late: () => Promise<1>; by: (by: SQL) => 1; make: () => Money; unrun: () => SQL },
      'read'
    >;
    expectTypeOf<Bad['late']>().toExtend<SluiceTypeError<`"late" returns a promise: ${string}`>>();
    expectTypeOf<Bad['by']>().toExtend<SluiceTypeError<`The arguments of "by" must be plain data: ${string}`>>();
    expectTypeOf<Bad['make']>().toExtend<SluiceTypeError<`The result of "make" must be plain data: ${string}`>>();
    expectTypeOf<Bad['unrun']>().toExtend<SluiceTypeError<`"unrun" returns a query that was not run: ${string}`>>();
  });

  test('know what can cross a thread', () => {
    expectTypeOf<CanCross<Json>>().toEqualTypeOf<true>();
    expectTypeOf<CanCross<{ a?: { b: [1, Date | null] } }>>().toEqualTypeOf<true>();
    expectTypeOf<CanCross<Buffer>>().toEqualTypeOf<true>();
    expectTypeOf<CanCross<Record<string, never>>>().toEqualTypeOf<true>();
    expectTypeOf<CanCross<{ a: { b: { c: () => void }[] } }>>().toEqualTypeOf<false>();
    expectTypeOf<CanCross<WeakMap<object, 1>>>().toEqualTypeOf<false>();
  });
});

test('a registry takes repositories only', () => {
  // @ts-expect-error a table is no repository
  defineRepositories(import.meta.url, { notes });
  // @ts-expect-error the url is missing
  defineRepositories({ notes: defineRepository(notes) });
});
