import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/better-sqlite3';
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isForeignKeyFailure, translateError } from '../../src/connection/sqlite-errors.ts';
import {
  BusyError,
  ConstraintError,
  CorruptError,
  HandlerError,
  ReadOnlyError,
  StorageError,
} from '../../src/errors.ts';

const accounts = sqliteTable('accounts', {
  id: integer().primaryKey(),
  email: text().unique(),
  owner: text().notNull(),
  cents: integer().notNull().default(0),
});

const SCHEMA = `
  CREATE TABLE accounts (
    id INTEGER PRIMARY KEY, email TEXT, owner TEXT NOT NULL, cents INTEGER NOT NULL DEFAULT 0, limit_ INTEGER,
    CONSTRAINT "cents_not_negative" CHECK ("accounts"."cents" >= 0), CHECK (limit_ > 1)
  );
  CREATE UNIQUE INDEX accounts_email_unique ON accounts (email);
  CREATE TABLE days (branch INTEGER, day TEXT, closed INTEGER, note TEXT, UNIQUE (branch, day));
  CREATE UNIQUE INDEX days_open ON days (branch) WHERE closed = 0;
  CREATE UNIQUE INDEX days_note ON days (branch, lower(note));
  CREATE TABLE pairs (k TEXT, l TEXT, PRIMARY KEY (k, l)) WITHOUT ROWID;
  CREATE TABLE loose (v TEXT);
  CREATE TABLE exact (id INTEGER PRIMARY KEY, v INTEGER, data ANY) STRICT;
  CREATE TABLE "a.b" ("c, d" TEXT UNIQUE, "e.f" TEXT NOT NULL DEFAULT '', "z z" INTEGER CHECK ("z z" > 0));
  CREATE TABLE positive1 (v INTEGER CHECK (v > 0));
  CREATE TABLE positive2 (v INTEGER CHECK (v > 0));
  CREATE TABLE entries (id INTEGER PRIMARY KEY, account INTEGER REFERENCES accounts ON DELETE RESTRICT);
  CREATE TRIGGER entries_closed BEFORE INSERT ON entries WHEN new.id = 1 BEGIN SELECT RAISE(ABORT, 'the book''s closed'); END;
  CREATE TRIGGER entries_undo BEFORE INSERT ON entries WHEN new.id = 2 BEGIN SELECT RAISE(ROLLBACK, 'undo it all'); END;
  CREATE VIRTUAL TABLE boxes USING rtree (id, x0, x1);
`;

let folder: string;
let handle: Database.Database;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-errors-'));
  handle = new Database(join(folder, 'test.db'), { timeout: 0 });
  handle.exec(SCHEMA);
});

afterEach(() => {
  handle.close();
  rmSync(folder, { recursive: true });
});

function thrownBy(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

/** What the statement fails with, translated with and without a schema to ask. */
function failure(statement: string, on: Database.Database = handle): { known: unknown; blind: unknown; raw: unknown } {
  const raw = thrownBy(() => on.exec(statement));
  return {
    raw,
    known: translateError(raw, { operation: 'accounts.add', handle: on }),
    blind: translateError(raw, { operation: 'accounts.add' }),
  };
}

/** As drizzle-orm v1 wraps: no name of its own, the parameters in its message. */
function wrapped(cause: unknown, params: unknown[] = []): Error {
  const error = new Error(`Failed query: insert into x\nparams: ${params.join()}`, { cause });
  return Object.assign(error, { query: 'insert into x', params });
}

describe('what is not an error of SQLite', () => {
  it("gives a handler's own exception back unchanged", () => {
    const own = new RangeError('insufficient funds');
    expect(translateError(own, { operation: 'x', handle })).toBe(own);
  });

  it("does not look behind a handler's own exception, whatever its cause", () => {
    const own = new RangeError('account is taken', { cause: failure('INSERT INTO accounts (id) VALUES (1)').raw });
    expect(translateError(own, { operation: 'x', handle })).toBe(own);
  });

  it('gives back what is thrown and is no error', () => {
    for (const thrown of [undefined, null, 'text', 7, { code: 'SQLITE_FULL' }]) {
      expect(translateError(thrown, { operation: 'x' })).toBe(thrown);
    }
  });

  it('ends on a chain of causes that bites its own tail', () => {
    const error = wrapped(undefined);
    error.cause = wrapped(error);
    expect(translateError(error, { operation: 'x' })).toBe(error);
  });

  it("gives a SluiceError back as it is, from inside Drizzle's wrapper too", () => {
    const inner = new HandlerError('un-run query');
    expect(translateError(inner, { operation: 'x' })).toBe(inner);
    expect(translateError(wrapped(wrapped(inner)), { operation: 'x' })).toBe(inner);
  });

  it("passes a mistake in SQL through as better-sqlite3's own error", () => {
    const db = drizzle(handle);
    const error = translateError(
      thrownBy(() => db.run(sql`SELEC 1`)),
      { operation: 'x', handle },
    );
    expect(error).toBeInstanceOf(Database.SqliteError);
    expect(error).toMatchObject({ code: 'SQLITE_ERROR' });
  });

  it('leaves the TypeErrors of better-sqlite3 alone', () => {
    const closed = new Database(':memory:').close();
    const error = thrownBy(() => closed.prepare('SELECT 1'));
    expect(translateError(error, { operation: 'x', handle: closed })).toBe(error);
  });
});

describe('the wrappers of Drizzle', () => {
  beforeEach(() => {
    handle.exec("INSERT INTO accounts (id, email, owner) VALUES (1, 'secret@example.com', 'ann')");
  });

  const taken = { kind: 'unique', table: 'accounts', columns: ['email'], constraint: 'accounts_email_unique' };

  it('are absent around a builder of 0.45', () => {
    const db = drizzle(handle);
    const query = db.insert(accounts).values({ email: 'secret@example.com', owner: 'bob' });
    const raw = thrownBy(() => query.run());
    expect(translateError(raw, { operation: 'x', handle })).toMatchObject({ ...taken, cause: raw });
  });

  it('are opened around db.run(sql``) of 0.45', () => {
    const db = drizzle(handle);
    const statement = sql`INSERT INTO accounts (email, owner) VALUES (${'secret@example.com'}, 'bob')`;
    const raw = thrownBy(() => db.run(statement));
    expect(raw).toMatchObject({ name: 'DrizzleError' });
    expect(translateError(raw, { operation: 'x', handle })).toMatchObject({ ...taken, cause: (raw as Error).cause });
  });

  it('are opened as v1 makes them, and their parameters stay behind', () => {
    const { raw } = failure("INSERT INTO accounts (email, owner) VALUES ('secret@example.com', 'bob')");
    const error = translateError(wrapped(raw, ['secret@example.com']), { operation: 'x', handle });
    expect(error).toMatchObject({ ...taken, cause: raw });
    for (let at = error; at instanceof Error; at = at.cause) expect(at.message).not.toContain('secret');
  });

  it('do not hide an error of a second copy of better-sqlite3', () => {
    const foreign = Object.assign(new Error('UNIQUE constraint failed: accounts.email'), {
      name: 'SqliteError',
      code: 'SQLITE_CONSTRAINT_UNIQUE',
    });
    expect(translateError(wrapped(foreign), { operation: 'x', handle })).toMatchObject(taken);
  });
});

describe('a constraint', () => {
  it('says operation, what went wrong and what to do', () => {
    handle.exec("INSERT INTO accounts (email, owner) VALUES ('a', 'ann')");
    const { known } = failure("INSERT INTO accounts (email, owner) VALUES ('a', 'bob')");
    expect(known).toBeInstanceOf(ConstraintError);
    expect((known as Error).message).toBe(
      'accounts.add: a row with the same accounts.email exists already (unique index "accounts_email_unique"); ' +
        'give another value, or upsert',
    );
  });

  // Each: how it is provoked, what is found with the schema at hand, and what its text alone gives away.
  const cases: Record<string, { statement: string; known: object; blind?: object }> = {
    'unique over several columns': {
      statement: "INSERT INTO days (branch, day) VALUES (1, 'm'), (1, 'm')",
      known: { kind: 'unique', table: 'days', columns: ['branch', 'day'], constraint: undefined },
    },
    'unique by a partial index': {
      statement: 'INSERT INTO days (branch, closed) VALUES (1, 0), (1, 0)',
      known: { kind: 'unique', table: 'days', columns: ['branch'], constraint: 'days_open' },
      blind: { kind: 'unique', table: 'days', columns: ['branch'], constraint: undefined },
    },
    'unique by an index with an expression': {
      statement: "INSERT INTO days (branch, note) VALUES (1, 'a'), (1, 'A')",
      known: { kind: 'unique', table: 'days', columns: ['branch'], constraint: 'days_note' },
      blind: { kind: 'unique', table: undefined, columns: [], constraint: 'days_note' },
    },
    'unique in a table with dots and commas in its names': {
      statement: `INSERT INTO "a.b" ("c, d") VALUES ('x'), ('x')`,
      known: { kind: 'unique', table: 'a.b', columns: ['c, d'] },
      blind: { kind: 'unique' },
    },
    'primary key that is the rowid': {
      statement: "INSERT INTO accounts (id, owner) VALUES (1, 'a'), (1, 'b')",
      known: { kind: 'primary-key', table: 'accounts', columns: ['id'], constraint: undefined },
    },
    'primary key WITHOUT ROWID': {
      statement: "INSERT INTO pairs VALUES ('a', 'b'), ('a', 'b')",
      known: { kind: 'primary-key', table: 'pairs', columns: ['k', 'l'], constraint: undefined },
    },
    'rowid without a name': {
      statement: 'INSERT INTO loose (rowid) VALUES (1), (1)',
      known: { kind: 'primary-key', table: 'loose', columns: ['rowid'], constraint: undefined },
    },
    'not null': {
      statement: 'INSERT INTO accounts (id) VALUES (1)',
      known: { kind: 'not-null', table: 'accounts', columns: ['owner'], constraint: undefined },
    },
    'not null with a dot in the name': {
      statement: `INSERT INTO "a.b" ("e.f") VALUES (NULL)`,
      known: { kind: 'not-null', table: 'a.b', columns: ['e.f'] },
      blind: { kind: 'not-null' },
    },
    'check with a name': {
      statement: "INSERT INTO accounts (owner, cents) VALUES ('a', -1)",
      known: { kind: 'check', table: 'accounts', columns: [], constraint: 'cents_not_negative' },
      blind: { kind: 'check', table: undefined, columns: [], constraint: 'cents_not_negative' },
    },
    'check without a name': {
      statement: "INSERT INTO accounts (owner, limit_) VALUES ('a', 0)",
      known: { kind: 'check', table: 'accounts', columns: [], constraint: undefined },
      blind: { kind: 'check', table: undefined, columns: [], constraint: undefined },
    },
    'check that begins with a quoted name': {
      statement: `INSERT INTO "a.b" ("z z") VALUES (0)`,
      known: { kind: 'check', table: 'a.b', columns: [], constraint: undefined },
      blind: { kind: 'check', table: undefined },
    },
    'check that two tables have': {
      statement: 'INSERT INTO positive1 VALUES (0)',
      known: { kind: 'check', table: undefined, columns: [], constraint: undefined },
    },
    'datatype of a STRICT table': {
      statement: "INSERT INTO exact (v) VALUES ('abc')",
      known: { kind: 'datatype', table: 'exact', columns: ['v'], constraint: undefined },
    },
    'RAISE(ABORT) of a trigger': {
      statement: 'INSERT INTO entries (id) VALUES (1)',
      known: { kind: 'check', table: 'entries', columns: [], constraint: 'entries_closed' },
      blind: { kind: 'check', table: undefined, columns: [], constraint: undefined },
    },
    'RAISE(ROLLBACK) of a trigger': {
      statement: 'INSERT INTO entries (id) VALUES (2)',
      known: { kind: 'check', table: 'entries', constraint: 'entries_undo' },
      blind: { kind: 'check', table: undefined },
    },
    'rule of a virtual table': {
      statement: 'INSERT INTO boxes VALUES (1, 9, 1)',
      known: { kind: 'check', table: undefined, columns: [], constraint: undefined },
    },
    'foreign key that nobody looked for': {
      statement: 'INSERT INTO entries VALUES (9, 99)',
      known: { kind: 'foreign-key', table: undefined, columns: [], constraint: undefined },
    },
  };
  for (const [name, { statement, known, blind = known }] of Object.entries(cases)) {
    it(`is named: ${name}`, () => {
      const found = failure(statement);
      expect(found.known).toBeInstanceOf(ConstraintError);
      expect(found.known).toMatchObject({ ...known, code: 'SLUICE_CONSTRAINT', cause: found.raw });
      expect(found.blind).toMatchObject(blind);
    });
  }

  it('is translated even when its handle is busy or closed', () => {
    const { raw } = failure('INSERT INTO accounts (id) VALUES (1)');
    const expected = { kind: 'not-null', table: 'accounts', columns: ['owner'] };
    const rows = handle.prepare('SELECT 1 UNION SELECT 2').iterate();
    rows.next();
    expect(translateError(raw, { operation: 'x', handle })).toMatchObject(expected);
    rows.return?.();
    expect(translateError(raw, { operation: 'x', handle: new Database(':memory:').close() })).toMatchObject(expected);
  });

  it('is found on a handle that gives integers as bigint', () => {
    handle.defaultSafeIntegers(true);
    const { known } = failure("INSERT INTO days (branch, note) VALUES (1, 'a'), (1, 'A')");
    expect(known).toMatchObject({ table: 'days', columns: ['branch'], constraint: 'days_note' });
  });
});

describe('a foreign key', () => {
  const key = { table: 'entries', columns: ['account'], parent: 'accounts', parentColumns: ['id'] };

  it('is named by what the caller found', () => {
    const { raw } = failure('INSERT INTO entries VALUES (9, 99)');
    const error = translateError(raw, { operation: 'entries.add', foreignKeys: () => [key] });
    expect(error).toMatchObject({ kind: 'foreign-key', table: 'entries', columns: ['account'] });
    expect((error as Error).message).toBe(
      'entries.add: the accounts row (id) that entries (account) refers to does not exist; ' +
        'insert the parent row first, and keep it while rows refer to it',
    );
  });

  it('is told from a trigger where RESTRICT comes as one', () => {
    handle.exec("INSERT INTO accounts (id, owner) VALUES (1, 'ann'); INSERT INTO entries VALUES (9, 1)");
    const { raw, known } = failure('DELETE FROM accounts');
    expect(raw).toMatchObject({ code: 'SQLITE_CONSTRAINT_TRIGGER' });
    expect(isForeignKeyFailure(wrapped(raw))).toBe(true);
    expect(known).toMatchObject({ kind: 'foreign-key' });
  });

  it('is not looked for when something else failed', () => {
    const { raw } = failure('INSERT INTO accounts (id) VALUES (1)');
    expect(isForeignKeyFailure(raw)).toBe(false);
    const foreignKeys = () => expect.unreachable();
    expect(translateError(raw, { operation: 'x', foreignKeys })).toMatchObject({ kind: 'not-null' });
  });

  it('stays a foreign key error when looking for it fails', () => {
    const { raw } = failure('INSERT INTO entries VALUES (9, 99)');
    const foreignKeys = () => {
      throw new Error('closed');
    };
    expect(translateError(raw, { operation: 'x', foreignKeys })).toMatchObject({ kind: 'foreign-key', cause: raw });
  });
});

describe('the environment', () => {
  it('is busy when another handle holds the write lock', () => {
    using other = disposable(new Database(handle.name, { timeout: 0 }));
    other.handle.exec('BEGIN IMMEDIATE');
    expect(failure('BEGIN IMMEDIATE').known).toBeInstanceOf(BusyError);
  });

  it('is busy when a read transaction wants to write after somebody else did', () => {
    handle.pragma('journal_mode = WAL');
    using other = disposable(new Database(handle.name, { timeout: 0 }));
    handle.exec('BEGIN; SELECT * FROM accounts');
    other.handle.exec("INSERT INTO accounts (owner) VALUES ('ann')");
    const { raw, known } = failure("INSERT INTO accounts (owner) VALUES ('bob')");
    expect(raw).toMatchObject({ code: 'SQLITE_BUSY_SNAPSHOT' });
    expect(known).toBeInstanceOf(BusyError);
    expect((known as Error).message).toContain('BEGIN IMMEDIATE');
    handle.exec('ROLLBACK');
  });

  it('is read-only under query_only', () => {
    handle.pragma('query_only = ON');
    const { known } = failure("INSERT INTO accounts (owner) VALUES ('ann')");
    expect(known).toBeInstanceOf(ReadOnlyError);
    expect((known as Error).message).toMatch(/^accounts\.add: .*; write in a write handler/);
  });

  it('is read-only on a handle opened for reading', () => {
    using other = disposable(new Database(handle.name, { readonly: true }));
    const { known } = failure("INSERT INTO accounts (owner) VALUES ('ann')", other.handle);
    expect(known).toBeInstanceOf(ReadOnlyError);
  });

  it('fails in its storage when the file was removed', () => {
    rmSync(handle.name);
    const { raw, known } = failure("INSERT INTO accounts (owner) VALUES ('ann')");
    expect(raw).toMatchObject({ code: 'SQLITE_READONLY_DBMOVED' });
    expect(known).toBeInstanceOf(StorageError);
  });

  it('fails in its storage when the database is full', () => {
    const pages = Number(handle.pragma('page_count', { simple: true }));
    handle.pragma(`max_page_count = ${pages}`);
    const { known } = failure('INSERT INTO loose VALUES (hex(randomblob(100000)))');
    expect(known).toBeInstanceOf(StorageError);
    expect((known as Error).message).toContain('max_page_count');
  });

  it('fails in its storage when the file cannot be opened', () => {
    const raw = thrownBy(() => new Database(folder));
    expect(translateError(raw, { operation: 'open' })).toBeInstanceOf(StorageError);
  });

  it('is corrupt when the file is not a database', () => {
    const file = join(folder, 'notes.txt');
    writeFileSync(file, 'these are not the pages of a database\n'.repeat(100));
    using other = disposable(new Database(file));
    const { known } = failure('SELECT * FROM sqlite_schema', other.handle);
    expect(known).toBeInstanceOf(CorruptError);
  });

  it('has a class for every result code that the machine can be blamed for', () => {
    const classes = {
      SQLITE_LOCKED: BusyError,
      SQLITE_LOCKED_SHAREDCACHE: BusyError,
      SQLITE_BUSY_RECOVERY: BusyError,
      SQLITE_READONLY_DIRECTORY: StorageError,
      SQLITE_READONLY_CANTLOCK: StorageError,
      SQLITE_IOERR: StorageError,
      SQLITE_IOERR_FSYNC: StorageError,
      SQLITE_PROTOCOL: StorageError,
      SQLITE_CORRUPT_VTAB: CorruptError,
    };
    for (const [code, Class] of Object.entries(classes)) {
      const raw = new Database.SqliteError('it failed', code);
      expect(translateError(raw, { operation: 'x' }), code).toBeInstanceOf(Class);
    }
  });

  it('is not blamed for what a statement asks for', () => {
    for (const code of ['SQLITE_MISUSE', 'SQLITE_TOOBIG', 'SQLITE_RANGE', 'SQLITE_MISMATCH', 'SQLITE_AUTH']) {
      const raw = new Database.SqliteError('it failed', code);
      expect(translateError(wrapped(raw), { operation: 'x' }), code).toBe(raw);
    }
  });
});

function disposable(opened: Database.Database): Disposable & { readonly handle: Database.Database } {
  return { handle: opened, [Symbol.dispose]: () => void opened.close() };
}
