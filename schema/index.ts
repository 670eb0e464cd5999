/** The reference ledger: what drizzle-kit generates from, and what tests and examples run on. */
import { sql } from 'drizzle-orm';
import { check, index, integer, sqliteTable, text, uniqueIndex } from 'drizzle-orm/sqlite-core';

/** What an account carries beside its balance. */
export interface AccountDetails {
  tags?: string[];
  note?: string;
}

/** One account. `cents` never goes below zero; `version` grows by one with each update. */
export const accounts = sqliteTable(
  'accounts',
  {
    id: integer().primaryKey(),
    owner: text().notNull(),
    email: text(),
    cents: integer().notNull().default(0),
    details: text({ mode: 'json' }).$type<AccountDetails>(),
    closed: integer({ mode: 'boolean' }).notNull().default(false),
    createdAt: integer('created_at', { mode: 'timestamp_ms' })
      .notNull()
      .$defaultFn(() => new Date()),
    version: integer().notNull().default(1),
  },
  (table) => [
    check('accounts_cents_not_negative', sql`${table.cents} >= 0`),
    uniqueIndex('accounts_open_email')
      .on(table.email)
      .where(sql`${table.closed} = 0`),
    index('accounts_owner').on(table.owner),
  ],
);

/** One movement of money. `idempotencyKey` makes a request that is sent twice count once. */
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
    at: integer({ mode: 'timestamp_ms' })
      .notNull()
      .$defaultFn(() => new Date()),
    idempotencyKey: text('idempotency_key').notNull().unique(),
  },
  (table) => [
    check('transfers_cents_positive', sql`${table.cents} > 0`),
    check('transfers_two_accounts', sql`${table.source} <> ${table.destination}`),
    index('transfers_source').on(table.source, table.at),
    index('transfers_destination').on(table.destination, table.at),
  ],
);

/** What happened to an account, in order: each row is one step of one account's balance. */
export const audit = sqliteTable(
  'audit',
  {
    id: integer().primaryKey(),
    account: integer()
      .notNull()
      .references(() => accounts.id, { onDelete: 'cascade' }),
    transfer: integer().references(() => transfers.id),
    action: text({ enum: ['opened', 'sent', 'received', 'closed'] }).notNull(),
    delta: integer().notNull(),
    balance: integer().notNull(),
    at: integer({ mode: 'timestamp_ms' })
      .notNull()
      .$defaultFn(() => new Date()),
  },
  (table) => [index('audit_account').on(table.account, table.id)],
);
