/** The bench's tables: the same rows, columns and indexes for every side. */
import { index, integer, sqliteTable, text } from 'drizzle-orm/sqlite-core';

/** What single-row inserts go into. */
export const entries = sqliteTable(
  'entries',
  {
    id: integer().primaryKey(),
    account: integer().notNull(),
    kind: text().notNull(),
    cents: integer().notNull(),
    at: integer().notNull(),
  },
  (table) => [index('entries_at').on(table.at)],
);

/** Plain values: what the driver gives is what the row holds. */
export const accounts = sqliteTable(
  'accounts',
  {
    id: integer().primaryKey(),
    owner: text().notNull(),
    cents: integer().notNull(),
    version: integer().notNull(),
  },
  (table) => [index('accounts_owner').on(table.owner)],
);

/** Values that are decoded: JSON, a date, a boolean. */
export const profiles = sqliteTable('profiles', {
  id: integer().primaryKey(),
  name: text().notNull(),
  details: text({ mode: 'json' }).$type<{ tags: string[] }>().notNull(),
  active: integer({ mode: 'boolean' }).notNull(),
  at: integer({ mode: 'timestamp_ms' }).notNull(),
});

export const transfers = sqliteTable(
  'transfers',
  {
    id: integer().primaryKey(),
    source: integer()
      .notNull()
      .references(() => accounts.id),
    destination: integer()
      .notNull()
      .references(() => accounts.id),
    cents: integer().notNull(),
  },
  (table) => [index('transfers_source').on(table.source)],
);

export const audit = sqliteTable(
  'audit',
  {
    id: integer().primaryKey(),
    transfer: integer()
      .notNull()
      .references(() => transfers.id),
    balance: integer().notNull(),
  },
  (table) => [index('audit_transfer').on(table.transfer)],
);

/** Rows that a fresh file holds of `accounts` and of `profiles`, with keys from 1. */
export const SEEDED = 10_000;

/** The tables above as SQL, and their rows. */
export const DDL = `
  CREATE TABLE entries (id INTEGER PRIMARY KEY, account INTEGER NOT NULL, kind TEXT NOT NULL, cents INTEGER NOT NULL, at INTEGER NOT NULL);
  CREATE INDEX entries_at ON entries (at);
  CREATE TABLE accounts (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, cents INTEGER NOT NULL, version INTEGER NOT NULL);
  CREATE INDEX accounts_owner ON accounts (owner);
  CREATE TABLE profiles (id INTEGER PRIMARY KEY, name TEXT NOT NULL, details TEXT NOT NULL, active INTEGER NOT NULL, at INTEGER NOT NULL);
  CREATE TABLE transfers (id INTEGER PRIMARY KEY, source INTEGER NOT NULL REFERENCES accounts (id), destination INTEGER NOT NULL REFERENCES accounts (id), cents INTEGER NOT NULL);
  CREATE INDEX transfers_source ON transfers (source);
  CREATE TABLE audit (id INTEGER PRIMARY KEY, transfer INTEGER NOT NULL REFERENCES transfers (id), balance INTEGER NOT NULL);
  CREATE INDEX audit_transfer ON audit (transfer);
  WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${SEEDED})
    INSERT INTO accounts SELECT i, 'owner ' || i, 1000000, 1 FROM n;
  WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${SEEDED})
    INSERT INTO profiles SELECT i, 'name ' || i, '{"tags":["a","b"]}', i % 2, 1790000000000 + i FROM n;
`;

/** A row for `entries`, the same on every side. */
export function entry(at: number): { account: number; kind: string; cents: number; at: number } {
  return { account: (at * 7919) % SEEDED, kind: 'deposit', cents: 100 + (at % 900), at: 1_790_000_000_000 + at };
}

/** A key of one of the first `among` seeded rows; neighbours in time are not neighbours in the file. */
export function key(at: number, among = SEEDED): number {
  return ((at * 7919) % among) + 1;
}
