import Sqlite from 'better-sqlite3';
import { sql } from 'drizzle-orm';
import { blob, customType, integer, numeric, primaryKey, real, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { beforeEach, describe, expect, test } from 'vitest';
import { type Database, defineRepository, OptionError, type Registry } from '../../src/index.ts';
import { openTables, untyped } from '../support/open-tables.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection } from '../support/waiting.ts';

/** A point as "x;y". */
const point = customType<{ data: { x: number; y: number }; driverData: string }>({
  dataType: () => 'text',
  toDriver: ({ x, y }) => `${x};${y}`,
  fromDriver: (stored) => {
    const [x = NaN, y = NaN] = stored.split(';').map(Number);
    return { x, y };
  },
});

const kinds = sqliteTable('kinds', {
  id: integer().primaryKey(),
  plain: text(),
  choice: text({ enum: ['a', 'b'] }),
  json: text({ mode: 'json' }).$type<unknown>(),
  blobJson: blob('blob_json', { mode: 'json' }).$type<unknown>(),
  bytes: blob({ mode: 'buffer' }),
  huge: blob({ mode: 'bigint' }),
  whole: numeric({ mode: 'bigint' }),
  decimal: numeric(),
  ratio: real(),
  flag: integer({ mode: 'boolean' }),
  seconds: integer({ mode: 'timestamp' }),
  millis: integer({ mode: 'timestamp_ms' }),
  place: point(),
});

let ticks = 0;
const defaults = sqliteTable('defaults', {
  id: text()
    .primaryKey()
    .$defaultFn(() => `id-${++ticks}`),
  name: text().notNull(),
  made: text().$defaultFn(() => `made ${++ticks}`),
  changed: text().$onUpdate(() => `changed ${++ticks}`),
  status: text().notNull().default('new'),
  at: integer()
    .notNull()
    .default(sql`(40 + 2)`),
  twice: text().generatedAlwaysAs(sql`name || name`, { mode: 'stored' }),
  length: integer('name_length').generatedAlwaysAs(sql`length(name)`, { mode: 'virtual' }),
});

/** Names that need quoting, in SQL and in JavaScript. */
const order = sqliteTable('order', {
  group: integer('group').primaryKey(),
  select: text('sel"ect'),
  'a b': text(`it's; --`),
  eq: text(),
  in: text(),
  like: text(),
  isNull: integer(),
  limit: integer(),
});
/** Names that every object inherits. TypeScript wants them in every row, so the tests call as JavaScript does. */
const inherited = sqliteTable('inherited', {
  id: integer().primaryKey(),
  constructor: text(),
  toString: text(),
  hasOwnProperty: text(),
});
const quoted = sqliteTable('with a "quote"', { id: integer().primaryKey(), value: text() });
const edges = sqliteTable('edges', { a: integer().notNull(), b: text().notNull(), weight: real() }, (table) => [
  primaryKey({ columns: [table.b, table.a] }),
]);
const bag = sqliteTable('bag', { value: text() });
const keyed = sqliteTable('keyed', { day: integer({ mode: 'timestamp_ms' }).primaryKey(), note: text() });

const DDL = `
  CREATE TABLE kinds (
    id INTEGER PRIMARY KEY, plain TEXT, choice TEXT, json TEXT, blob_json BLOB, bytes BLOB, huge BLOB, whole NUMERIC,
    decimal NUMERIC, ratio REAL, flag INTEGER, seconds INTEGER, millis INTEGER, place TEXT
  );
  CREATE TABLE defaults (
    id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, made TEXT, changed TEXT, status TEXT NOT NULL DEFAULT 'new',
    at INTEGER NOT NULL DEFAULT (40 + 2), twice TEXT GENERATED ALWAYS AS (name || name) STORED,
    name_length INTEGER GENERATED ALWAYS AS (length(name)) VIRTUAL
  );
  CREATE TABLE "order" (
    "group" INTEGER PRIMARY KEY, "sel""ect" TEXT, "it's; --" TEXT, eq TEXT, "in" TEXT, "like" TEXT, "isNull" INTEGER,
    "limit" INTEGER
  );
  CREATE TABLE inherited (id INTEGER PRIMARY KEY, constructor TEXT, toString TEXT, hasOwnProperty TEXT);
  CREATE TABLE "with a ""quote""" (id INTEGER PRIMARY KEY, value TEXT);
  CREATE TABLE edges (a INTEGER NOT NULL, b TEXT NOT NULL, weight REAL, PRIMARY KEY (b, a)) WITHOUT ROWID;
  CREATE TABLE bag (value TEXT);
  CREATE TABLE keyed (day INTEGER PRIMARY KEY, note TEXT);
`;
const repositories = {
  kinds: defineRepository(kinds),
  defaults: defineRepository(defaults),
  order: defineRepository(order),
  inherited: defineRepository(inherited),
  quoted: defineRepository(quoted),
  edges: defineRepository(edges, { key: ['a', 'b'] }),
  bag: defineRepository(bag),
  keyed: defineRepository(keyed),
};

const dir = useTempDir();
let db: Database<Registry<typeof repositories>>;
beforeEach(async () => {
  db = await openTables(dir, DDL, repositories);
});

function stored(query: string): unknown {
  return dir.raw(dir.file('tables.db')).prepare(query).get();
}

describe('a value that a column cannot hold is refused before anything is written:', () => {
  const wrong: readonly (readonly [string, object])[] = [
    ['a number in text', { plain: 5 }],
    ['an object in text', { plain: {} }],
    ['a Drizzle expression', { plain: sql`'x'` }],
    ['text in a number', { ratio: '0.5' }],
    ['NaN, which SQLite would store as NULL', { ratio: NaN }],
    ['text in a boolean, which Drizzle would store as true', { flag: 'false' }],
    ['a number in a time', { millis: 0 }],
    ['an invalid time', { seconds: new Date('soon') }],
    ['text in a blob', { bytes: 'abc' }],
    ['an array in a blob', { bytes: [1, 2] }],
    ['a number in a bigint', { huge: 5 }],
    ['an id beyond 64 bits', { id: 2n ** 64n }],
    ['what JSON cannot say', { json: 5n }],
    ['what a custom type does not understand', { place: undefined, plain: Symbol('x') }],
  ];
  test.each(wrong)('%s', async (_, row) => {
    await db.api.kinds.insert({ id: 1, plain: 'before' });
    const api = untyped(db.api.kinds);
    const calls = [
      () => api.insert?.(row),
      () => api.insertMany?.([row]),
      () => api.update?.(1, row),
      () => api.updateMany?.({ id: 1 }, row),
      () => api.upsert?.({ id: 1, ...row }),
      () => api.upsert?.({ id: 1, plain: 'x' }, { set: row }),
    ];
    for (const call of calls) {
      expect((await rejection(Promise.resolve(call()), OptionError)).message).toMatch(/does not fit column/);
    }
    expect(await db.api.kinds.find()).toMatchObject([{ id: 1, plain: 'before' }]);
  });
});

test('a generated column is read and never written', async () => {
  const row = await db.api.defaults.insert({ name: 'ab' });
  expect(row).toMatchObject({ twice: 'abab', length: 2 });
  expect(await db.api.defaults.update(row.id, { name: 'abc' })).toMatchObject({ twice: 'abcabc', length: 3 });
  expect(await db.api.defaults.find({ length: { gt: 2 } }, { orderBy: 'twice' })).toHaveLength(1);
  const api = untyped(db.api.defaults);
  for (const call of [
    () => api.insert?.({ name: 'x', twice: 'x' }),
    () => api.insertMany?.([{ name: 'x', length: 1 }]),
    () => api.update?.(row.id, { length: 1 }),
    () => api.updateMany?.({ id: row.id }, { twice: 'x' }),
    () => api.upsert?.({ ...row }),
    () => api.upsert?.({ id: row.id, name: 'x' }, { set: { length: 1 } }),
  ]) {
    const { message } = await rejection(Promise.resolve(call()), OptionError);
    expect(message).toMatch(/column "(twice|length)" is generated by the database; leave it out/);
  }
});

describe('a row comes back as it was given', () => {
  const row = {
    id: 1,
    plain: 'ä\u{1F600}\0z',
    choice: 'b' as const,
    json: { list: [1, null, 'x'], nested: { a: true } },
    blobJson: ['x', { y: 1 }],
    bytes: Buffer.from([0, 1, 255]),
    huge: -(2n ** 100n),
    whole: 2n ** 62n + 1n,
    decimal: '9007199254740993',
    ratio: 0.1 + 0.2,
    flag: true,
    seconds: new Date(1_700_000_000_000),
    millis: new Date(1_700_000_000_123),
    place: { x: 1.5, y: -2 },
  };

  test('from every method that gives one', async () => {
    expect(await db.api.kinds.insert(row)).toEqual(row);
    expect(await db.api.kinds.get(1)).toEqual(row);
    expect(await db.api.kinds.first()).toEqual(row);
    expect(await db.api.kinds.find()).toEqual([row]);
    expect((await db.api.kinds.page()).rows).toEqual([row]);
    expect(await db.api.kinds.update(1, {})).toEqual(row);
    const { id, ...rest } = row;
    expect(await db.api.kinds.update(id, rest)).toEqual(row);
    expect(await db.api.kinds.upsert(row)).toEqual(row);
    expect(stored('SELECT flag, seconds, millis, place, typeof(whole) AS whole FROM kinds')).toEqual({
      flag: 1,
      seconds: 1_700_000_000,
      millis: 1_700_000_000_123,
      place: '1.5;-2',
      whole: 'integer',
    });
  });

  test('with NULL in every column but the key', async () => {
    const nothing = Object.fromEntries(Object.keys(row).map((name) => [name, name === 'id' ? 2 : null]));
    expect(await db.api.kinds.insert(nothing)).toEqual(nothing);
    expect(await db.api.kinds.insert({ id: 3 })).toEqual({ ...nothing, id: 3 });
    await db.api.kinds.insert(row);
    const { id, ...nulls } = nothing;
    expect(id).toBe(2);
    expect(await db.api.kinds.update(1, nulls)).toEqual({ ...nothing, id: 1 });
  });

  test('with any view of bytes', async () => {
    const { buffer } = Uint8Array.from([9, 1, 2, 3, 4, 9]);
    for (const bytes of [new Uint8Array(buffer, 1, 4), new DataView(buffer, 1, 4), new Int8Array(buffer, 1, 4)]) {
      const inserted = await db.api.kinds.insert({ bytes: bytes as Buffer });
      expect(inserted.bytes).toEqual(Buffer.from([1, 2, 3, 4]));
    }
  });

  test('with fractions and words in a NUMERIC column', async () => {
    for (const [given, kept] of [
      ['0.30000000000000004', '0.30000000000000004'],
      ['1.50', '1.5'],
      ['-9223372036854775808', '-9223372036854775808'],
      ['many', 'many'],
    ]) {
      const inserted = await db.api.kinds.insert({ decimal: given ?? '' });
      expect(inserted.decimal).toBe(kept);
    }
  });
});

describe('defaults', () => {
  test('are made by $defaultFn and $onUpdate for an insert, and by the table for the rest', async () => {
    const row = await db.api.defaults.insert({ name: 'a' });
    expect(row).toMatchObject({ status: 'new', at: 42 });
    expect(row.id).toMatch(/^id-/);
    expect(row.made).toMatch(/^made /);
    expect(row.changed).toMatch(/^changed /);
    expect(await db.api.defaults.insert({ name: 'b', id: 'mine', made: null, changed: null, at: 0 })).toMatchObject({
      id: 'mine',
      made: null,
      changed: null,
      at: 0,
    });
  });

  test('differ from row to row in insertMany', async () => {
    await db.api.defaults.insertMany(Array.from({ length: 300 }, () => ({ name: 'a' })));
    const rows = await db.api.defaults.find();
    expect(new Set(rows.map(({ made }) => made)).size).toBe(300);
  });

  test('of $onUpdate speak in an update where the patch is silent', async () => {
    const row = await db.api.defaults.insert({ name: 'a' });
    const updated = await db.api.defaults.update(row.id, { name: 'b' });
    expect(updated?.changed).not.toBe(row.changed);
    expect(updated?.made).toBe(row.made);
    expect((await db.api.defaults.update(row.id, { changed: 'by hand' }))?.changed).toBe('by hand');
    expect((await db.api.defaults.update(row.id, { changed: null }))?.changed).toBeNull();
    await db.api.defaults.updateMany({ id: row.id }, { name: 'c' });
    expect((await db.api.defaults.get(row.id))?.changed).toMatch(/^changed /);
  });

  test('of $onUpdate are silent when the patch names nothing', async () => {
    const row = await db.api.defaults.insert({ name: 'a' });
    expect(await db.api.defaults.update(row.id, {})).toEqual(row);
    expect(await db.api.defaults.update(row.id, { name: undefined })).toEqual(row);
  });

  test('of $defaultFn are for new rows: an upsert leaves the id and the making of the row that is there', async () => {
    await untyped(db.api.defaults).insert?.({ id: 'one', name: 'a' });
    const before = await db.api.defaults.get('one');
    const after = await db.api.defaults.upsert({ id: 'one', name: 'b' });
    expect(after).toMatchObject({ id: 'one', name: 'b', made: before?.made, status: 'new' });
    expect(after.changed).not.toBe(before?.changed);
  });
});

describe('names', () => {
  test('that SQL reserves, or that hold quotes and spaces, are only names', async () => {
    const row = {
      group: 1,
      select: 's',
      'a b': 'ab',
      eq: 'e',
      in: 'i',
      like: 'l',
      isNull: 7,
      limit: 3,
    };
    const { api } = db;
    expect(await api.order.insert(row)).toEqual(row);
    const plain = untyped(api.order);
    for (const [name, value] of Object.entries(row)) {
      expect(await plain.find?.({ [name]: value }), name).toEqual([row]);
      expect(await plain.find?.({ [name]: { in: [value] } }, { orderBy: name, limit: 1, offset: 0 })).toEqual([row]);
      expect(await plain.page?.({ orderBy: { [name]: 'desc' } })).toEqual({ rows: [row] });
      expect(await plain.upsert?.(row, { set: { [name]: value } })).toEqual(row);
      expect(await plain.updateMany?.({ [name]: { eq: value } }, { [name]: value })).toBe(1);
    }
    expect(await api.order.update(1, { like: null, 'a b': 'x' })).toEqual({ ...row, like: null, 'a b': 'x' });
    expect(await api.order.count({ isNull: { isNull: false }, like: { isNull: true } })).toBe(1);
    expect(await api.quoted.upsert({ id: 1, value: 'v' })).toEqual({ id: 1, value: 'v' });
    expect(await api.quoted.count({ value: 'v' })).toBe(1);
    expect(await api.quoted.remove(1)).toBe(true);
  });

  test('that every object inherits are only set when they are given', async () => {
    const api = untyped(db.api.inherited);
    const nothing = { constructor: null, toString: null, hasOwnProperty: null };
    expect(await api.insert?.({ id: 2 })).toEqual({ id: 2, ...nothing });
    await api.insertMany?.([{ id: 3 }, { id: 4, toString: 'x' }]);
    expect(await api.update?.(3, { constructor: 'c' })).toEqual({ id: 3, ...nothing, constructor: 'c' });
    expect(await api.update?.(3, {})).toEqual({ id: 3, ...nothing, constructor: 'c' });
    expect(await api.upsert?.({ id: 4, hasOwnProperty: 'h' })).toEqual({
      id: 4,
      constructor: null,
      toString: 'x',
      hasOwnProperty: 'h',
    });
    expect(await api.find?.({ toString: { isNull: false } }, { orderBy: 'constructor' })).toHaveLength(1);
    expect(await api.get?.({ id: 3 })).toMatchObject({ id: 3 });
  });

  test.each(['and', 'or', 'not', '__proto__'])('that a filter or a row cannot have are refused at once: %s', (name) => {
    const table = sqliteTable('odd', { id: integer().primaryKey(), [name]: text() });
    expect(() => defineRepository(table)).toThrow(OptionError);
    expect(() => defineRepository(table)).toThrow(`a column's property cannot be called "${name}"`);
    expect(() =>
      defineRepository(sqliteTable('odd', { id: integer().primaryKey(), renamed: text(name) })),
    ).not.toThrow();
  });
});

describe('a key', () => {
  test('is refused when it is no key of the table', async () => {
    const edge = untyped(db.api.edges);
    const kind = untyped(db.api.kinds);
    for (const [call, message] of [
      [() => edge.get?.('a'), /the key of "edges" is an object of b, a/],
      [() => edge.get?.(['a', 1]), /the key of "edges" is an object of b, a/],
      [() => edge.get?.({ a: 1 }), /the key's column "b" is undefined; give its value/],
      [() => edge.remove?.({ a: 1, b: null }), /the key's column "b" is null/],
      [() => edge.update?.({ a: 1, b: 'x', weight: 1 }, {}), /"weight" is not part of the key of "edges"/],
      [() => edge.get?.(Object.create({ a: 1, b: 'x' })), /is an object of b, a/],
      [() => kind.get?.(), /the key's column "id" is undefined/],
      [() => kind.get?.(null), /the key's column "id" is null/],
      [() => kind.get?.('1 OR 1=1'), /"1 OR 1=1" does not fit column "id"/],
      [() => kind.get?.({ id: 1, plain: 'x' }), /"plain" is not part of the key/],
      [() => kind.get?.({ constructor: 1 }), /"constructor" is not part of the key/],
      [() => kind.get?.([1]), /does not fit column "id"/],
      [() => untyped(db.api.bag).get?.('x'), /table "bag" has no primary key; use find, updateMany or removeMany/],
      [() => untyped(db.api.bag).update?.('x', {}), /no primary key/],
      [() => untyped(db.api.bag).remove?.({ value: 'x' }), /no primary key/],
      [() => untyped(db.api.bag).upsert?.({ value: 'x' }), /no primary key; name the "target" columns/],
    ] as const) {
      expect((await rejection(Promise.resolve(call()), OptionError)).message).toMatch(message);
    }
  });

  test('of one column is its value, or an object of it', async () => {
    await db.api.kinds.insert({ id: 5 });
    expect(await db.api.kinds.get(5)).toMatchObject({ id: 5 });
    expect(await untyped(db.api.kinds).get?.({ id: 5 })).toMatchObject({ id: 5 });
    const day = new Date(86_400_000);
    await db.api.keyed.insert({ day, note: 'x' });
    expect(await db.api.keyed.get(day)).toEqual({ day, note: 'x' });
    expect(await db.api.keyed.update(day, { note: 'y' })).toEqual({ day, note: 'y' });
    expect(await db.api.keyed.remove(day)).toBe(true);
    expect(await db.api.keyed.get(day)).toBeUndefined();
  });

  test('of several columns is an object, in any order, in a table without rowid too', async () => {
    await db.api.edges.insertMany([
      { a: 1, b: 'x', weight: 1 },
      { a: 1, b: 'y', weight: 2 },
      { a: 2, b: 'x', weight: 3 },
    ]);
    expect(await db.api.edges.get({ b: 'y', a: 1 })).toEqual({ a: 1, b: 'y', weight: 2 });
    expect(await db.api.edges.update({ a: 2, b: 'x' }, { weight: 4 })).toEqual({ a: 2, b: 'x', weight: 4 });
    expect(await db.api.edges.upsert({ a: 1, b: 'x', weight: 5 })).toEqual({ a: 1, b: 'x', weight: 5 });
    expect(await db.api.edges.remove({ a: 1, b: 'y' })).toBe(true);
    const first = await db.api.edges.page({ limit: 1 });
    expect([first, await db.api.edges.page({ after: first.next })]).toMatchObject([
      { rows: [{ a: 1, b: 'x' }] },
      { rows: [{ a: 2, b: 'x' }], next: undefined },
    ]);
  });

  test('may be changed by an update, and be missing from the table', async () => {
    await db.api.kinds.insert({ id: 1, plain: 'p' });
    expect(await db.api.kinds.update(1, { id: 9 })).toMatchObject({ id: 9, plain: 'p' });
    await db.api.bag.insertMany([{ value: 'x' }, { value: 'x' }]);
    expect(await db.api.bag.updateMany({ value: 'x' }, { value: 'y' })).toBe(2);
    expect(await db.api.bag.insert({})).toEqual({ value: null });
    expect(await db.api.bag.find({}, { orderBy: { value: 'desc' } })).toHaveLength(3);
    expect(await db.api.bag.removeMany({ value: { isNull: true } })).toBe(1);
  });
});

test('what one Drizzle query writes the table methods read, and the other way round', () => {
  // The codecs are Drizzle's own; the file is what both see.
  const handle = new Sqlite(dir.file('tables.db'));
  try {
    handle.exec(`INSERT INTO kinds (id, json, millis, flag) VALUES (7, '{"a":1}', 5, 0)`);
  } finally {
    handle.close();
  }
  return expect(db.api.kinds.get(7)).resolves.toMatchObject({ json: { a: 1 }, millis: new Date(5), flag: false });
});
