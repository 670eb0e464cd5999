/** What is inferred, without an annotation anywhere. */
import { eq, sql } from 'drizzle-orm';
import { customType, integer, primaryKey, real, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { describe, expectTypeOf, test } from 'vitest';
import {
  type Api,
  type ApiStream,
  type Database,
  defineAsyncRepository,
  defineRepositories,
  defineRepository,
  type Filter,
  type Key,
  type Page,
  type ReadApi,
} from '../../src/index.ts';

const point = customType<{ data: { x: number; y: number } }>({ dataType: () => 'text' });
const accounts = sqliteTable('accounts', {
  id: integer().primaryKey(),
  owner: text().notNull(),
  email: text(),
  cents: integer().notNull().default(0),
  kind: text({ enum: ['cash', 'bank'] }).notNull(),
  details: text({ mode: 'json' }).$type<{ tags: string[] }>(),
  closed: integer({ mode: 'boolean' }).notNull().default(false),
  opened: integer({ mode: 'timestamp_ms' })
    .notNull()
    .$defaultFn(() => new Date()),
  place: point(),
  size: integer().generatedAlwaysAs(sql`length(owner)`),
  version: integer().notNull().default(1),
});
const edges = sqliteTable('edges', { a: integer().notNull(), b: text().notNull(), weight: real() }, (table) => [
  primaryKey({ columns: [table.a, table.b] }),
]);
const lines = sqliteTable('lines', { line: text() });
const slugs = sqliteTable('slugs', { slug: text().primaryKey(), hits: integer() });
type Account = typeof accounts.$inferSelect;

const accountRepository = defineRepository(accounts, {
  version: 'version',
  reads: (db) => {
    const byOwner = db
      .select()
      .from(accounts)
      .where(eq(accounts.owner, sql.placeholder('owner')))
      .prepare();
    return {
      byOwner: (owner: string) => byOwner.all({ owner }),
      total: () => byOwner.all({ owner: '' }).length,
      maybe: (id: number, verbose = false) => (verbose ? { id } : undefined),
      nothing: () => undefined,
      *owners(prefix: string, limit = 10) {
        for (const { owner } of byOwner.all({ owner: prefix }).slice(0, limit)) yield owner;
      },
      *rows(): Generator<Account, number> {
        for (const row of byOwner.all({ owner: '' })) yield row;
        return 1;
      },
      tagged: (tags: readonly string[], options: { since?: Date; bytes?: Uint8Array } = {}) =>
        new Map(tags.map((tag) => [tag, options.since])),
    };
  },
  writes: (db, { afterCommit }) => ({
    credit: (id: number, cents: number) => {
      const changed = db.update(accounts).set({ cents }).where(eq(accounts.id, id)).run();
      expectTypeOf(changed.changes).toEqualTypeOf<number>();
      afterCommit(() => undefined);
    },
    never: (): never => {
      throw new Error('always');
    },
  }),
});
const edgeRepository = defineRepository(edges, {
  key: ['a', 'b'],
  reads: (_db, { use }) => ({
    owners: (owner: string) => {
      const used = use(accountRepository);
      expectTypeOf(used.byOwner).toEqualTypeOf<(owner: string) => Account[]>();
      expectTypeOf(used.get).toEqualTypeOf<(key: number) => Account | undefined>();
      expectTypeOf(used).not.toHaveProperty('credit');
      expectTypeOf(used).not.toHaveProperty('insert');
      expectTypeOf(used.owners('a')).toEqualTypeOf<Generator<string, void, unknown>>();
      expectTypeOf(used.stream({ owner }, { batch: 5, orderBy: 'owner' })).toEqualTypeOf<Iterable<Account>>();
      // @ts-expect-error a handler's call sees one state as it is
      used.stream({}, { consistent: true });
      return used.byOwner(owner).map(({ id }) => id);
    },
  }),
  writes: (_db, { use }) => ({
    pay: (id: number) => {
      const used = use(accountRepository);
      expectTypeOf(used.credit).toEqualTypeOf<(id: number, cents: number) => void>();
      expectTypeOf(used.byOwner('ann')).toEqualTypeOf<Account[]>();
      expectTypeOf(used.insert({ owner: 'ann', kind: 'cash' })).toEqualTypeOf<Account>();
      used.credit(id, 5);
      return use(lineRepository).count();
    },
  }),
});
const lineRepository = defineRepository(lines);
const awaitedRepository = defineAsyncRepository(lines, {
  reads: (_db, { use }) => ({
    async followed() {
      expectTypeOf(use(accountRepository).owners('a')).toEqualTypeOf<Generator<string, void, unknown>>();
      expectTypeOf(use(accountRepository).stream()).toEqualTypeOf<Iterable<Account>>();
      expectTypeOf(use(plainAsync).stream()).toEqualTypeOf<AsyncIterable<{ line: string | null }>>();
      // @ts-expect-error a handler's call sees one state as it is
      use(plainAsync).stream({}, { consistent: true });
      const texts: (string | null)[] = [];
      for await (const { line } of use(plainAsync).stream({ line: 'a' })) texts.push(line);
      return texts;
    },
  }),
});
const plainAsync = defineAsyncRepository(lines);
const slugRepository = defineRepository(slugs, {
  reads: () => ({ count: (word: string) => word.length, find: () => 'found' as const }),
  writes: () => ({ get: (slug: string, hits: number) => ({ slug, hits }), remove: () => 'gone' as const }),
});

export const registry = defineRepositories(import.meta.url, {
  accounts: accountRepository,
  edges: edgeRepository,
  lines: lineRepository,
  slugs: slugRepository,
  awaited: awaitedRepository,
});
declare const db: Database<typeof registry>;
const { api } = db;

describe('the api', () => {
  test('has every handler as a function of the same arguments and a promise', () => {
    expectTypeOf(api.accounts.byOwner).toEqualTypeOf<(owner: string) => Promise<Account[]>>();
    expectTypeOf(api.accounts.total).toEqualTypeOf<() => Promise<number>>();
    expectTypeOf(api.accounts.credit).toEqualTypeOf<(id: number, cents: number) => Promise<void>>();
    expectTypeOf(api.accounts.maybe).parameters.toEqualTypeOf<[id: number, verbose?: boolean | undefined]>();
    expectTypeOf(api.accounts.maybe(1)).resolves.toEqualTypeOf<{ id: number } | undefined>();
    expectTypeOf(api.accounts.nothing()).resolves.toEqualTypeOf<undefined>();
    expectTypeOf(api.accounts.never()).resolves.toEqualTypeOf<never>();
    expectTypeOf(api.accounts.tagged(['a'])).resolves.toEqualTypeOf<Map<string, Date | undefined>>();
    expectTypeOf(api.edges.owners('ann')).resolves.toEqualTypeOf<number[]>();
    expectTypeOf(api.edges.pay(1)).resolves.toEqualTypeOf<number>();
  });

  test('has the table’s methods in every repository', () => {
    expectTypeOf(api.accounts.find()).resolves.toEqualTypeOf<Account[]>();
    expectTypeOf(api.accounts.first({ owner: 'ann' })).resolves.toEqualTypeOf<Account | undefined>();
    expectTypeOf(api.accounts.page()).resolves.toEqualTypeOf<Page<typeof accounts>>();
    expectTypeOf(api.accounts.page()).resolves.toHaveProperty('next').toEqualTypeOf<string | undefined>();
    expectTypeOf(api.accounts.count()).resolves.toEqualTypeOf<number>();
    expectTypeOf(api.accounts.exists()).resolves.toEqualTypeOf<boolean>();
    expectTypeOf(api.accounts.insert({ owner: 'ann', kind: 'bank' })).resolves.toEqualTypeOf<Account>();
    expectTypeOf(api.accounts.insertMany([])).resolves.toEqualTypeOf<number>();
    expectTypeOf(api.accounts.update(1, { version: 1 })).resolves.toEqualTypeOf<Account | undefined>();
    expectTypeOf(api.accounts.updateMany({ id: 1 }, { cents: 0 })).resolves.toEqualTypeOf<number>();
    expectTypeOf(api.accounts.upsert({ owner: 'ann', kind: 'bank' })).resolves.toEqualTypeOf<Account>();
    expectTypeOf(api.accounts.remove(1)).resolves.toEqualTypeOf<boolean>();
    expectTypeOf(api.accounts.removeMany({ id: 1 })).resolves.toEqualTypeOf<number>();
    expectTypeOf(api.lines.find()).resolves.toEqualTypeOf<{ line: string | null }[]>();
  });

  test('has a stream for every handler that yields, and for every table', () => {
    expectTypeOf(api.accounts.owners).toEqualTypeOf<(prefix: string, limit?: number) => AsyncIterable<string>>();
    expectTypeOf(api.accounts.rows()).toEqualTypeOf<AsyncIterable<Account>>();
    expectTypeOf(api.accounts.stream).toEqualTypeOf<ApiStream<typeof accounts>>();
    expectTypeOf(api.accounts.stream()).toEqualTypeOf<AsyncIterable<Account>>();
    expectTypeOf(api.lines.stream()).toEqualTypeOf<AsyncIterable<{ line: string | null }>>();
    expectTypeOf(api.awaited.stream()).toEqualTypeOf<AsyncIterable<{ line: string | null }>>();
    expectTypeOf(api.awaited.followed()).resolves.toEqualTypeOf<(string | null)[]>();
    void api.accounts.stream({ owner: 'ann' }, { batch: 10, orderBy: { cents: 'desc' }, consistent: true });
    // @ts-expect-error no such column
    void api.accounts.stream({ name: 'ann' });
    // @ts-expect-error no such column
    void api.accounts.stream({}, { orderBy: 'name' });
    // @ts-expect-error no such option
    void api.accounts.stream({}, { limit: 10 });
    // @ts-expect-error a handler's stream takes the handler's arguments, and no options beside them
    void api.accounts.owners('a', 1, { consistent: true });
  });

  test('has a repository’s own method in place of the table’s, of either side', () => {
    expectTypeOf(api.slugs.count).toEqualTypeOf<(word: string) => Promise<number>>();
    expectTypeOf(api.slugs.find).toEqualTypeOf<() => Promise<'found'>>();
    expectTypeOf(api.slugs.get).toEqualTypeOf<
      (slug: string, hits: number) => Promise<{ slug: string; hits: number }>
    >();
    expectTypeOf(api.slugs.remove).toEqualTypeOf<() => Promise<'gone'>>();
  });

  test('has no repository and no method that nobody defined, and none can be replaced', () => {
    expectTypeOf(api).not.toHaveProperty('transfers');
    expectTypeOf(api.accounts).not.toHaveProperty('byName');
    // @ts-expect-error the api is read-only
    api.accounts.count = () => Promise.resolve(1);
  });

  test('refuses wrong arguments', () => {
    // @ts-expect-error an owner is a string
    void api.accounts.byOwner(1);
    // @ts-expect-error one argument is missing
    void api.accounts.credit(1);
    // @ts-expect-error one argument is too many
    void api.accounts.total(1);
    // @ts-expect-error a row needs an owner
    void api.accounts.insert({ kind: 'cash' });
    // @ts-expect-error "gold" is no kind
    void api.accounts.insert({ owner: 'ann', kind: 'gold' });
    // @ts-expect-error no such column
    void api.accounts.insert({ owner: 'ann', kind: 'cash', nick: 'a' });
    // @ts-expect-error the database generates it
    void api.accounts.insert({ owner: 'ann', kind: 'cash', size: 3 });
    // @ts-expect-error the database generates it
    void api.accounts.updateMany({ id: 1 }, { size: 3 });
    // @ts-expect-error a row that is not null cannot become so
    void api.accounts.updateMany({ id: 1 }, { owner: null });
    // @ts-expect-error a filter is asked for
    void api.accounts.removeMany();
  });
});

describe('keys', () => {
  test('are the primary key’s value', () => {
    expectTypeOf(api.accounts.get).toEqualTypeOf<(key: number) => Promise<Account | undefined>>();
    expectTypeOf(api.accounts.remove).toEqualTypeOf<(key: number) => Promise<boolean>>();
    expectTypeOf<Key<typeof slugs, never>>().toEqualTypeOf<string>();
    // @ts-expect-error the key is a number
    void api.accounts.get('1');
  });

  test('are an object of the columns that "key" names', () => {
    expectTypeOf(api.edges.get).parameter(0).toEqualTypeOf<{ a: number; b: string }>();
    expectTypeOf(api.edges.remove).parameter(0).toEqualTypeOf<{ a: number; b: string }>();
    // @ts-expect-error half a key
    void api.edges.get({ a: 1 });
    // @ts-expect-error more than the key
    void api.edges.get({ a: 1, b: 'x', weight: 2 });
    // @ts-expect-error no object, refused
    void api.edges.get(1);
  });

  test('must be columns of the table', () => {
    // @ts-expect-error no such column
    defineRepository(edges, { key: ['a', 'c'] });
    // @ts-expect-error no such column
    defineRepository(accounts, { version: 'revision' });
  });
});

describe('a version column', () => {
  test('is part of every patch of update, and of no other', () => {
    expectTypeOf(api.accounts.update).parameter(1).toMatchObjectType<{ version: number }>();
    void api.accounts.update(1, { version: 3, cents: 5 });
    void api.accounts.updateMany({ id: 1 }, { cents: 5 });
    void api.edges.update({ a: 1, b: 'x' }, { weight: 5 });
    // @ts-expect-error the version that was read is missing
    void api.accounts.update(1, { cents: 5 });
    // @ts-expect-error a version is a number
    void api.accounts.update(1, { cents: 5, version: undefined });
  });
});

describe('filters and orders', () => {
  test('are typed from the table', () => {
    void api.accounts.find({
      id: { in: [1, 2] },
      owner: 'ann',
      email: null,
      cents: { gte: 10, lt: 20 },
      kind: { ne: 'bank' },
      closed: false,
      opened: { gt: new Date() },
      details: { eq: { tags: ['a'] } },
      place: { isNull: true },
      and: [{ or: [{ owner: { like: 'a%' } }, { not: { email: { notIn: ['x'] } } }] }],
    });
    void api.accounts.find({}, { orderBy: 'owner' });
    void api.accounts.find({}, { orderBy: { owner: 'desc', id: 'asc' }, limit: 1, offset: 2 });
    void api.accounts.page({
      orderBy: ['owner', { id: 'desc' }],
      after: undefined,
      limit: 3,
      filter: { owner: 'ann' },
    });
    expectTypeOf<{ owner: string }>().toExtend<Filter<Account>>();
  });

  test('refuse what no column has', () => {
    // @ts-expect-error no such column
    void api.accounts.find({ name: 'ann' });
    // @ts-expect-error an owner is a string
    void api.accounts.find({ owner: 1 });
    // @ts-expect-error a kind is cash or bank
    void api.accounts.find({ kind: 'gold' });
    // @ts-expect-error no such operator
    void api.accounts.find({ cents: { above: 1 } });
    // @ts-expect-error nothing is greater than null
    void api.accounts.find({ email: { gt: null } });
    // @ts-expect-error null is in no list
    void api.accounts.find({ email: { in: [null] } });
    // @ts-expect-error a column may be left out, but not be undefined
    void api.accounts.find({ owner: undefined });
    // @ts-expect-error an object is a set of operators: a JSON value is written { eq: … }
    void api.accounts.find({ details: { tags: [] } });
    // @ts-expect-error "or" takes an array
    void api.accounts.find({ or: { owner: 'ann' } });
    // @ts-expect-error nested filters are typed as well
    void api.accounts.find({ not: { and: [{ name: 'ann' }] } });
    // @ts-expect-error Drizzle's expressions cannot cross a thread
    void api.accounts.find(eq(accounts.id, 1));
    // @ts-expect-error no such column
    void api.accounts.find({}, { orderBy: 'name' });
    // @ts-expect-error no such direction
    void api.accounts.find({}, { orderBy: { owner: 'down' } });
    // @ts-expect-error no such option
    void api.accounts.find({}, { order: 'owner' });
    // @ts-expect-error first has no limit
    void api.accounts.first({}, { limit: 1 });
  });
});

describe('transaction and snapshot', () => {
  test('give their callback’s result, and an api like the database’s', () => {
    expectTypeOf(db.transaction((tx) => tx.accounts.total())).resolves.toEqualTypeOf<number>();
    expectTypeOf(db.transaction(() => 'done' as const)).resolves.toEqualTypeOf<'done'>();
    expectTypeOf(db.snapshot((view) => view.accounts.byOwner('ann'))).resolves.toEqualTypeOf<Account[]>();
    void db.transaction((tx) => {
      expectTypeOf(tx).toEqualTypeOf<Api<typeof registry>>();
      return tx.accounts.credit(1, 2);
    });
  });

  test('a snapshot’s api has reads only, whatever their names', () => {
    void db.snapshot((view) => {
      expectTypeOf(view).toEqualTypeOf<ReadApi<typeof registry>>();
      expectTypeOf(view.accounts.get).toEqualTypeOf<(key: number) => Promise<Account | undefined>>();
      expectTypeOf(view.slugs.count).toEqualTypeOf<(word: string) => Promise<number>>();
      expectTypeOf(view.accounts.owners('a')).toEqualTypeOf<AsyncIterable<string>>();
      expectTypeOf(view.accounts.stream()).toEqualTypeOf<AsyncIterable<Account>>();
      for (const write of ['insert', 'insertMany', 'update', 'updateMany', 'upsert', 'remove', 'removeMany'] as const) {
        expectTypeOf(view.accounts).not.toHaveProperty(write);
      }
      expectTypeOf(view.accounts).not.toHaveProperty('credit');
      // Its own write replaced the table's read.
      expectTypeOf(view.slugs).not.toHaveProperty('get');
    });
  });
});

describe('repositories that are made inside defineRepositories', () => {
  const inline = defineRepositories(import.meta.url, {
    lines: defineRepository(lines),
    later: defineAsyncRepository(lines),
    own: defineRepository(slugs, { reads: () => ({ twice: (of: number) => of * 2 }) }),
  });

  test('have the methods of their tables, and their own', () => {
    expectTypeOf<Api<typeof inline>['lines']['count']>().returns.toEqualTypeOf<Promise<number>>();
    expectTypeOf<Api<typeof inline>['later']['count']>().returns.toEqualTypeOf<Promise<number>>();
    expectTypeOf<Api<typeof inline>['own']['twice']>().returns.toEqualTypeOf<Promise<number>>();
    expectTypeOf<Api<typeof inline>['own']>().not.toHaveProperty('nope');
    expectTypeOf(inline.url).toBeString();
  });
});
