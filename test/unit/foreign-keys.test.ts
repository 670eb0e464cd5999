import Database from 'better-sqlite3';
import { eq } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/better-sqlite3';
import { integer, sqliteTable } from 'drizzle-orm/sqlite-core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  distinctKeys,
  explainForeignKey,
  newViolations,
  violatedForeignKeys,
} from '../../src/connection/foreign-keys.ts';

const SCHEMA = `
  CREATE TABLE accounts (id INTEGER PRIMARY KEY, v INTEGER);
  CREATE TABLE branches (country TEXT, number INTEGER, PRIMARY KEY (country, number)) WITHOUT ROWID;
  CREATE TABLE transfers (
    id INTEGER PRIMARY KEY,
    source INTEGER REFERENCES accounts,
    kept INTEGER REFERENCES accounts (id) ON DELETE RESTRICT ON UPDATE RESTRICT,
    later INTEGER REFERENCES accounts (id) DEFERRABLE INITIALLY DEFERRED
  );
  CREATE TABLE visits (who TEXT PRIMARY KEY, land TEXT, nr INTEGER, FOREIGN KEY (land, nr) REFERENCES branches) WITHOUT ROWID;
  CREATE TRIGGER fatal BEFORE INSERT ON transfers WHEN new.id = 666 BEGIN SELECT RAISE(ROLLBACK, 'over'); END;
  INSERT INTO accounts (id) VALUES (1), (2), (3);
  INSERT INTO transfers (id, source, kept, later) VALUES (1, 1, NULL, NULL), (2, NULL, 2, NULL), (3, NULL, NULL, 3);
`;

const source = { table: 'transfers', columns: ['source'], parent: 'accounts', parentColumns: ['id'] };
const kept = { ...source, columns: ['kept'] };
const later = { ...source, columns: ['later'] };
const branch = { table: 'visits', columns: ['land', 'nr'], parent: 'branches', parentColumns: ['country', 'number'] };

let handle: Database.Database;

beforeEach(() => {
  handle = new Database(':memory:');
  handle.exec(SCHEMA);
});

afterEach(() => {
  expect(handle.pragma('integrity_check', { simple: true })).toBe('ok');
  handle.close();
});

/** Orphans from the days when foreign keys were off. */
function withoutForeignKeys(statement: string): void {
  handle.pragma('foreign_keys = OFF');
  handle.exec(statement);
  handle.pragma('foreign_keys = ON');
}

/** Everything a user can see of the database and its transaction. */
function state(): unknown {
  const rows = ['accounts', 'branches', 'transfers', 'visits'].map((t) => handle.prepare(`SELECT * FROM ${t}`).all());
  return { rows, open: handle.inTransaction, deferred: handle.pragma('defer_foreign_keys', { simple: true }) };
}

/** Runs `statement`, sees it fail, and explains it as a caller would. */
function explain(statement: string): ReturnType<typeof explainForeignKey> {
  const prepared = handle.prepare(statement);
  expect(() => prepared.run()).toThrow('FOREIGN KEY constraint failed');
  const before = state();
  const explanation = explainForeignKey(handle, () => void prepared.run());
  expect(state()).toEqual(before);
  return explanation;
}

describe('explaining an immediate failure', () => {
  it('says nothing, and throws nothing, on a closed handle', () => {
    const closed = new Database(':memory:').close();
    expect(explainForeignKey(closed, () => undefined)).toEqual({ keys: [], transaction: 'kept' });
  });

  it('says nothing while an iterator is open', () => {
    const rows = handle.prepare('SELECT * FROM accounts').iterate();
    rows.next();
    expect(explainForeignKey(handle, () => undefined)).toEqual({ keys: [], transaction: 'kept' });
    rows.return?.();
  });

  it('says nothing about a statement that violates nothing', () => {
    handle.exec('BEGIN');
    const run = () => void handle.exec('INSERT INTO accounts (id) VALUES (9)');
    expect(explainForeignKey(handle, run)).toEqual({ keys: [], transaction: 'kept' });
    expect(handle.prepare('SELECT * FROM accounts WHERE id = 9').get()).toBeUndefined();
    handle.exec('COMMIT');
  });

  it('says that the transaction is lost when the second run ends it', () => {
    handle.exec('BEGIN');
    const run = () => void handle.exec('INSERT INTO transfers (id) VALUES (666)');
    expect(explainForeignKey(handle, run)).toEqual({ keys: [], transaction: 'lost' });
    expect(handle.inTransaction).toBe(false);
  });

  it('says that the transaction is lost when the second run cannot be undone', () => {
    handle.exec('BEGIN');
    let rows: IterableIterator<unknown> | undefined;
    const run = () => {
      rows = handle.prepare('SELECT * FROM accounts').iterate();
      rows.next();
    };
    expect(explainForeignKey(handle, run).transaction).toBe('lost');
    rows?.return?.();
    handle.exec('ROLLBACK');
  });

  it('loses nothing when a transaction of its own is ended', () => {
    const run = () => void handle.exec('INSERT INTO transfers (id) VALUES (666)');
    expect(explainForeignKey(handle, run)).toEqual({ keys: [], transaction: 'kept' });
    expect(handle.inTransaction).toBe(false);
  });

  for (const [where, begin, end] of [
    ['in a transaction', 'BEGIN IMMEDIATE; INSERT INTO accounts (id) VALUES (50)', 'COMMIT'],
    ['in a savepoint', 'SAVEPOINT outer; INSERT INTO accounts (id) VALUES (50)', 'RELEASE outer'],
    ['outside a transaction', 'SELECT 1', 'SELECT 1'],
  ] as const) {
    describe(where, () => {
      beforeEach(() => handle.exec(begin));
      afterEach(() => handle.exec(end));

      it('names the key of an insert', () => {
        expect(explain('INSERT INTO transfers (source) VALUES (99)').keys).toEqual([source]);
      });

      it('names the key of an update', () => {
        expect(explain('UPDATE transfers SET kept = 99 WHERE id = 2').keys).toEqual([kept]);
      });

      it('names the key that a deleted parent leaves behind', () => {
        expect(explain('DELETE FROM accounts WHERE id = 1').keys).toEqual([source]);
      });

      it('names the key of ON DELETE RESTRICT', () => {
        expect(explain('DELETE FROM accounts WHERE id = 2').keys).toEqual([kept]);
      });

      it('names the key of ON UPDATE RESTRICT', () => {
        expect(explain('UPDATE accounts SET id = 20 WHERE id = 2').keys).toEqual([kept]);
      });

      it('names all columns of a composite key, in a WITHOUT ROWID table too', () => {
        expect(explain("INSERT INTO visits VALUES ('ann', 'nl', 7)").keys).toEqual([branch]);
      });

      it('names each key that is violated, once', () => {
        const statement = 'INSERT INTO transfers (source, kept) VALUES (98, 99), (97, NULL)';
        expect(explain(statement).keys).toEqual(expect.arrayContaining([source, kept]));
        expect(explain(statement).keys).toHaveLength(2);
      });
    });
  }

  it('names the key through a Drizzle builder', () => {
    const accounts = sqliteTable('accounts', { id: integer().primaryKey() });
    const remove = drizzle(handle).delete(accounts).where(eq(accounts.id, 1)).prepare();
    expect(() => remove.run()).toThrow('FOREIGN KEY');
    expect(explainForeignKey(handle, () => void remove.run()).keys).toEqual([source]);
  });

  it('does not blame rows that were orphaned before', () => {
    withoutForeignKeys("INSERT INTO transfers (id, kept) VALUES (70, 70); INSERT INTO visits VALUES ('old', 'xx', 1)");
    expect(explain('INSERT INTO transfers (source) VALUES (99)').keys).toEqual([source]);
    expect(explain("INSERT INTO visits VALUES ('new', 'xx', 1)").keys).toEqual([branch]);
  });

  it('blames nobody in a table with more orphans than it reads', () => {
    withoutForeignKeys(`WITH RECURSIVE n (i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
                        INSERT INTO transfers (id, source) SELECT i, i FROM n`);
    expect(explain('INSERT INTO transfers (source) VALUES (99)').keys).toEqual([]);
  });

  it('leaves a violation that COMMIT is still to find where it is', () => {
    handle.exec('BEGIN; INSERT INTO transfers (later) VALUES (99)');
    expect(explain('INSERT INTO transfers (source) VALUES (98)').keys).toEqual([source]);
    expect(() => handle.exec('COMMIT')).toThrow('FOREIGN KEY');
    handle.exec('ROLLBACK');
  });

  it('leaves defer_foreign_keys on where it was on, with what it has counted', () => {
    handle.exec('BEGIN; PRAGMA defer_foreign_keys = ON; INSERT INTO transfers (source) VALUES (99)');
    const run = () => void handle.exec('INSERT INTO transfers (kept) VALUES (98)');
    expect(explainForeignKey(handle, run)).toEqual({ keys: [kept], transaction: 'kept' });
    expect(handle.pragma('defer_foreign_keys', { simple: true })).toBe(1);
    expect(() => handle.exec('COMMIT')).toThrow('FOREIGN KEY');
    handle.exec('ROLLBACK');
  });

  it('enforces immediate keys again afterwards', () => {
    handle.exec('BEGIN');
    explain('INSERT INTO transfers (source) VALUES (99)');
    expect(() => handle.exec('INSERT INTO transfers (source) VALUES (99)')).toThrow('FOREIGN KEY');
    handle.exec('COMMIT');
  });

  it('leaves out tables that are too large to scan in an error', () => {
    handle.exec(`CREATE TABLE large (id INTEGER PRIMARY KEY, account INTEGER REFERENCES accounts);
                 WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <= 50000)
                 INSERT INTO large (account) SELECT NULL FROM n`);
    expect(explain('INSERT INTO large (account) VALUES (99)').keys).toEqual([]);
    expect(explain('INSERT INTO transfers (source) VALUES (99)').keys).toEqual([source]);
  });

  it('works around a key that is declared wrongly', () => {
    handle.exec('CREATE TABLE "wrong ""one""" (v INTEGER REFERENCES accounts (v))');
    expect(explain('INSERT INTO transfers (source) VALUES (99)').keys).toEqual([source]);
  });

  it('reads handles that give integers as bigint', () => {
    handle.defaultSafeIntegers(true);
    handle.exec('BEGIN; PRAGMA defer_foreign_keys = ON');
    const run = () => void handle.exec('INSERT INTO transfers (source) VALUES (99)');
    expect(explainForeignKey(handle, run).keys).toEqual([source]);
    expect(handle.pragma('defer_foreign_keys', { simple: true })).toBe(1n);
    handle.exec('COMMIT');
    handle.defaultSafeIntegers(false);
  });
});

describe('reading the violations after a failed COMMIT', () => {
  it('finds none on a closed handle', () => {
    expect(violatedForeignKeys(new Database(':memory:').close())).toEqual([]);
  });

  it('finds the rows of a deferred key, and none of them after ROLLBACK', () => {
    handle.exec('BEGIN; INSERT INTO transfers (id, later) VALUES (9, 99); DELETE FROM accounts WHERE id = 3');
    expect(() => handle.exec('COMMIT')).toThrow('FOREIGN KEY');
    expect(violatedForeignKeys(handle)).toEqual([
      { ...later, rowid: 3 },
      { ...later, rowid: 9 },
    ]);
    expect(distinctKeys(violatedForeignKeys(handle))).toEqual([later]);
    handle.exec('ROLLBACK');
    expect(violatedForeignKeys(handle)).toEqual([]);
  });

  it('tells them from rows that were orphaned before', () => {
    withoutForeignKeys('INSERT INTO transfers (id, kept) VALUES (70, 70)');
    handle.exec('BEGIN; INSERT INTO transfers (id, later) VALUES (71, 99)');
    const after = violatedForeignKeys(handle);
    handle.exec('ROLLBACK');
    expect(newViolations(violatedForeignKeys(handle), after)).toEqual([{ ...later, rowid: 71 }]);
  });

  it('looks only at the tables that it is told to', () => {
    withoutForeignKeys("INSERT INTO transfers (id, source) VALUES (9, 99); INSERT INTO visits VALUES ('a', 'nl', 7)");
    expect(violatedForeignKeys(handle, { tables: ['visits', 'missing'] })).toEqual([{ ...branch, rowid: undefined }]);
  });

  it('gives a rowid that a number cannot hold as bigint', () => {
    withoutForeignKeys('INSERT INTO transfers (id, source) VALUES (9007199254740993, 99)');
    expect(violatedForeignKeys(handle)).toEqual([{ ...source, rowid: 9007199254740993n }]);
  });

  it('names a key whose parent table does not exist', () => {
    withoutForeignKeys('CREATE TABLE stray (v INTEGER REFERENCES nowhere); INSERT INTO stray VALUES (1)');
    const stray = { table: 'stray', columns: ['v'], parent: 'nowhere', parentColumns: [], rowid: 1 };
    expect(violatedForeignKeys(handle)).toEqual([stray]);
  });
});
