/** Bare Drizzle, as its README shows it: a query is built for each call. And its statements prepared by hand. */
import type Sqlite from 'better-sqlite3';
import { eq, gt, sql } from 'drizzle-orm';
import { type BetterSQLite3Database, drizzle } from 'drizzle-orm/better-sqlite3';
import { accounts, audit, entries, entry, profiles, transfers } from './schema.ts';

export function bareDrizzle(handle: Sqlite.Database): {
  get(id: number): Promise<unknown>;
  getProfile(id: number): Promise<unknown>;
  page(after: number): Promise<unknown>;
  insert(): Promise<unknown>;
  transfer(from: number, to: number): Promise<unknown>;
} {
  const db = drizzle(handle);
  let calls = 0;
  return {
    get: (id) => Promise.resolve(db.select().from(accounts).where(eq(accounts.id, id)).get()),
    getProfile: (id) => Promise.resolve(db.select().from(profiles).where(eq(profiles.id, id)).get()),
    page: (after) =>
      Promise.resolve(db.select().from(accounts).where(gt(accounts.id, after)).orderBy(accounts.id).limit(50).all()),
    insert: () => Promise.resolve(db.insert(entries).values(entry(calls++)).run()),
    transfer: (from, to) => {
      db.transaction(
        (tx) => {
          const source = tx.select().from(accounts).where(eq(accounts.id, from)).get();
          const target = tx.select().from(accounts).where(eq(accounts.id, to)).get();
          if (source === undefined || target === undefined) throw new Error('no such account');
          move(tx, from, -1);
          move(tx, to, 1);
          const { lastInsertRowid } = tx.insert(transfers).values({ source: from, destination: to, cents: 1 }).run();
          tx.insert(audit)
            .values({ transfer: Number(lastInsertRowid), balance: source.cents - 1 })
            .run();
        },
        { behavior: 'immediate' },
      );
      return Promise.resolve();
    },
  };
}

type Tx = Parameters<Parameters<BetterSQLite3Database['transaction']>[0]>[0];

function move(tx: Tx, id: number, cents: number): void {
  tx.update(accounts)
    .set({ cents: sql`${accounts.cents} + ${cents}`, version: sql`${accounts.version} + 1` })
    .where(eq(accounts.id, id))
    .run();
}

/** The statement that the batch loop and Sluice's handler both run. */
export function preparedInsert(db: Pick<BetterSQLite3Database, 'insert'>): {
  run(row: ReturnType<typeof entry>): unknown;
} {
  return db
    .insert(entries)
    .values({
      account: sql.placeholder('account'),
      kind: sql.placeholder('kind'),
      cents: sql.placeholder('cents'),
      at: sql.placeholder('at'),
    })
    .prepare();
}
