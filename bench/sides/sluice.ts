/** The api: the repositories that the bench calls, and how it opens them. */
import { eq, sql } from 'drizzle-orm';
import { type Database, defineRepositories, defineRepository, open } from 'sluice';
import { preparedInsert } from './drizzle.ts';
import { assertSynchronous, type Durability } from './raw.ts';
import { accounts, audit, entries, type entry, profiles, transfers } from './schema.ts';

const entryRepository = defineRepository(entries, {
  writes: (db) => {
    const insert = preparedInsert(db);
    return {
      append: (row: ReturnType<typeof entry>): void => {
        insert.run(row);
      },
      /** What the writer's connection is set to. */
      synchronous: () => db.get<{ synchronous: number }>(sql`PRAGMA synchronous`).synchronous,
    };
  },
});

const accountRepository = defineRepository(accounts, {
  reads: (db) => {
    const byId = db
      .select()
      .from(accounts)
      .where(eq(accounts.id, sql.placeholder('id')))
      .prepare();
    return {
      byId: (id: number) => byId.get({ id }),
      /** An aggregate that takes some 30 ms. */
      report: (): number | undefined =>
        db.get<{ n: number }>(
          sql`SELECT sum(length(a.owner || b.owner)) AS n FROM accounts a, (SELECT owner FROM accounts LIMIT 25) b`,
        ).n,
    };
  },
  writes: (db) => {
    const credit = db
      .update(accounts)
      .set({ cents: sql`${accounts.cents} + ${sql.placeholder('cents')}`, version: sql`${accounts.version} + 1` })
      .where(eq(accounts.id, sql.placeholder('id')))
      .prepare();
    return { credit: (id: number, cents: number) => credit.run({ id, cents }).changes };
  },
});

const profileRepository = defineRepository(profiles);
const auditRepository = defineRepository(audit);

const transferRepository = defineRepository(transfers, {
  writes: (db, { use }) => {
    const insert = db
      .insert(transfers)
      .values({
        source: sql.placeholder('source'),
        destination: sql.placeholder('destination'),
        cents: sql.placeholder('cents'),
      })
      .prepare();
    const step = db
      .insert(audit)
      .values({ transfer: sql.placeholder('transfer'), balance: sql.placeholder('balance') })
      .prepare();
    return {
      send: (from: number, to: number, cents: number): number => {
        const { byId, credit } = use(accountRepository);
        const source = byId(from);
        const target = byId(to);
        if (source === undefined || target === undefined) throw new Error('no such account');
        credit(from, -cents);
        credit(to, cents);
        const transfer = Number(insert.run({ source: from, destination: to, cents }).lastInsertRowid);
        step.run({ transfer, balance: source.cents - cents });
        return transfer;
      },
    };
  },
});

export const registry = defineRepositories(import.meta.url, {
  entries: entryRepository,
  accounts: accountRepository,
  profiles: profileRepository,
  transfers: transferRepository,
  audit: auditRepository,
});

export type BenchDatabase = Database<typeof registry>;
export type InThread = 'shared' | 'per-context';
export type Measured = InThread | 'executor';

/** Opens the api on a seeded file, and makes sure of its durability. */
export async function openSluice(
  file: string,
  strategy: Measured,
  durability: Durability,
  readers?: number,
): Promise<BenchDatabase> {
  const db = await open({
    file,
    repositories: registry,
    strategy,
    durability,
    ...(readers === undefined ? {} : { readers }),
  });
  assertSynchronous(await db.api.entries.synchronous(), durability, `sluice ${strategy}`);
  return db;
}
