import fc from 'fast-check';
import Sqlite from 'better-sqlite3';
import { blob, integer, numeric, primaryKey, real, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { type Database, defineRepository, OptionError, type OrderBy, type Registry } from '../../src/index.ts';
import { openTables, untyped } from '../support/open-tables.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection } from '../support/waiting.ts';

const posts = sqliteTable('posts', {
  id: integer().primaryKey(),
  day: integer(),
  kind: text('kind_of_post').notNull(),
  score: real(),
  at: integer({ mode: 'timestamp_ms' }),
  digest: blob({ mode: 'buffer' }),
  done: integer({ mode: 'boolean' }),
});
/** No primary key. */
const lines = sqliteTable('lines', { line: text() });
/** The names of the properties are each other's names in SQL. */
const swapped = sqliteTable('swapped', { id: integer().primaryKey(), title: text('name'), name: text('title') });
/** A composite key that SQLite lets be NULL. */
const seats = sqliteTable('seats', { row: text(), seat: integer() }, (table) => [
  primaryKey({ columns: [table.row, table.seat] }),
]);
const amounts = sqliteTable('amounts', { amount: numeric({ mode: 'bigint' }).primaryKey() });
const DDL = `
  CREATE TABLE posts (
    id INTEGER PRIMARY KEY, day INTEGER, kind_of_post TEXT NOT NULL, score REAL, at INTEGER, digest BLOB, done INTEGER
  );
  CREATE INDEX posts_day ON posts (day);
  CREATE INDEX posts_kind_day ON posts (kind_of_post, day);
  CREATE TABLE lines (line TEXT);
  CREATE TABLE swapped (id INTEGER PRIMARY KEY, name TEXT, title TEXT);
  CREATE TABLE seats (row TEXT, seat INTEGER, PRIMARY KEY (row, seat));
  CREATE TABLE amounts (amount NUMERIC PRIMARY KEY NOT NULL) WITHOUT ROWID;
`;
type Post = typeof posts.$inferSelect;
const repositories = {
  posts: defineRepository(posts),
  lines: defineRepository(lines),
  swapped: defineRepository(swapped),
  seats: defineRepository(seats, { key: ['row', 'seat'] }),
  amounts: defineRepository(amounts),
};

const dir = useTempDir();
let db: Database<Registry<typeof repositories>>;
beforeEach(async () => {
  db = await openTables(dir, DDL, repositories);
});

async function refused(options: unknown, repository: object = db.api.posts): Promise<string> {
  const { page } = untyped(repository);
  return (await rejection(Promise.resolve(page?.(options)), OptionError)).message;
}

/** Every row, page by page; `between` runs between two pages. */
async function walk(
  orderBy: OrderBy<Post> | undefined,
  limit: number,
  between: () => Promise<unknown> = () => Promise.resolve(),
): Promise<Post[]> {
  const rows: Post[] = [];
  let after: string | undefined;
  do {
    const page = await db.api.posts.page({ limit, after, ...(orderBy !== undefined && { orderBy }) });
    expect(page.rows.length).toBeLessThanOrEqual(limit);
    rows.push(...page.rows);
    after = page.next;
    if (after !== undefined) {
      expect(page.rows).toHaveLength(limit);
      await between();
    }
  } while (after !== undefined);
  return rows;
}

describe('page refuses', () => {
  test.each([
    ['a limit of 0', { limit: 0 }, /limit is 0; give a whole number from 1/],
    ['a negative limit', { limit: -1 }, /limit is -1/],
    ['half a row', { limit: 1.5 }, /limit is 1\.5/],
    ['a limit as text', { limit: '10' }, /limit is "10"/],
    ['no end', { limit: Infinity }, /limit is Infinity/],
    ['an unknown option', { before: 'x' }, /unknown option "before"; use after, limit, orderBy, filter/],
    ['options that are no object', 'id', /options are a plain object, not "id"/],
    ['an unknown column', { orderBy: 'days' }, /has no column "days"; did you mean "day"\?/],
    ['the name of a column in SQL', { orderBy: 'kind_of_post' }, /has no column "kind_of_post"/],
    ['SQL for a column', { orderBy: 'id; DROP TABLE posts' }, /has no column/],
    ['SQL for a direction', { orderBy: { id: 'desc, (SELECT 1)' } }, /the direction of "id" is/],
    ['another word for a direction', { orderBy: { id: 'DESC' } }, /use 'asc' or 'desc'/],
    ['a direction that is undefined', { orderBy: { id: undefined } }, /the direction of "id" is undefined/],
    ['"constructor" as a column', { orderBy: 'constructor' }, /has no column "constructor"/],
    [
      'an own "__proto__" as a column',
      { orderBy: JSON.parse('{"__proto__":"asc"}') as unknown },
      /no column "__proto__"/,
    ],
    ['null as an order', { orderBy: null }, /orderBy takes a column's name or .* not null/],
    ['a function as an order', { orderBy: ['id', () => 'id'] }, /orderBy takes a column's name or .* not a function/],
    ['an order inside an order', { orderBy: [['id']] }, /orderBy takes a column's name or .* not an array/],
  ])('%s', async (_, options, message) => {
    expect(await refused(options)).toMatch(message);
  });

  test('a table without a primary key, which has nothing to break ties with', async () => {
    expect(await refused({}, db.api.lines)).toMatch(/no primary key to break ties with; use find/);
  });

  test('to go on where rows with NULL in their key cannot be told apart', async () => {
    await db.api.seats.insertMany([
      { row: 'a', seat: 1 },
      { row: null, seat: 1 },
      { row: null, seat: 1 },
    ] as never);
    expect(await refused({ limit: 1 }, db.api.seats)).toMatch(
      /several rows of "seats" have one primary key, with NULL/,
    );
    expect((await db.api.seats.page({ limit: 2 })).rows).toHaveLength(2);
  });
});

describe('a cursor is refused when it', () => {
  let next: string;
  beforeEach(async () => {
    await db.api.posts.insertMany(Array.from({ length: 4 }, (_, id) => ({ id, day: id >> 1, kind: 'note' })));
    await db.api.swapped.insertMany([{ title: 'a' }, { title: 'b' }]);
    next = (await db.api.posts.page({ limit: 1 })).next ?? '';
    expect(next).not.toBe('');
  });

  test.each([
    ['is empty', ''],
    ['is no base64', '!!!'],
    ['is JSON', '["posts by id asc",1]'],
    ['is JSON in base64', Buffer.from('["posts by id asc",1]').toString('base64url')],
    ['is a number', 7],
    ['is null', null],
    ['is an object', { id: 1 }],
    ['is SQL', '1 OR 1=1'],
  ])('%s', async (_, after) => {
    expect(await refused({ after })).toMatch(
      /"after" is .*; give the "next" of the page before, with the same orderBy/,
    );
  });

  test('belongs to another order', async () => {
    const options = { limit: 1, after: next };
    expect(await refused({ ...options, orderBy: 'day' })).toMatch(/"after" is a cursor of posts by id asc/);
    expect(await refused({ ...options, orderBy: { id: 'desc' } })).toMatch(/"after" is a cursor of posts by id asc/);
  });

  test('belongs to another table', async () => {
    expect(await refused({ after: next }, db.api.swapped)).toMatch(/"after" is a cursor of posts by id asc/);
  });

  test('was cut, extended or changed in any character', async () => {
    for (let at = 0; at < next.length; at++) {
      const other = next[at] === 'A' ? 'B' : 'A';
      await refused({ after: next.slice(0, at) + other + next.slice(at + 1) });
      await refused({ after: next.slice(0, at) });
    }
    for (const extra of ['=', '!', ' ', '\n', 'A', 'AA', 'AAAA']) await refused({ after: next + extra });
  });

  test('holds what no column holds', async () => {
    const checksum = (body: string): string => {
      let hash = 0x811c9dc5;
      for (let at = 0; at < body.length; at++) hash = Math.imul(hash ^ body.charCodeAt(at), 0x01000193);
      return (hash >>> 0).toString(16).padStart(8, '0');
    };
    const forge = (...values: unknown[]): string => {
      const body = JSON.stringify(['posts by id asc', ...values]);
      return Buffer.from(checksum(body) + body).toString('base64url');
    };
    expect((await db.api.posts.page({ after: forge(2) })).rows).toMatchObject([{ id: 3 }]);
    for (const value of [
      true,
      {},
      [],
      [1],
      { bigint: 1 },
      { bigint: '9'.repeat(19) },
      { number: 'NaN' },
      { blob: 1 },
    ]) {
      await refused({ after: forge(value) });
    }
    await refused({ after: forge() });
    await refused({ after: forge(1, 2) });
    // A position that nobody gave out is only another place to begin.
    expect((await db.api.posts.page({ after: forge("' OR 1=1 --") })).rows).toEqual([]);
  });
});

describe('page', () => {
  test('gives 50 rows by primary key, and no next at the end', async () => {
    await db.api.posts.insertMany(Array.from({ length: 101 }, (_, at) => ({ id: 101 - at, kind: 'note' })));
    const first = await db.api.posts.page();
    expect(first.rows.map(({ id }) => id)).toEqual(Array.from({ length: 50 }, (_, at) => at + 1));
    const second = await db.api.posts.page({ after: first.next });
    const third = await db.api.posts.page({ after: second.next });
    expect(third.rows.map(({ id }) => id)).toEqual([101]);
    expect(third.next).toBeUndefined();
  });

  test('has no next when the last row fills it, and is empty for an empty table', async () => {
    expect(await db.api.posts.page()).toEqual({ rows: [], next: undefined });
    await db.api.posts.insertMany([{ kind: 'a' }, { kind: 'b' }]);
    expect((await db.api.posts.page({ limit: 2 })).next).toBeUndefined();
  });

  test('takes the "after: undefined" of a first request, and a filter of its own each time', async () => {
    await db.api.posts.insertMany(Array.from({ length: 10 }, (_, id) => ({ id, day: id % 2, kind: 'note' })));
    const first = await db.api.posts.page({ after: undefined, limit: 2, filter: { day: 1 } });
    expect(first.rows.map(({ id }) => id)).toEqual([1, 3]);
    const second = await db.api.posts.page({ after: first.next, limit: 9, filter: { or: [{ day: 1 }, { id: 4 }] } });
    expect(second.rows.map(({ id }) => id)).toEqual([4, 5, 7, 9]);
  });

  test('orders by the column that was named, though another one is called so in the result', async () => {
    await db.api.swapped.insertMany([
      { id: 1, title: 'a', name: 'z' },
      { id: 2, title: 'b', name: 'y' },
      { id: 3, title: 'c', name: 'x' },
    ]);
    const titles: string[] = [];
    let after: string | undefined;
    do {
      const page = await db.api.swapped.page({ orderBy: 'title', limit: 1, after });
      titles.push(...page.rows.map(({ title }) => String(title)));
      after = page.next;
    } while (after !== undefined);
    expect(titles).toEqual(['a', 'b', 'c']);
    expect((await db.api.swapped.find({}, { orderBy: { name: 'asc' } })).map(({ id }) => id)).toEqual([3, 2, 1]);
    expect((await db.api.swapped.first({}, { orderBy: 'name' }))?.id).toBe(3);
  });

  test('walks integers that a double cannot hold', async () => {
    const all = Array.from({ length: 9 }, (_, at) => 2n ** 60n + BigInt(at));
    await db.api.amounts.insertMany(all.map((amount) => ({ amount })));
    const seen: bigint[] = [];
    let after: string | undefined;
    do {
      const page = await db.api.amounts.page({ limit: 2, after });
      seen.push(...page.rows.map(({ amount }) => amount));
      after = page.next;
    } while (after !== undefined);
    expect(seen).toEqual(all);
  });

  test('reads its ranges from one state of the data', async () => {
    await db.api.posts.insertMany(Array.from({ length: 6 }, (_, id) => ({ id, day: id >> 1, kind: 'note' })));
    const { next } = await db.api.posts.page({ orderBy: 'day', limit: 1 });
    const statements = vi.spyOn(Sqlite.prototype, 'prepare');
    try {
      const page = await db.api.posts.page({ orderBy: 'day', limit: 9, after: next });
      expect(page.rows.map(({ id }) => id)).toEqual([1, 2, 3, 4, 5]);
      expect(statements.mock.calls.map(([source]) => source)).toContain('BEGIN');
    } finally {
      statements.mockRestore();
    }
  });
});

describe('a page of an indexed order is read from where it begins:', () => {
  const orders: readonly (readonly [string, OrderBy<Post>, boolean])[] = [
    ['the primary key', 'id', true],
    ['the primary key, descending', { id: 'desc' }, true],
    ['a column that may be NULL', 'day', true],
    ['a column that may be NULL, descending', { day: 'desc' }, true],
    ['two columns', ['kind', 'day'], true],
    ['two columns, descending', [{ kind: 'desc' }, { day: 'desc' }], true],
    // No index has this order, but its first column's still finds where to begin.
    ['two columns of mixed directions', [{ kind: 'asc' }, { day: 'desc' }], false],
  ];
  test.each(orders)('%s', async (_, orderBy, sorted) => {
    await db.api.posts.insertMany(
      Array.from({ length: 40 }, (_, id) => ({ id, day: id % 5 === 0 ? null : id % 5, kind: String(id % 2) })),
    );
    const raw = dir.raw(dir.file('tables.db'));
    const seen = new Set<string>();
    const prepare = vi.spyOn(Sqlite.prototype, 'prepare');
    try {
      await walk(orderBy, 3);
      for (const [source] of prepare.mock.calls) if (/ WHERE .* ORDER BY /.test(source)) seen.add(source);
    } finally {
      prepare.mockRestore();
    }
    expect(seen.size).toBeGreaterThan(0);
    for (const source of seen) {
      const plan = raw.prepare<unknown[], { detail: string }>(`EXPLAIN QUERY PLAN ${source}`);
      const steps = plan.all(...Array.from(source.matchAll(/\?/g), () => 1)).map(({ detail }) => detail);
      expect(steps[0], source).toMatch(/^SEARCH posts USING /);
      if (sorted) expect(steps, source).toHaveLength(1);
    }
  });
});

// ---------------------------------------------------------------------------------------------------------------
// Any order, any rows

const COLUMNS = ['id', 'day', 'kind', 'score', 'at', 'digest', 'done'] as const;
const orders = fc
  .array(fc.tuple(fc.constantFrom(...COLUMNS), fc.constantFrom('asc' as const, 'desc' as const)), { maxLength: 4 })
  .map((terms) => terms.map(([column, direction]) => ({ [column]: direction })));
const rows = fc.array(
  fc.record({
    day: fc.option(fc.constantFrom(-1, 0, 1)),
    kind: fc.constantFrom('', 'a', 'B', 'ä', '\u{1F600}', '\uFFFD'),
    score: fc.option(fc.constantFrom(-Infinity, -0.1, 0, 0.1, 0.1 + Number.EPSILON, Infinity)),
    at: fc.option(fc.constantFrom(0, 1).map((ms) => new Date(ms))),
    digest: fc.option(fc.constantFrom('', '00', 'ff', '00ff').map((hex) => Buffer.from(hex, 'hex'))),
    done: fc.option(fc.boolean()),
  }),
  { minLength: 1, maxLength: 25 },
);

/** As SQLite orders: NULL first, text and blobs by their bytes. */
function compare(a: unknown, b: unknown): number {
  if (a === null || b === null) return Number(a !== null) - Number(b !== null);
  if (typeof a === 'string' && typeof b === 'string') return Buffer.compare(Buffer.from(a), Buffer.from(b));
  if (Buffer.isBuffer(a) && Buffer.isBuffer(b)) return Buffer.compare(a, b);
  return Number(a) < Number(b) ? -1 : Number(a) > Number(b) ? 1 : 0;
}

function sorted(given: readonly Post[], order: readonly Record<string, string>[]): number[] {
  const terms = order
    .flatMap((term) => Object.entries(term))
    .filter(([column], at, all) => all.findIndex(([first]) => first === column) === at);
  const [, last = 'asc'] = terms.at(-1) ?? [];
  const complete = [...terms, ['id', last] as const];
  return [...given]
    .sort((a, b) => {
      for (const [column, direction] of complete) {
        const result = compare(a[column as keyof Post], b[column as keyof Post]);
        if (result !== 0) return direction === 'asc' ? result : -result;
      }
      return 0;
    })
    .map(({ id }) => id);
}

test('pages follow each other in exactly the order that was asked for, with NULLs and duplicates', async () => {
  await fc.assert(
    fc.asyncProperty(rows, orders, fc.integer({ min: 1, max: 5 }), async (given, orderBy, limit) => {
      await db.api.posts.removeMany({ and: [] });
      const stored = given.map((row, id): Post => ({ ...row, id }));
      await db.api.posts.insertMany(stored);
      expect((await walk(orderBy, limit)).map(({ id }) => id)).toEqual(sorted(stored, orderBy));
    }),
    { numRuns: 200 },
  );
});

test('pages leave out no row and repeat none while others come and go between them', async () => {
  await fc.assert(
    fc.asyncProperty(rows, rows, orders, fc.infiniteStream(fc.nat()), async (given, others, orderBy, random) => {
      await db.api.posts.removeMany({ and: [] });
      const stored = given.map((row, at): Post => ({ ...row, id: at * 10 }));
      await db.api.posts.insertMany(stored);
      const next = (): number => random.next().value as number;
      const untouched = new Set(stored.map(({ id }) => id));
      // Never the id of one that went: that would be another row, which may come after what was seen under its id.
      const pending = others.map((row): Post => ({ ...row, id: (next() % 100) * 10 + 5 }));
      const seen = await walk(orderBy, 3, async () => {
        const come = pending.pop();
        if (come !== undefined && (await db.api.posts.get(come.id)) === undefined) await db.api.posts.insert(come);
        const gone = (next() % given.length) * 10;
        if (next() % 3 === 0 && (await db.api.posts.remove(gone))) untouched.delete(gone);
      });
      const ids = seen.map(({ id }) => id);
      expect(new Set(ids).size).toBe(ids.length);
      for (const id of untouched) expect(ids).toContain(id);
      expect(ids).toEqual(sorted(seen, orderBy));
    }),
    { numRuns: 100 },
  );
});
