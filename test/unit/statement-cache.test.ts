import Sqlite from 'better-sqlite3';
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { afterEach, beforeEach, describe, expect, type MockInstance, test, vi } from 'vitest';
import { type Database, defineRepository, type Registry } from '../../src/index.ts';
import { type BoundStatement } from '../../src/repository/handlers.ts';
import { StatementCache } from '../../src/repository/statement-cache.ts';
import { openTables } from '../support/open-tables.ts';
import { useTempDir } from '../support/temp-dir.ts';

describe('the cache', () => {
  const prepared: string[] = [];
  const cache = (limit?: number) => {
    prepared.length = 0;
    return new StatementCache((source) => {
      prepared.push(source);
      const statement: BoundStatement = {
        run: () => ({ changes: 0, lastInsertRowid: 0 }),
        get: () => source,
        all: () => [],
        raw: () => statement,
      };
      return statement;
    }, limit);
  };

  test('compiles a text once and gives the same statement again', () => {
    const statements = cache();
    const [a, b] = [statements.get('a'), statements.get('b')];
    expect(statements.get('a')).toBe(a);
    expect(statements.get('b')).toBe(b);
    expect(statements.get('b')).toBe(b);
    expect(prepared).toEqual(['a', 'b']);
  });

  test('keeps 200 statements of 1000 that were asked for', () => {
    const statements = cache();
    for (let at = 0; at < 1000; at++) statements.get(`SELECT ${at}`);
    expect(statements.size).toBe(200);
    expect(prepared).toHaveLength(1000);
    statements.get('SELECT 800');
    expect(prepared).toHaveLength(1000);
    statements.get('SELECT 799');
    expect(prepared).toHaveLength(1001);
  });

  test('lets go of the one that was used least recently', () => {
    const statements = cache(2);
    for (const source of ['a', 'b', 'a', 'c', 'a', 'a', 'b']) statements.get(source);
    expect(prepared).toEqual(['a', 'b', 'c', 'b']);
  });

  test('keeps a very long text only for as long as it is the last one', () => {
    const statements = cache();
    const long = `SELECT '${'x'.repeat(100_000)}'`;
    statements.get(long);
    statements.get(long);
    expect(prepared).toEqual([long]);
    expect(statements.size).toBe(0);
    statements.get('a');
    statements.get(long);
    expect(prepared).toEqual([long, 'a', long]);
  });

  test('keeps nothing of a text that does not compile', () => {
    const statements = new StatementCache(() => {
      throw new SyntaxError('near "x"');
    });
    expect(() => statements.get('x')).toThrow(SyntaxError);
    expect(() => statements.get('x')).toThrow(SyntaxError);
    expect(statements.size).toBe(0);
  });
});

describe('a table method', () => {
  const items = sqliteTable('items', { id: integer().primaryKey(), a: text(), b: text(), c: text() });
  const dir = useTempDir();
  const repositories = { items: defineRepository(items) };
  let db: Database<Registry<typeof repositories>>;
  let prepare: MockInstance<(source: string) => unknown>;
  beforeEach(async () => {
    db = await openTables(dir, 'CREATE TABLE items (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT)', repositories);
    await db.api.items.insertMany([
      { id: 1, a: '1' },
      { id: 2, a: '2' },
    ]);
    // A reader is opened for the first read, and compiles some statements of its own.
    await db.api.items.exists();
    prepare = vi.spyOn(Sqlite.prototype, 'prepare');
  });
  afterEach(() => {
    prepare.mockRestore();
  });

  /** What was compiled during some calls, transaction control aside. */
  async function compiled(calls: () => Promise<unknown>): Promise<string[]> {
    prepare.mockClear();
    await calls();
    return prepare.mock.calls
      .map(([source]) => source)
      .filter((source) => /^(SELECT|INSERT|UPDATE|DELETE) /.test(source));
  }

  test('compiles a shape once, whatever the values', async () => {
    const api = db.api.items;
    const shapes: Record<string, (value: string) => Promise<unknown>> = {
      get: (value) => api.get(Number(value)),
      find: (value) => api.find({ a: value, b: { gt: value } }, { orderBy: 'c', limit: Number(value), offset: 1 }),
      'a list of any length': (value) => api.count({ a: { in: Array.from({ length: Number(value) }, String) } }),
      first: (value) => api.first({ or: [{ a: value }, { not: { b: value } }] }),
      page: (value) => api.page({ limit: Number(value), filter: { a: value } }),
      count: (value) => api.count({ a: { like: value } }),
      exists: (value) => api.exists({ a: value }),
      insert: (value) => api.insert({ a: value }),
      insertMany: (value) => api.insertMany([{ a: value, b: value }]),
      update: (value) => api.update(1, { a: value }),
      updateMany: (value) => api.updateMany({ a: value }, { b: value }),
      upsert: (value) => api.upsert({ id: 1, a: value }),
      remove: (value) => api.remove(Number(value)),
      removeMany: (value) => api.removeMany({ b: value }),
    };
    for (const [name, call] of Object.entries(shapes)) {
      expect(await compiled(() => call('3')), name).toHaveLength(1);
      expect(
        await compiled(async () => {
          for (let value = 4; value < 30; value++) await call(String(value));
        }),
        name,
      ).toEqual([]);
    }
  });

  test('compiles again, and answers rightly, when 1000 shapes have come in between', async () => {
    const api = db.api.items;
    const count = (width: number): Promise<number> =>
      api.count({ or: Array.from({ length: width }, (_, at) => ({ a: String(at) })) });
    for (let width = 0; width < 1000; width++) expect(await count(width)).toBe(width < 2 ? 0 : Math.min(width - 1, 2));
    expect(await compiled(() => count(900))).toHaveLength(0);
    expect(await compiled(() => count(5))).toHaveLength(1);
  });
});
