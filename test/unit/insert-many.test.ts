import Sqlite from 'better-sqlite3';
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { ConstraintError, type Database, defineRepository, OptionError, type Registry } from '../../src/index.ts';
import { openTables, untyped } from '../support/open-tables.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection } from '../support/waiting.ts';

const items = sqliteTable('items', {
  id: integer().primaryKey({ autoIncrement: true }),
  name: text().notNull().default('unnamed'),
  size: integer(),
  note: text(),
});
type NewItem = typeof items.$inferInsert;
const wide = sqliteTable('wide', Object.fromEntries(Array.from({ length: 300 }, (_, at) => [`c${at}`, integer()])));
const empty = sqliteTable('empty', { id: integer().primaryKey() });
const DDL = `
  CREATE TABLE items (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL DEFAULT 'unnamed', size INTEGER CHECK (size >= 0), note TEXT
  );
  CREATE TABLE wide (${Array.from({ length: 300 }, (_, at) => `c${at} INTEGER`).join(', ')});
  CREATE TABLE empty (id INTEGER PRIMARY KEY);
  CREATE TRIGGER picky BEFORE INSERT ON empty WHEN new.id % 2 = 0 BEGIN SELECT RAISE(IGNORE); END;
`;
const repositories = {
  items: defineRepository(items),
  wide: defineRepository(wide),
  empty: defineRepository(empty),
};
const dir = useTempDir();
let db: Database<Registry<typeof repositories>>;
beforeEach(async () => {
  db = await openTables(dir, DDL, repositories);
});

describe('insertMany refuses', () => {
  test.each([
    ['one row outside an array', { name: 'a' }, /takes an array of rows, not an object/],
    ['nothing', undefined, /takes an array of rows, not undefined/],
    ['rows that come one by one', new Set([{ name: 'a' }]), /takes an array of rows, not a Set/],
    ['a row that is null', [{ name: 'a' }, null], /items\.insertMany\[1\]: a row is a plain object, not null/],
    ['a row that is an array', [['a']], /insertMany\[0\]: a row is a plain object, not an array/],
    ['a hole', Object.assign(new Array<object>(2), { 0: { name: 'a' } }), /insertMany\[1\]: .* not undefined/],
    ['an unknown column', [{ name: 'a' }, { nam: 'b' }], /insertMany\[1\]: .* no column "nam"; did you mean "name"\?/],
    [
      'what a column cannot hold',
      [{ name: 'a' }, { size: 'b' }],
      /insertMany\[1\]: size: "b" does not fit column "size"/,
    ],
  ])('%s, and inserts nothing', async (_, rows, message) => {
    const api = untyped(db.api.items);
    expect((await rejection(Promise.resolve(api.insertMany?.(rows)), OptionError)).message).toMatch(message);
    expect(await db.api.items.count()).toBe(0);
  });
});

describe('insertMany', () => {
  test('inserts 40 000 rows in one call, in few statements', async () => {
    const prepare = vi.spyOn(Sqlite.prototype, 'prepare');
    try {
      const rows = Array.from({ length: 40_000 }, (_, at) => ({ name: `item ${at}`, size: at, note: null }));
      expect(await db.api.items.insertMany(rows)).toBe(40_000);
      expect(prepare.mock.calls.filter(([source]) => source.startsWith('INSERT'))).toHaveLength(2);
    } finally {
      prepare.mockRestore();
    }
    expect(await db.api.items.count()).toBe(40_000);
    expect(await db.api.items.get(40_000)).toEqual({ id: 40_000, name: 'item 39999', size: 39_999, note: null });
    expect(await db.api.items.count({ size: { gte: 39_000 } })).toBe(1000);
  });

  test('keeps nothing when the last of 40 000 rows fails', async () => {
    const rows = Array.from({ length: 40_000 }, (_, at) => ({ size: at === 39_999 ? -1 : at }));
    const error = await rejection(db.api.items.insertMany(rows), ConstraintError);
    expect(error).toMatchObject({ kind: 'check', outcome: 'rolled-back' });
    expect(await db.api.items.count()).toBe(0);
    expect((await db.api.items.insert({})).id).toBe(1);
  });

  test('leaves a transaction whole when it fails inside and is caught', async () => {
    await db.transaction(async (api) => {
      await api.items.insert({ name: 'before' });
      await rejection(api.items.insertMany([{ name: 'a' }, { size: -1 }]), ConstraintError);
      await api.items.insert({ name: 'after' });
    });
    expect((await db.api.items.find()).map(({ name }) => name)).toEqual(['before', 'after']);
  });

  test('inserts nothing when there is nothing', async () => {
    expect(await db.api.items.insertMany([])).toBe(0);
  });

  test('keeps the order of rows of different shapes, and gives each its defaults', async () => {
    const shapes: readonly NewItem[] = [
      { name: 'a' },
      { size: 1 },
      {},
      { note: 'n', name: 'b' },
      { name: undefined },
      { name: 'c', size: 2 },
    ];
    const rows = Array.from({ length: 600 }, (_, at): NewItem => ({ ...shapes[(at * 7) % shapes.length] }));
    expect(await db.api.items.insertMany(rows)).toBe(600);
    const stored = await db.api.items.find({}, { orderBy: 'id' });
    expect(stored).toEqual(
      rows.map(({ name, size, note }, at) => ({
        id: at + 1,
        name: name ?? 'unnamed',
        size: size ?? null,
        note: note ?? null,
      })),
    );
  });

  test.each([1, 15, 16, 17, 255, 256, 257, 527])('inserts exactly %i rows', async (length) => {
    expect(await db.api.items.insertMany(Array.from({ length }, (_, size) => ({ size })))).toBe(length);
    expect((await db.api.items.find({}, { orderBy: 'id' })).map(({ size }) => size)).toEqual(
      Array.from({ length }, (_, size) => size),
    );
  });

  test('stays under the limit of variables in a table of 300 columns', async () => {
    const rows = Array.from({ length: 200 }, (_, at) =>
      Object.fromEntries(Array.from({ length: 300 }, (_, column) => [`c${column}`, at * column])),
    );
    expect(await db.api.wide.insertMany(rows)).toBe(200);
    expect(await db.api.wide.first({ c299: 299 * 199 })).toEqual(rows[199]);
  });

  test('counts the rows that a trigger did not keep out', async () => {
    expect(await db.api.empty.insertMany(Array.from({ length: 9 }, (_, at) => ({ id: at + 1 })))).toBe(5);
    expect(await db.api.empty.insertMany([{}, {}])).toBe(await db.api.empty.count({ id: { gt: 9 } }));
  });
});
