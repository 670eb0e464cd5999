import { sql } from 'drizzle-orm';
import { integer, primaryKey, sqliteTable, text, unique } from 'drizzle-orm/sqlite-core';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  ConstraintError,
  type Database,
  defineRepositories,
  defineRepository,
  HandlerError,
  open,
  OptionError,
  ReadOnlyError,
  type Registry,
  StaleRowError,
  UnknownMethodError,
} from '../../src/index.ts';
import { openTables, untyped } from '../support/open-tables.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection } from '../support/waiting.ts';

const users = sqliteTable(
  'users',
  {
    id: integer().primaryKey({ autoIncrement: true }),
    email: text('email_address').unique(),
    org: text(),
    nick: text(),
    name: text().notNull().default('nobody'),
    visits: integer().notNull().default(0),
  },
  (table) => [unique().on(table.org, table.nick)],
);
const docs = sqliteTable('docs', {
  id: integer().primaryKey(),
  title: text().notNull().default('untitled'),
  revision: integer('rev').notNull().default(1),
  slug: text().unique(),
});
const votes = sqliteTable(
  'votes',
  { poll: integer(), voter: text(), choice: text(), version: integer().notNull().default(1) },
  (table) => [primaryKey({ columns: [table.poll, table.voter] })],
);
const flags = sqliteTable('flags', { name: text().primaryKey() });
const DDL = `
  CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT, email_address TEXT UNIQUE, org TEXT, nick TEXT, name TEXT NOT NULL DEFAULT 'nobody',
    visits INTEGER NOT NULL DEFAULT 0, UNIQUE (org, nick)
  );
  CREATE UNIQUE INDEX users_name_of_frequent ON users (name) WHERE visits > 100;
  CREATE TABLE docs (
    id INTEGER PRIMARY KEY, title TEXT NOT NULL DEFAULT 'untitled', rev INTEGER NOT NULL DEFAULT 1, slug TEXT UNIQUE
  );
  CREATE TRIGGER docs_frozen BEFORE UPDATE ON docs WHEN old.title = 'frozen' BEGIN SELECT RAISE(IGNORE); END;
  CREATE TRIGGER docs_ghost BEFORE INSERT ON docs WHEN new.title = 'ghost' BEGIN SELECT RAISE(IGNORE); END;
  CREATE TABLE votes (
    poll INTEGER NOT NULL, voter TEXT NOT NULL, choice TEXT, version INTEGER NOT NULL DEFAULT 1, PRIMARY KEY (poll, voter)
  );
  CREATE TABLE flags (name TEXT PRIMARY KEY NOT NULL);
`;
const repositories = {
  users: defineRepository(users),
  docs: defineRepository(docs, { version: 'revision' }),
  votes: defineRepository(votes, { key: ['poll', 'voter'], version: 'version' }),
  flags: defineRepository(flags),
};

const dir = useTempDir();
let db: Database<Registry<typeof repositories>>;
beforeEach(async () => {
  db = await openTables(dir, DDL, repositories);
});

/** The message of the OptionError that a call of a table's method rejects with. */
async function refused(repository: object, method: string, ...args: unknown[]): Promise<string> {
  return (await rejection(Promise.resolve(untyped(repository)[method]?.(...args)), OptionError)).message;
}

describe('a call is refused for', () => {
  test.each([
    ['find', [{}, { order: 'id' }], /users\.find: unknown option "order"; use orderBy, limit, offset/],
    ['find', [{}, null], /options are a plain object, not null/],
    ['find', [{}, 'id'], /options are a plain object, not "id"/],
    ['find', [{}, { limit: -1 }], /limit is -1; give a whole number from 0/],
    ['find', [{}, { limit: '1' }], /limit is "1"/],
    ['find', [{}, { offset: 0.5 }], /offset is 0\.5/],
    ['find', [{}, { limit: NaN }], /limit is NaN/],
    ['find', [{}, { orderBy: 'nam' }], /has no column "nam"; did you mean "name"\?/],
    ['find', [{}, { orderBy: 'email_address' }], /has no column "email_address"/],
    ['find', [{}, { orderBy: '1; DROP TABLE users' }], /has no column/],
    ['first', [{}, { limit: 1 }], /users\.first: unknown option "limit"; use orderBy/],
    ['insert', [], /users\.insert: a row is a plain object, not undefined/],
    ['insert', [['a']], /a row is a plain object, not an array/],
    ['insert', [new Map()], /a row is a plain object, not a Map/],
    ['insert', [Object.create({ name: 'a' })], /a row is a plain object, not an object/],
    ['insert', [{ nmae: 'a' }], /has no column "nmae"; did you mean "name"\?/],
    ['insert', [{ constructor: 'a' }], /has no column "constructor"/],
    ['insert', [JSON.parse('{"__proto__":{"name":"a"}}')], /has no column "__proto__"/],
    ['insert', [{ 'name") VALUES (1); --': 'a' }], /has no column/],
    ['update', [1, null], /users\.update: a patch is a plain object, not null/],
    ['update', [1, { toString: 'a' }], /has no column "toString"/],
    ['update', [1, JSON.parse('{"__proto__":{"name":"a"}}')], /has no column "__proto__"/],
    ['updateMany', [{ id: 1 }, {}], /users\.updateMany: the patch names no column/],
    ['updateMany', [{ id: 1 }, { name: undefined }], /the patch names no column/],
    ['updateMany', [{ id: 1 }], /a patch is a plain object, not undefined/],
    ['upsert', [{ name: 'a' }, { on: 'email' }], /users\.upsert: unknown option "on"; use target, set/],
    ['upsert', [{ name: 'a' }, { target: 'mail' }], /"target": table "users" has no column "mail"/],
    ['upsert', [{ name: 'a' }, { target: [] }], /"target" names no column/],
    ['upsert', [{ name: 'a' }, { target: ['email', undefined] }], /has no column undefined/],
    ['upsert', [{ name: 'a' }, { target: new Array<string>(1) }], /has no column undefined/],
    ['upsert', [{ name: 'a' }, { target: 'org' }], /"target": no primary key, unique constraint or unique index/],
    ['upsert', [{ name: 'a' }, { target: 'name' }], /or unique index without a WHERE covers just \(name\)/],
    ['upsert', [{ name: 'a' }, { set: null }], /upsert: set: a patch is a plain object, not null/],
    ['upsert', [{ name: 'a' }, { set: { nam: 'b' } }], /upsert: set: table "users" has no column "nam"/],
  ] as const)('%s%j', async (method, args, message) => {
    await db.api.users.insert({ id: 1, name: 'before' });
    expect(await refused(db.api.users, method, ...args)).toMatch(message);
    expect(await db.api.users.find()).toMatchObject([{ id: 1, name: 'before' }]);
  });

  test('a write that the table refuses, and nothing is kept', async () => {
    await db.api.users.insert({ id: 1, email: 'a@x' });
    const unique = await rejection(db.api.users.insert({ email: 'a@x' }), ConstraintError);
    expect(unique).toMatchObject({
      kind: 'unique',
      table: 'users',
      columns: ['email_address'],
      outcome: 'rolled-back',
    });
    expect(await rejection(db.api.users.insert({ id: 1 }), ConstraintError)).toMatchObject({ kind: 'primary-key' });
    const { insert } = untyped(db.api.users);
    const notNull = await rejection(Promise.resolve(insert?.({ name: null })), ConstraintError);
    expect(notNull).toMatchObject({ kind: 'not-null', columns: ['name'] });
    expect(await db.api.users.count()).toBe(1);
  });

  test('a write inside a snapshot', async () => {
    await db.snapshot(async (api) => {
      await rejection(Promise.resolve(untyped(api.users).insert?.({ name: 'a' })), ReadOnlyError);
    });
    expect(await db.api.users.count()).toBe(0);
  });
});

describe('find, first, count and exists', () => {
  beforeEach(() => db.api.users.insertMany(['b', 'a', 'c', 'a'].map((name, visits) => ({ name, visits }))));

  test('answer for all rows without a filter', async () => {
    expect(await db.api.users.find()).toHaveLength(4);
    expect(await db.api.users.find(undefined, undefined)).toHaveLength(4);
    expect(await db.api.users.first()).toBeDefined();
    expect(await db.api.users.count()).toBe(4);
    expect(await db.api.users.exists()).toBe(true);
  });

  test('answer with nothing when nothing matches', async () => {
    expect(await db.api.users.find({ name: 'z' })).toEqual([]);
    expect(await db.api.users.first({ name: 'z' })).toBeUndefined();
    expect(await db.api.users.count({ name: 'z' })).toBe(0);
    expect(await db.api.users.exists({ name: 'z' })).toBe(false);
    expect(await db.api.users.get(99)).toBeUndefined();
  });

  test('order, limit and skip', async () => {
    const visits = async (...args: Parameters<typeof db.api.users.find>): Promise<number[]> =>
      (await db.api.users.find(...args)).map((row) => row.visits);
    expect(await visits({}, { orderBy: ['name', { visits: 'desc' }] })).toEqual([3, 1, 0, 2]);
    expect(await visits({}, { orderBy: { name: 'desc', visits: 'asc' } })).toEqual([2, 0, 1, 3]);
    expect(await visits({}, { orderBy: 'visits', limit: 2 })).toEqual([0, 1]);
    expect(await visits({}, { orderBy: 'visits', limit: 2, offset: 3 })).toEqual([3]);
    expect(await visits({}, { orderBy: 'visits', offset: 2 })).toEqual([2, 3]);
    expect(await visits({}, { orderBy: [], limit: 0 })).toEqual([]);
    expect((await db.api.users.first({ name: 'a' }, { orderBy: { visits: 'desc' } }))?.visits).toBe(3);
  });
});

describe('insert', () => {
  test('gives the row as stored, and never an id again with AUTOINCREMENT', async () => {
    expect(await db.api.users.insert({ email: 'a@x' })).toEqual({
      id: 1,
      email: 'a@x',
      org: null,
      nick: null,
      name: 'nobody',
      visits: 0,
    });
    expect(await db.api.users.remove(1)).toBe(true);
    expect((await db.api.users.insert({})).id).toBe(2);
  });

  test('gives each caller its own row object', async () => {
    const row = await db.api.users.insert({ name: 'a' });
    row.name = 'changed by the caller';
    expect((await db.api.users.get(row.id))?.name).toBe('a');
  });

  test('says so when a trigger keeps the row out without an error', async () => {
    const error = await rejection(db.api.docs.insert({ title: 'ghost' }), ConstraintError);
    expect(error).toMatchObject({ kind: 'check', table: 'docs' });
    expect(error.message).toMatch(/a trigger of "docs" kept the row out with RAISE\(IGNORE\)/);
    await rejection(db.api.docs.upsert({ title: 'ghost' }), ConstraintError);
  });
});

describe('update and remove', () => {
  test('change the row with the key, and only that one', async () => {
    await db.api.users.insertMany([{ name: 'a' }, { name: 'b' }]);
    expect(await db.api.users.update(1, { name: 'x', org: null, email: 'x@x' })).toMatchObject({ id: 1, name: 'x' });
    expect(await db.api.users.update(3, { name: 'y' })).toBeUndefined();
    expect(await db.api.users.remove(3)).toBe(false);
    expect(await db.api.users.remove(1)).toBe(true);
    expect(await db.api.users.find()).toMatchObject([{ id: 2, name: 'b' }]);
  });

  test('change nothing for an empty patch, and give the row or its absence', async () => {
    const row = await db.api.users.insert({ name: 'a' });
    expect(await db.api.users.update(1, {})).toEqual(row);
    expect(await db.api.users.update(1, { name: undefined })).toEqual(row);
    expect(await db.api.users.update(2, {})).toBeUndefined();
  });

  test('of many rows give their number', async () => {
    await db.api.users.insertMany([{ name: 'a' }, { name: 'b' }, { name: 'c' }]);
    expect(await db.api.users.updateMany({ name: { gte: 'b' } }, { visits: 7 })).toBe(2);
    expect(await db.api.users.updateMany({ name: 'z' }, { visits: 7 })).toBe(0);
    expect(await db.api.users.removeMany({ visits: 7 })).toBe(2);
    expect(await db.api.users.updateMany({ and: [] }, { visits: 1 })).toBe(1);
    expect(await db.api.users.removeMany({ and: [] })).toBe(1);
    expect(await db.api.users.removeMany({ and: [] })).toBe(0);
  });
});

describe('upsert', () => {
  test('inserts, and changes what was given when the primary key is there', async () => {
    expect(await db.api.users.upsert({ id: 5, name: 'a', visits: 3 })).toMatchObject({ id: 5, name: 'a', visits: 3 });
    expect(await db.api.users.upsert({ id: 5, name: 'b' })).toMatchObject({ id: 5, name: 'b', visits: 3 });
    expect(await db.api.users.upsert({ name: 'c' })).toMatchObject({ id: 6, name: 'c' });
    expect(await db.api.users.count()).toBe(2);
  });

  test('finds the row by another unique column, or by several', async () => {
    await db.api.users.insertMany([{ email: 'a@x' }, { org: 'o', nick: 'n' }]);
    expect(await db.api.users.upsert({ email: 'a@x', name: 'a' }, { target: 'email' })).toMatchObject({
      id: 1,
      name: 'a',
    });
    const target = ['nick', 'org'] as const;
    expect(await db.api.users.upsert({ org: 'o', nick: 'n', name: 'b' }, { target })).toMatchObject({
      id: 2,
      name: 'b',
    });
    expect(await db.api.users.upsert({ org: 'o', nick: 'm', name: 'c' }, { target })).toMatchObject({ name: 'c' });
    expect(await db.api.users.upsert({ email: 'b@x' }, { target: ['email'] })).toMatchObject({ email: 'b@x' });
    expect(await db.api.users.count()).toBe(4);
  });

  test('sets what "set" says and nothing else, for the row that is there', async () => {
    const set = { visits: 9, nick: null };
    const row = { id: 1, name: 'a', nick: 'x' };
    expect(await db.api.users.upsert(row, { set })).toMatchObject({ name: 'a', nick: 'x', visits: 0 });
    expect(await db.api.users.upsert({ ...row, name: 'b' }, { set })).toMatchObject({
      name: 'a',
      nick: null,
      visits: 9,
    });
    expect(await db.api.users.upsert({ id: 1, email: 'e@x' }, { set: { email: 'f@x' } })).toMatchObject({
      email: 'f@x',
    });
  });

  test('gives the row that is there when there is nothing to set', async () => {
    const row = await db.api.users.insert({ email: 'a@x', name: 'a' });
    expect(await db.api.users.upsert({ id: 1 })).toEqual(row);
    expect(await db.api.users.upsert({ email: 'a@x' }, { target: 'email' })).toEqual(row);
    expect(await db.api.users.upsert({ email: 'a@x', name: 'b' }, { target: 'email', set: {} })).toEqual(row);
    expect(await db.api.flags.upsert({ name: 'on' })).toEqual({ name: 'on' });
    expect(await db.api.flags.upsert({ name: 'on' })).toEqual({ name: 'on' });
    expect(await db.api.flags.count()).toBe(1);
  });

  test('of an empty row inserts one of defaults', async () => {
    expect(await db.api.users.upsert({})).toMatchObject({ id: 1, name: 'nobody' });
    expect(await db.api.users.upsert({}, { set: { name: 'x' } })).toMatchObject({ id: 2, name: 'nobody' });
  });

  test('fails as an insert does where another constraint is in the way', async () => {
    await db.api.users.insertMany([{ email: 'a@x' }, { email: 'b@x' }]);
    const error = await rejection(db.api.users.upsert({ id: 1, email: 'b@x' }), ConstraintError);
    expect(error).toMatchObject({ kind: 'unique', columns: ['email_address'] });
  });
});

describe('a table with a version column', () => {
  beforeEach(async () => {
    await db.api.docs.insert({ id: 1, title: 'a' });
    await db.api.votes.insert({ poll: 1, voter: 'v', choice: 'yes' });
  });

  test('refuses an update that does not name the version that was read', async () => {
    for (const patch of [{}, { title: 'b' }, { title: 'b', revision: '1' }, { title: 'b', revision: null }]) {
      expect(await refused(db.api.docs, 'update', 1, patch)).toMatch(
        /docs\.update: the patch must name the version that was read: \{ revision: row\.revision, … \}|does not fit/,
      );
    }
    expect(await db.api.docs.get(1)).toMatchObject({ title: 'a', revision: 1 });
  });

  test('refuses an update of a row that somebody else has changed', async () => {
    const row = await db.api.docs.get(1);
    expect(await db.api.docs.update(1, { title: 'b', revision: 1 })).toMatchObject({ title: 'b', revision: 2 });
    const error = await rejection(db.api.docs.update(1, { title: 'c', revision: row?.revision ?? 0 }), StaleRowError);
    expect(error).toMatchObject({
      code: 'SLUICE_STALE_ROW',
      table: 'docs',
      key: 1,
      expected: 1,
      actual: 2,
      outcome: 'rolled-back',
    });
    expect(error.message).toMatch(/docs\.update: the row has version 2, not 1: somebody changed it/);
    expect(await db.api.docs.get(1)).toMatchObject({ title: 'b', revision: 2 });
  });

  test('names a composite key in the error', async () => {
    const key = { poll: 1, voter: 'v' };
    const error = await rejection(db.api.votes.update(key, { choice: 'no', version: 7 }), StaleRowError);
    expect(error).toMatchObject({ table: 'votes', key, expected: 7, actual: 1 });
  });

  test('lets one of two concurrent updates win', async () => {
    const results = await Promise.allSettled([
      db.api.docs.update(1, { title: 'left', revision: 1 }),
      db.api.docs.update(1, { title: 'right', revision: 1 }),
    ]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect(await db.api.docs.get(1)).toMatchObject({ title: 'left', revision: 2 });
  });

  test('gives undefined for a row that is not there, and touches one whose version is all that was named', async () => {
    expect(await db.api.docs.update(9, { title: 'x', revision: 1 })).toBeUndefined();
    expect(await db.api.docs.update(1, { revision: 1 })).toMatchObject({ title: 'a', revision: 2 });
  });

  test('raises the version in updateMany and upsert, whatever the patch says of it', async () => {
    expect(await db.api.docs.updateMany({ id: 1 }, { title: 'b', revision: 70 })).toBe(1);
    expect(await db.api.docs.get(1)).toMatchObject({ title: 'b', revision: 2 });
    expect(await db.api.docs.upsert({ id: 1, title: 'c', revision: 70 })).toMatchObject({ title: 'c', revision: 3 });
    expect(await db.api.docs.upsert({ id: 1 }, { set: { title: 'd', revision: 70 } })).toMatchObject({ revision: 4 });
    expect(await db.api.docs.upsert({ id: 2, revision: 70 })).toMatchObject({ revision: 70 });
  });

  test('does not raise it where nothing is set', async () => {
    expect(await db.api.docs.upsert({ id: 1 })).toMatchObject({ revision: 1 });
    expect(await db.api.docs.upsert({ id: 1, title: 'x' }, { set: {} })).toMatchObject({ title: 'a', revision: 1 });
  });

  test('does not call a row stale that a trigger holds fast', async () => {
    await db.api.docs.insert({ id: 3, title: 'frozen' });
    const error = await rejection(db.api.docs.update(3, { title: 'x', revision: 1 }), ConstraintError);
    expect(error.message).toMatch(/RAISE\(IGNORE\)/);
  });
});

describe('a repository’s own method', () => {
  const openOwn = (repository: ReturnType<typeof defineRepository>) => {
    const registry = defineRepositories(import.meta.url, { users: repository });
    return open({ file: dir.file('tables.db'), repositories: registry });
  };

  test('is refused when reads and writes both make it', async () => {
    const twice = defineRepository(users, {
      reads: () => ({ count: () => 1 }),
      writes: () => ({ count: () => 2 }),
    });
    const error = await rejection(openOwn(twice as never), HandlerError);
    expect(error.message).toBe('users.count is made by reads and by writes; keep one of them');
  });

  test('of the reads replaces the table’s read, and is what others use', async () => {
    const own = defineRepository(users, {
      reads: () => ({ get: (id: number) => `user ${id}` }),
      writes: () => ({ visit: () => 'visited' }),
    });
    const other = defineRepository(docs, { reads: (_, { use }) => ({ user: (id: number) => use(own).get(id) }) });
    await using opened = await openTables(dir, '', { own, other });
    expect(await opened.api.own.get(1)).toBe('user 1');
    expect(await opened.api.other.user(2)).toBe('user 2');
    expect(await opened.api.own.find()).toEqual([]);
  });

  test('of the writes replaces the table’s write, and may call the table itself', async () => {
    const own = defineRepository(users, {
      writes: (handle) => ({
        insert: (name: string) => handle.insert(users).values({ name }).returning().all()[0]?.name.toUpperCase(),
      }),
    });
    await using opened = await openTables(dir, '', { own });
    expect(await opened.api.own.insert('ann')).toBe('ANN');
    expect(await opened.api.own.count()).toBe(1);
  });

  test('of the writes replaces a read, and is a write from then on', async () => {
    const own = defineRepository(users, {
      writes: (handle) => ({
        get: (id: number) =>
          handle
            .update(users)
            .set({ visits: sql`${users.visits} + 1` })
            .where(sql`${users.id} = ${id}`)
            .returning()
            .all()[0]?.visits,
      }),
    });
    await using opened = await openTables(dir, '', { own });
    await opened.api.own.insert({ id: 1 });
    expect(await opened.api.own.get(1)).toBe(1);
    expect(await opened.api.own.get(1)).toBe(2);
    await opened.snapshot(async (api) => {
      await rejection(Promise.resolve(untyped(api.own).get?.(1)), ReadOnlyError);
    });
  });

  test('of the reads replaces a write, and cannot write', async () => {
    const own = defineRepository(users, {
      reads: (handle) => ({
        insert: (name: string) =>
          handle.all<{ id: number }>(sql`INSERT INTO users (name) VALUES (${name}) RETURNING id`),
        removeMany: () => 'nothing is removed here',
      }),
    });
    await using opened = await openTables(dir, '', { own });
    await rejection(opened.api.own.insert('ann'), ReadOnlyError);
    expect(await opened.api.own.removeMany()).toBe('nothing is removed here');
    await opened.snapshot(async (api) => {
      expect(await api.own.removeMany()).toBe('nothing is removed here');
    });
    expect(await opened.api.own.count()).toBe(0);
  });

  test('must come in an object literal: methods of a class would not be found', async () => {
    class Reads {
      named(): string {
        return 'x';
      }
    }
    const own = defineRepository(users, { reads: () => new Reads() as never });
    const error = await rejection(openOwn(own as never), HandlerError);
    expect(error.message).toMatch(/users\.reads: the factory must return an object of functions/);
  });

  test('that nobody defined is an error that names what there is', async () => {
    const api = untyped(db.api.users);
    const error = await rejection(Promise.resolve(api.finds?.()), UnknownMethodError);
    expect(error.message).toMatch(/users\.finds: there is no such method; did you mean "find"\?/);
    expect(Object.hasOwn(api, 'constructor')).toBe(false);
  });
});
