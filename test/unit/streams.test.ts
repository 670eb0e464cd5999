/** What streams are made of where the contract does not look: definitions, `use`, other tables, contexts and traces. */
import { eq } from 'drizzle-orm';
import { blob, integer, primaryKey, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { describe, expect, test } from 'vitest';
import {
  defineAsyncRepository,
  defineRepositories,
  defineRepository,
  HandlerError,
  open,
  OptionError,
  type Repositories,
} from '../../src/index.ts';
import { createLedger, ledger } from '../support/ledger.ts';
import { collect, countCalls, exhaust, fill, iterate } from '../support/streaming.ts';
import { openLedger } from '../support/open-ledger.ts';
import { openTables } from '../support/open-tables.ts';
import { STRATEGIES } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { expectBlocked, rejection } from '../support/waiting.ts';

const notes = sqliteTable('notes', { id: integer().primaryKey(), text: text(), at: integer({ mode: 'timestamp_ms' }) });
const edges = sqliteTable('edges', { a: integer().notNull(), b: blob({ mode: 'buffer' }).notNull() }, (table) => [
  primaryKey({ columns: [table.a, table.b] }),
]);
const lines = sqliteTable('lines', { line: text() });
const DDL = `
  CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, at INTEGER);
  CREATE TABLE edges (a INTEGER NOT NULL, b BLOB NOT NULL, PRIMARY KEY (a, b));
  CREATE TABLE lines (line TEXT);
`;
const dir = useTempDir();

/** A repository that JavaScript defines: what the compiler refuses gets through. */
const anyhow = (definition: object) => defineRepository(notes, definition as never);
const anyhowAsync = (definition: object) => defineAsyncRepository(notes, definition as never);

describe('a definition is refused', () => {
  test.each<[name: string, repository: Repositories[string], message: RegExp]>([
    [
      'a generator function among the writes',
      anyhow({
        writes: () => ({
          *each() {
            yield 1;
          },
        }),
      }),
      /^notes\.writes\.each is a generator function: what it writes between its yields would come after its transaction/,
    ],
    [
      'an asynchronous generator function in a synchronous repository',
      anyhow({
        reads: () => ({
          async *each() {
            yield await Promise.resolve(1);
          },
        }),
      }),
      /^notes\.reads\.each is an async function/,
    ],
    [
      'a generator function in an asynchronous repository',
      anyhowAsync({
        reads: () => ({
          *each() {
            yield 1;
          },
        }),
      }),
      /^notes\.reads\.each is a generator function, and an asynchronous handler ends with its promise/,
    ],
    [
      'an asynchronous generator function in an asynchronous repository',
      anyhowAsync({
        writes: () => ({
          async *each() {
            yield await Promise.resolve(1);
          },
        }),
      }),
      /^notes\.writes\.each is a generator function, and an asynchronous handler ends with its promise/,
    ],
  ])('for %s', async (_, repository, message) => {
    const error = await rejection(openTables(dir, DDL, { notes: repository }), HandlerError);
    expect(error.message).toMatch(message);
  });

  test('at the call, for an asynchronous handler that gives an iterator', async () => {
    const lazy = defineAsyncRepository(notes, {
      reads: () => ({ lazily: (): Promise<unknown> => Promise.resolve([1].values()) }),
      writes: (db) => ({
        lazily2: async (): Promise<unknown> => {
          await db.insert(notes).values({ id: 1 });
          return (async function* () {
            yield await db.select().from(notes);
          })();
        },
      }),
    });
    const db = await openTables(dir, DDL, { notes: lazy });
    expect((await rejection(db.api.notes.lazily(), HandlerError)).message).toMatch(
      /^notes\.lazily returned an iterator/,
    );
    expect(await rejection(db.api.notes.lazily2(), HandlerError)).toMatchObject({ outcome: 'rolled-back' });
    expect(await db.api.notes.count()).toBe(0);
  });
});

describe('in a handler', () => {
  const noteRepository = defineRepository(notes, {
    reads: (db, { use }) => ({
      /** By the table's own stream. */
      *texts(batch: number) {
        for (const { text } of use(noteReads).stream({ text: { isNull: false } }, { batch })) yield text;
      },
      longest: (batch: number) => {
        let longest = '';
        for (const { text } of use(noteReads).stream({}, { batch }))
          if ((text ?? '').length > longest.length) longest = text ?? '';
        return longest;
      },
      mistaken: (options: unknown) => [...use(noteReads).stream({}, options as never)].length,
      byText: (wanted: string) => db.select().from(notes).where(eq(notes.text, wanted)).all(),
    }),
    writes: (_db, { use }) => ({
      copy: () => {
        let copied = 0;
        for (const wanted of use(noteRepository2).texts(2)) {
          use(noteReads).insert({ text: `copy of ${wanted}` });
          if (++copied === 5) break;
        }
        return copied;
      },
    }),
  });
  const noteReads = defineRepository(notes);
  const noteRepository2 = defineRepository(notes, {
    reads: (_db, { use }) => ({
      *texts(batch: number): Generator<string | null> {
        for (const { text } of use(noteReads).stream({}, { batch })) yield text;
      },
    }),
  });
  const awaiting = defineAsyncRepository(notes, {
    reads: (_db, { use }) => ({
      followed: async (batch: number) => {
        const texts: (string | null)[] = [];
        for (const text of use(noteRepository2).texts(batch)) {
          await Promise.resolve();
          texts.push(text);
          if (texts.length === 3) break;
        }
        for await (const { text } of use(awaitingTable).stream({}, { batch, orderBy: { id: 'desc' } }))
          texts.push(text);
        for (const { text } of use(noteReads).stream({}, { batch })) texts.push(text);
        return texts;
      },
      mistaken: async (): Promise<number> => {
        let seen = 0;
        for await (const row of use(awaitingTable).stream({}, { batch: 0 })) seen += row.id;
        return seen;
      },
      kept: async (): Promise<(string | null)[]> => {
        const texts = use(noteRepository2).texts(1);
        texts.next();
        await Promise.resolve();
        setImmediate(() => {
          try {
            texts.next();
          } catch (error) {
            late.push(error);
          }
        });
        return [];
      },
    }),
  });
  const awaitingTable = defineAsyncRepository(notes);
  const late: unknown[] = [];
  const openNotes = async () => {
    const db = await openTables(dir, DDL, { notes: noteRepository, awaiting });
    await db.api.notes.insertMany(Array.from({ length: 5 }, (_, at) => ({ text: 'x'.repeat(at + 1) })));
    return db;
  };

  test('a table’s stream is plain iteration, a batch at a time, and each call sees one state', async () => {
    const db = await openNotes();
    expect(await db.api.notes.longest(2)).toBe('xxxxx');
    expect(await collect(db.api.notes.texts(2))).toEqual(['x', 'xx', 'xxx', 'xxxx', 'xxxxx']);
    expect(await db.transaction((api) => api.notes.longest(1))).toBe('xxxxx');
  });

  test('a write may follow what a read yields', async () => {
    const db = await openNotes();
    expect(await db.api.notes.copy()).toBe(5);
    expect(await db.api.notes.byText('copy of xxx')).toHaveLength(1);
    expect(await db.api.notes.count()).toBe(10);
  });

  test('wrong options are refused by name, and consistency is the call’s', async () => {
    const db = await openNotes();
    expect((await rejection(db.api.notes.mistaken({ batch: -1 }), OptionError)).message).toMatch(
      /^notes\.stream: "batch" is -1/,
    );
    expect((await rejection(db.api.notes.mistaken({ consistent: true }), OptionError)).message).toBe(
      'notes.stream: unknown option "consistent"; use batch, orderBy',
    );
    expect((await rejection(db.api.awaiting.mistaken(), OptionError)).message).toMatch(/^notes\.stream: "batch" is 0/);
  });

  test('that awaits, both kinds of streams are followed, and end with the call', async () => {
    const db = await openNotes();
    const texts = ['x', 'xx', 'xxx', 'xxxx', 'xxxxx'];
    expect(await db.api.awaiting.followed(2)).toEqual([...texts.slice(0, 3), ...texts.toReversed(), ...texts]);
    await db.api.awaiting.kept();
    await new Promise(setImmediate);
    expect(late).toEqual([expect.objectContaining({ name: 'ContextError' })]);
  });
});

describe('a table', () => {
  test('with a composite key of bytes, or decoded columns, is streamed as it is stored', async () => {
    const edgeRepository = defineRepository(edges, { key: ['a', 'b'] });
    const noteRepository = defineRepository(notes);
    const db = await openTables(dir, DDL, { edges: edgeRepository, notes: noteRepository });
    const rows = Array.from({ length: 9 }, (_, at) => ({ a: at % 3, b: Buffer.from([at, 255]) }));
    await db.api.edges.insertMany(rows);
    const streamed = await collect(db.api.edges.stream({}, { batch: 2, orderBy: { b: 'desc' } }));
    expect(streamed).toEqual(rows.toReversed());
    await db.api.notes.insertMany([1, 2, 3].map((id) => ({ id, at: new Date(id) })));
    expect((await collect(db.api.notes.stream({}, { batch: 1, orderBy: { at: 'desc' } }))).map(({ at }) => at)).toEqual(
      [3, 2, 1].map((at) => new Date(at)),
    );
  });

  test('without a primary key cannot be streamed', async () => {
    const lineRepository = defineRepository(lines);
    const db = await openTables(dir, DDL, { lines: lineRepository });
    const error = await rejection(collect(db.api.lines.stream()), OptionError);
    expect(error.message).toBe('lines.stream: table "lines" has no primary key to break ties with; use find');
  });

  test('keeps a method of its own called stream or page, and the other one still works', async () => {
    const own = defineRepository(notes, { reads: () => ({ stream: (word: string) => word.length }) });
    const paged = defineRepository(notes, { writes: () => ({ page: () => 'mine' as const }) });
    const written = defineRepository(notes, { writes: () => ({ stream: () => 'written' as const }) });
    const db = await openTables(dir, DDL, { own, paged, written });
    expect(await db.api.own.stream('four')).toBe(4);
    expect(await db.api.written.stream()).toBe('written');
    await db.api.paged.insertMany([{ id: 1 }, { id: 2 }, { id: 3 }]);
    expect(await db.api.paged.page()).toBe('mine');
    expect((await collect(db.api.paged.stream({}, { batch: 2 }))).map(({ id }) => id)).toEqual([1, 2, 3]);
  });

  test('in memory is streamed from one state, though the body writes', async () => {
    const migrations = new URL('../../drizzle', import.meta.url);
    const { url, repositories } = ledger;
    const accountsOnly = defineRepositories(url, { accounts: repositories.accounts });
    const db = await open({ file: ':memory:', repositories: accountsOnly, migrations });
    dir.atEnd(() => db.close());
    await db.api.accounts.insertMany(Array.from({ length: 9 }, (_, at) => ({ owner: `owner ${at}` })));
    const owners: string[] = [];
    for await (const { id, owner } of db.api.accounts.stream({}, { batch: 2, consistent: true })) {
      await db.api.accounts.update(10 - id, { owner: 'changed' });
      owners.push(owner);
    }
    expect(owners).toEqual(Array.from({ length: 9 }, (_, at) => `owner ${at}`));
    expect(await db.api.accounts.count({ owner: 'changed' })).toBe(9);
  });
});

describe('a consistent stream that gives way', () => {
  // | consumer                    | stream                                       |
  // |-----------------------------|----------------------------------------------|
  // | pulls                       | holds the only reader                        |
  // | (its body) takes a snapshot | reads the rest, and meets what it cannot     |
  // |                             | decode: gives the reader back all the same   |
  // | has its snapshot            |                                              |
  // | pulls on                    | gives the rows before, then the error        |
  test('also gives the connection back when it fails at that', async () => {
    const pages = sqliteTable('pages', { id: integer().primaryKey(), json: text({ mode: 'json' }) });
    const tables = `
      CREATE TABLE pages (id INTEGER PRIMARY KEY, json TEXT);
      WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
        INSERT INTO pages SELECT i, iif(i = 2500, '{broken', '{}') FROM n;
    `;
    const db = await openTables(dir, tables, { pages: defineRepository(pages) }, { readers: 1, timeout: 2000 });
    const rows = iterate(db.api.pages.stream({}, { batch: 10, consistent: true }));
    await rows.next();
    expect(await db.snapshot((api) => api.pages.count())).toBe(3000);
    const { items, error } = await exhaust(rows);
    expect(error).toBeInstanceOf(SyntaxError);
    expect(items.length).toBeGreaterThan(8);
    expect(db.stats().streams.pinning).toBe(0);
  });
});

for (const strategy of STRATEGIES) {
  describe(strategy.name, () => {
    test('a listener hears of each batch as of any call, with the label of its context', async () => {
      const db = await openLedger(dir, strategy);
      await fill(db, 250);
      const calls = [countCalls(dir, 'entries.stream'), countCalls(dir, 'entries.each')];
      await collect(db.api.entries.stream({}, { batch: 50 }));
      await collect(db.api.entries.stream({}, { batch: 50, consistent: true }));
      await db.snapshot((api) => collect(api.entries.stream({}, { batch: 50 })));
      expect(calls[0]?.begun).toBe(15);
      await collect(db.api.entries.each(10));
      expect(calls[1]?.begun).toBeGreaterThanOrEqual(3);
    });

    test('a handler that yields outlives a moment in which nobody may read', async () => {
      // | another connection, with a rollback journal | handler                       |
      // |---------------------------------------------|-------------------------------|
      // |                                             | yields                        |
      // | BEGIN EXCLUSIVE                             |                               |
      // |                                             | is pulled, and has to wait    |
      // | ROLLBACK                                    |                               |
      // |                                             | goes on where it stood        |
      createLedger(dir.file());
      const other = dir.raw();
      const insert = other.prepare("INSERT INTO entries (call, part) VALUES ('a', ?)");
      for (let part = 1; part <= 250; part++) insert.run(part);
      const db = await openLedger(dir, strategy, { readonly: true });
      expect(db.decision.facts.journalMode).toBe('delete');
      const rows = iterate(db.api.entries.each(10));
      await rows.next();
      other.exec('BEGIN EXCLUSIVE');
      const rest = exhaust(rows);
      await expectBlocked(rest);
      other.exec('ROLLBACK');
      const { items, error } = await rest;
      expect(error).toBeUndefined();
      expect(items).toHaveLength(249);
    });

    test('the label of the context that made it comes before that of the one it is pulled in', async () => {
      const db = await openLedger(dir, strategy);
      await fill(db, 3);
      const rows = db.context({ label: 'made' }, () =>
        iterate(db.api.entries.stream({}, { batch: 1, consistent: true })),
      );
      await db.context({ label: 'pulled' }, () => rows.next());
      expect(db.stats().streams.oldest?.label).toBe('entries.stream in made');
      await rows.return();
    });
  });
}
