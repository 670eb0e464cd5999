import fc from 'fast-check';
import { blob, integer, real, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Database, defineRepository, type Filter, OptionError, type Registry } from '../../src/index.ts';
import { openTables, untyped } from '../support/open-tables.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection } from '../support/waiting.ts';

const samples = sqliteTable('samples', {
  id: integer().primaryKey(),
  num: integer(),
  ratio: real(),
  str: text('text_column'),
  flag: integer({ mode: 'boolean' }),
  at: integer({ mode: 'timestamp_ms' }),
  bytes: blob({ mode: 'buffer' }),
  data: text({ mode: 'json' }).$type<unknown>(),
  huge: blob({ mode: 'bigint' }),
});
const DDL = `CREATE TABLE samples (
  id INTEGER PRIMARY KEY, num INTEGER, ratio REAL, text_column TEXT, flag INTEGER, at INTEGER, bytes BLOB, data TEXT, huge BLOB
)`;
type Sample = typeof samples.$inferSelect;
const repositories = { samples: defineRepository(samples) };

const dir = useTempDir();
let db: Database<Registry<typeof repositories>>;
beforeEach(async () => {
  db = await openTables(dir, DDL, repositories);
});

/** The error that each table method which takes a filter answers it with; all of them must refuse it alike. */
async function refused(filter: unknown): Promise<string> {
  const api = untyped(db.api.samples);
  const calls = [
    () => api.find?.(filter),
    () => api.first?.(filter),
    () => api.count?.(filter),
    () => api.exists?.(filter),
    () => api.page?.({ filter }),
    () => api.removeMany?.(filter),
    () => api.updateMany?.(filter, { num: 1 }),
  ];
  const messages = await Promise.all(
    calls.map(async (call) => {
      const { message } = await rejection(Promise.resolve(call()), OptionError);
      return message.replace(/^samples\.\w+/, '');
    }),
  );
  expect(new Set(messages).size, messages.join('\n')).toBe(1);
  return messages[0] ?? '';
}

async function ids(filter: Filter<Sample>): Promise<number[]> {
  return (await db.api.samples.find(filter, { orderBy: 'id' })).map(({ id }) => id);
}

describe('a filter is refused when it', () => {
  beforeEach(async () => {
    await db.api.samples.insertMany([{ num: 1 }, { num: 2 }]);
  });
  afterEach(async () => {
    expect(await db.api.samples.find({}, { orderBy: 'id' }), 'a refused call changed rows').toMatchObject([
      { num: 1 },
      { num: 2 },
    ]);
  });

  test.each([
    ['is null', null, /a filter is a plain object, not null/],
    ['is a string', 'num = 1', /not "num = 1"/],
    ['is an array', [{ num: 1 }], /not an array/],
    ['is a function', () => ({ num: 1 }), /not a function/],
    ['is a class instance', new URL('https://example.com'), /not a URL/],
    ['is a Map', new Map([['num', 1]]), /not a Map/],
    ['inherits its columns', Object.create({ num: 1 }) as unknown, /not an object/],
    ['has no constructor to name', Object.create(Object.create(null) as object) as unknown, /not an object/],
  ])('%s', async (_, filter, message) => {
    expect(await refused(filter)).toMatch(message);
  });

  test.each([
    ['an unknown column', { nums: 1 }, /table "samples" has no column "nums"; did you mean "num"\?/],
    ['the name of the column in SQL', { text_column: 'a' }, /has no column "text_column"/],
    ['SQL for a column', { 'num" = 1 OR "num': 1 }, /has no column/],
    ['a Drizzle name', { _: 1 }, /has no column "_"/],
    ['rowid', { rowid: 1 }, /has no column "rowid"/],
    ['an own "__proto__"', JSON.parse('{"__proto__": {"num": 1}}') as unknown, /has no column "__proto__"/],
    ['"constructor"', { constructor: 1 }, /has no column "constructor"/],
    ['"toString"', { toString: 'x' }, /has no column "toString"/],
    ['"hasOwnProperty"', { hasOwnProperty: { eq: 1 } }, /has no column "hasOwnProperty"/],
    ['an unknown operator', { num: { eqq: 1 } }, /num\.eqq: there is no operator "eqq"/],
    ['SQL for an operator', { num: { '= 1 OR 1 =': 1 } }, /there is no operator/],
    ['"constructor" as an operator', { num: { constructor: 1 } }, /there is no operator "constructor"/],
    ['an own "__proto__" as an operator', { num: JSON.parse('{"__proto__":1}') as unknown }, /no operator "__proto__"/],
    ['no operator at all', { num: {} }, /num has no operator/],
  ])('names %s', async (_, filter, message) => {
    expect(await refused(filter)).toMatch(message);
  });

  test.each([
    ['a column is undefined', { num: undefined }, /num is undefined; leave the column out, or write null/],
    ['an operator is undefined', { num: { gt: undefined } }, /num\.gt is undefined/],
    ['"or" is undefined', { or: undefined }, /"or" takes an array/],
    ['"and" is an object', { and: { num: 1 } }, /"and" takes an array/],
    ['"and" holds undefined', { and: [undefined] }, /"and" has undefined in its array/],
    ['"or" has a hole', { or: Object.assign(new Array<object>(2), { 1: {} }) }, /"or" has undefined in its array/],
    ['"in" has a hole', { num: { in: new Array<number>(1) } }, /num\.in has undefined in its list/],
    ['"or" holds null', { or: [null] }, /a filter is a plain object, not null/],
    ['"not" is undefined', { not: undefined }, /"not" takes a filter/],
    ['"not" is an array', { not: [{ num: 1 }] }, /a filter is a plain object, not an array/],
    ['"gt" compares with null', { num: { gt: null } }, /compares with null, which is never true/],
    ['"in" is no array', { num: { in: 1 } }, /num\.in takes an array, not 1/],
    ['"in" holds null', { num: { in: [1, null] } }, /num\.in has null in its list/],
    ['"notIn" holds undefined', { num: { notIn: [undefined] } }, /num\.notIn has undefined in its list/],
    ['"like" is a number', { str: { like: 5 } }, /str\.like takes a string, not 5/],
    ['"like" is longer than SQLite takes', { str: { like: '%'.repeat(50_001) } }, /longer than 50000 bytes/],
    ['"isNull" is 1', { num: { isNull: 1 } }, /num\.isNull takes true or false, not 1/],
  ])('is half said: %s', async (_, filter, message) => {
    expect(await refused(filter)).toMatch(message);
  });

  test.each([
    ['text for a number', { num: '1' }],
    ['NaN', { num: NaN }],
    ['an array for a number', { num: [1, 2] }],
    ['text for a boolean, which Drizzle would read as true', { flag: 'false' }],
    ['a number for a boolean', { flag: 1 }],
    ['a number for a text', { str: 5 }],
    ['a class instance for a text', { str: new URL('https://example.com') }],
    ['a function for a text', { str: String }],
    ['a symbol for a text', { str: Symbol('a') }],
    ['a number for a time', { at: 5 }],
    ['an invalid time', { at: new Date(NaN) }],
    ['text for a blob', { bytes: 'abc' }],
    ['an integer that SQLite cannot hold', { num: 2n ** 63n }],
    ['a number for a bigint', { huge: 5 }],
  ])('compares a column with what it cannot hold: %s', async (_, filter) => {
    expect(await refused(filter)).toMatch(/does not fit column/);
    const [[name, value] = []] = Object.entries(filter);
    expect(await refused({ not: { [String(name)]: { in: [value] } } })).toMatch(/does not fit column/);
  });

  test('orders a column by bytes that are not its values', async () => {
    expect(await refused({ huge: { gt: 5n } })).toMatch(/stores its numbers as text, which has another order/);
  });

  test('nests deeper than 100 levels, in a circle even', async () => {
    let deep: object = { num: 1 };
    for (let level = 0; level < 101; level++) deep = { not: deep };
    expect(await refused(deep)).toMatch(/nests more than 100 levels deep/);
    const circle: { and: object[] } = { and: [] };
    circle.and.push(circle);
    expect(await refused(circle)).toMatch(/nests more than 100 levels deep/);
  });

  test('has more than 30 000 conditions, however few objects they are', async () => {
    let doubled: object = {};
    for (let level = 0; level < 60; level++) doubled = { or: [doubled, doubled] };
    expect(await refused(doubled)).toMatch(/more than 30000 conditions; split it/);
    expect(await refused({ num: { in: Array.from({ length: 30_000 }, (_, n) => n) } })).toMatch(/more than 30000/);
  });

  test('is empty and would change or remove every row', async () => {
    const api = untyped(db.api.samples);
    for (const filter of [undefined, {}]) {
      const { message } = await rejection(Promise.resolve(api.removeMany?.(filter)), OptionError);
      expect(message).toMatch(/the filter is empty and would match every row; if you mean all, say { and: \[\] }/);
      await rejection(Promise.resolve(api.updateMany?.(filter, { num: 9 })), OptionError);
    }
  });
});

describe('a filter', () => {
  test('compares by value whatever the column stores', async () => {
    const at = new Date(1_700_000_000_123);
    const row = {
      id: 1,
      num: 2 ** 40,
      ratio: -0.1,
      str: "it's",
      flag: false,
      at,
      bytes: Buffer.from([0, 255]),
      data: { a: [1] },
      huge: 2n ** 80n,
    };
    await db.api.samples.insert(row);
    await db.api.samples.insert({ id: 2 });
    for (const [name, value] of Object.entries(row)) {
      const filter = { [name]: { eq: value } } as Filter<Sample>;
      expect(await ids(filter), name).toEqual([1]);
      expect(await ids({ [name]: { in: [value] } }), name).toEqual([1]);
      expect(await ids({ [name]: { ne: null } }), name).toEqual(name === 'id' ? [1, 2] : [1]);
      if (name !== 'data') expect(await ids({ [name]: value }), name).toEqual([1]);
    }
  });

  test('takes text as text and never as SQL', async () => {
    const hostile = ["' OR 1=1 --", '"; DROP TABLE samples; --', '?', ':num', '%', '_', '\\', 'a\0b', 'NULL', ''];
    await db.api.samples.insertMany(hostile.map((str, id) => ({ id, str })));
    for (const [id, str] of hostile.entries()) {
      expect(await ids({ str })).toEqual([id]);
      expect(await ids({ str: { in: [str] } })).toEqual([id]);
      expect(await ids({ str: { notIn: hostile.filter((other) => other !== str) } })).toEqual([id]);
    }
    expect(await db.api.samples.count()).toBe(hostile.length);
  });

  test('finds text with half a surrogate pair as it was stored', async () => {
    await db.api.samples.insertMany([
      { id: 1, str: 'a\ud800' },
      { id: 2, str: 'b' },
    ]);
    expect(await ids({ str: 'a\ud800' })).toEqual([1]);
    expect(await ids({ str: { in: ['a\ud800', 'b'] } })).toEqual([1, 2]);
  });

  test('may be made in another realm, without a prototype, or be frozen', async () => {
    await db.api.samples.insert({ id: 1, num: 5 });
    const bare = Object.assign(Object.create(null) as object, { num: 5 }) as Filter<Sample>;
    expect(await ids(bare)).toEqual([1]);
    expect(await ids(Object.freeze({ num: Object.freeze({ eq: 5 }) }))).toEqual([1]);
    const { runInNewContext } = await import('node:vm');
    expect(await ids(runInNewContext('({ num: { in: [5] } })') as Filter<Sample>)).toEqual([1]);
  });

  test('joins all of its conditions by AND, and empty lists as logic has them', async () => {
    await db.api.samples.insertMany([{ id: 1, num: 1, str: 'a' }, { id: 2, num: 2, str: 'a' }, { id: 3 }]);
    expect(await ids({ str: 'a', num: { gt: 1, lt: 3 } })).toEqual([2]);
    expect(await ids({})).toEqual([1, 2, 3]);
    expect(await ids({ and: [] })).toEqual([1, 2, 3]);
    expect(await ids({ or: [] })).toEqual([]);
    expect(await ids({ not: {} })).toEqual([]);
    expect(await ids({ or: [{}] })).toEqual([1, 2, 3]);
    expect(await ids({ num: { in: [] } })).toEqual([]);
    expect(await ids({ num: { notIn: [] } })).toEqual([1, 2, 3]);
  });

  test('holds 20 000 values in one list and 5 000 alternatives side by side', async () => {
    await db.api.samples.insertMany(Array.from({ length: 10 }, (_, id) => ({ id, num: id * 1000 })));
    expect(await ids({ num: { in: Array.from({ length: 20_000 }, (_, n) => n - 10_000) } })).toHaveLength(10);
    expect(await ids({ or: Array.from({ length: 5000 }, (_, num) => ({ num })) })).toEqual([0, 1, 2, 3, 4]);
    expect(await ids({ and: Array.from({ length: 5000 }, () => ({ num: { ne: 0 } })) })).toHaveLength(9);
  });

  test('nests 100 levels deep', async () => {
    await db.api.samples.insertMany([
      { id: 1, num: 1, str: 'a' },
      { id: 2, num: 2, str: 'a' },
    ]);
    let deep: Filter<Sample> = { num: 1 };
    for (let level = 0; level < 25; level++) deep = { or: [{ not: deep }, { num: -level }, { str: 'x' }] };
    for (let level = 0; level < 50; level++) deep = { not: deep };
    expect(await ids(deep)).toEqual([2]);
  });
});

// ---------------------------------------------------------------------------------------------------------------
// The model: SQL's three truth values, in JavaScript

type Truth = boolean | null;
const not = (truth: Truth): Truth => (truth === null ? null : !truth);
const all = (truths: readonly Truth[]): Truth => (truths.includes(false) ? false : truths.includes(null) ? null : true);
const some = (truths: readonly Truth[]): Truth => (truths.includes(true) ? true : truths.includes(null) ? null : false);

/** As SQLite orders two values of one kind: text and blobs by their bytes. */
function order(a: unknown, b: unknown): number {
  if (typeof a === 'string' && typeof b === 'string') return Buffer.compare(Buffer.from(a), Buffer.from(b));
  if (Buffer.isBuffer(a) && Buffer.isBuffer(b)) return Buffer.compare(a, b);
  return Math.sign(Number(a) - Number(b)) || 0;
}

/** `%` any text, `_` any character, ASCII letters of either case. */
function like(value: string, pattern: string): boolean {
  const fold = (given: string): string => given.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
  const source = Array.from(fold(pattern), (char) =>
    char === '%' ? '[^]*' : char === '_' ? '[^]' : char.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, '\\$&'),
  );
  return new RegExp(`^${source.join('')}$`, 'u').test(fold(value));
}

function holds(row: Record<string, unknown>, filter: Record<string, unknown>): Truth {
  return all(
    Object.entries(filter).map(([name, condition]) => {
      if (name === 'and') return all((condition as Record<string, unknown>[]).map((part) => holds(row, part)));
      if (name === 'or') return some((condition as Record<string, unknown>[]).map((part) => holds(row, part)));
      if (name === 'not') return not(holds(row, condition as Record<string, unknown>));
      const operators = Object.getPrototypeOf(condition ?? 0) === Object.prototype;
      return all(
        Object.entries(operators ? (condition as object) : { eq: condition }).map(([operator, value]) =>
          compare(row[name], operator, value),
        ),
      );
    }),
  );
}

function compare(stored: unknown, operator: string, value: unknown): Truth {
  if (operator === 'isNull') return (stored === null) === value;
  if (operator === 'eq' && value === null) return stored === null;
  if (operator === 'ne' && value === null) return stored !== null;
  if (operator === 'in' && (value as unknown[]).length === 0) return false;
  if (operator === 'notIn' && (value as unknown[]).length === 0) return true;
  if (stored === null) return null;
  switch (operator) {
    case 'eq':
      return order(stored, value) === 0;
    case 'ne':
      return order(stored, value) !== 0;
    case 'gt':
      return order(stored, value) > 0;
    case 'gte':
      return order(stored, value) >= 0;
    case 'lt':
      return order(stored, value) < 0;
    case 'lte':
      return order(stored, value) <= 0;
    case 'in':
      return (value as unknown[]).some((one) => order(stored, one) === 0);
    case 'notIn':
      return !(value as unknown[]).some((one) => order(stored, one) === 0);
    default:
      return like(stored as string, value as string);
  }
}

const values = {
  num: fc.constantFrom(-3, 0, 1, 2, 2 ** 31, Number.MAX_SAFE_INTEGER, -(2 ** 40)),
  ratio: fc.constantFrom(0, -0, 0.1, -1.5, 1e300, Infinity, -Infinity, 2),
  str: fc.constantFrom('', 'a', 'A', 'ab', 'aB', 'ä', 'Ä', '%', '_', 'a_', '\u{1F600}', '\uFFFD', "'", '10', '9'),
  flag: fc.boolean(),
  at: fc.constantFrom(0, 1, -1, 1_700_000_000_000).map((ms) => new Date(ms)),
  bytes: fc.constantFrom('', '00', 'ff', '00ff', '61').map((hex) => Buffer.from(hex, 'hex')),
};
const rows = fc.array(
  fc.record(
    Object.fromEntries(
      Object.entries(values).map(([name, value]) => [name, fc.option(value as fc.Arbitrary<unknown>)]),
    ),
  ),
  { maxLength: 8 },
);

function conditionOn(value: fc.Arbitrary<unknown>, text: boolean): fc.Arbitrary<unknown> {
  const operators = fc.record(
    {
      eq: fc.option(value),
      ne: fc.option(value),
      gt: value,
      gte: value,
      lt: value,
      lte: value,
      in: fc.array(value, { maxLength: 3 }),
      notIn: fc.array(value, { maxLength: 3 }),
      isNull: fc.boolean(),
      ...(text && { like: fc.constantFrom('', '%', '_', 'A%', '%b', 'a\\_', '%ä%', '__') }),
    },
    { requiredKeys: [] },
  );
  const few = fc.tuple(operators, fc.nat(), fc.nat()).map(([given, a, b]) => {
    const entries = Object.entries(given);
    const kept = entries.filter((_, at) => at === a % entries.length || at === b % entries.length);
    return kept.length === 0 ? { isNull: false } : Object.fromEntries(kept);
  });
  return fc.oneof(fc.option(value), few);
}

const plain = fc
  .record(
    Object.fromEntries(
      Object.entries(values).map(([name, value]) => [
        name,
        conditionOn(value as fc.Arbitrary<unknown>, name === 'str'),
      ]),
    ),
  )
  .chain((given) => fc.subarray(Object.entries(given), { maxLength: 2 }))
  .map((entries): Record<string, unknown> => Object.fromEntries(entries));
const { filter: filters } = fc.letrec<{ filter: Record<string, unknown> }>((tie) => {
  const list = fc.array(tie('filter'), { maxLength: 3, depthIdentifier: 'filter' });
  return {
    filter: fc.oneof(
      { maxDepth: 3, depthIdentifier: 'filter', withCrossShrink: true },
      plain,
      fc.tuple(plain, list).map(([given, and]) => ({ ...given, and })),
      fc.tuple(plain, list).map(([given, or]) => ({ ...given, or })),
      fc.tuple(plain, tie('filter')).map(([given, inner]) => ({ ...given, not: inner })),
    ),
  };
});

test('a filter matches exactly the rows for which SQL’s three-valued logic says true', async () => {
  const api = db.api.samples;
  await fc.assert(
    fc.asyncProperty(rows, filters, async (given, filter) => {
      await api.removeMany({ and: [] });
      const stored = given.map((row, id): Record<string, unknown> => ({ ...row, id }));
      await api.insertMany(stored);
      const expected = stored.filter((row) => holds(row, filter) === true).map(({ id }) => id);
      const typed = filter as Filter<Sample>;
      expect(await ids(typed)).toEqual(expected);
      expect(await api.count(typed)).toBe(expected.length);
      expect(await api.exists(typed)).toBe(expected.length > 0);
      expect((await api.first(typed, { orderBy: 'id' }))?.id).toBe(expected[0]);
      expect((await api.page({ filter: typed, limit: 100 })).rows.map(({ id }) => id)).toEqual(expected);
      if (Object.keys(filter).length === 0) return;
      expect(await api.removeMany(typed)).toBe(expected.length);
      expect(await api.count()).toBe(stored.length - expected.length);
    }),
    { numRuns: 400 },
  );
});
