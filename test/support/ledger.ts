/**
 * The repositories of the contract: the reference ledger, and a table of entries whose handlers can be told to misbehave in
 * every way a handler can.
 *
 * Handlers take plain data only and need nothing of the test that calls them, so that they run in any thread.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import Sqlite from 'better-sqlite3';
import { count, eq, gt, sql } from 'drizzle-orm';
import { integer, sqliteTable, text, unique } from 'drizzle-orm/sqlite-core';
import { accounts, audit, transfers } from '../../schema/index.ts';
import { type Database, defineRepositories, defineRepository, type WriteDatabase } from '../../src/index.ts';

/** What write calls leave behind: each its name, and a row for each part. Ids grow in the order of the inserts. */
export const entries = sqliteTable(
  'entries',
  { id: integer().primaryKey(), call: text().notNull(), part: integer().notNull() },
  (table) => [unique().on(table.call, table.part)],
);

const TRAPS = `
  CREATE TABLE entries (id INTEGER PRIMARY KEY, call TEXT NOT NULL, part INTEGER NOT NULL, UNIQUE (call, part));
  CREATE TABLE orphans (
    id INTEGER PRIMARY KEY, parent INTEGER NOT NULL REFERENCES entries (id) DEFERRABLE INITIALLY DEFERRED
  );
  CREATE TABLE traps (id INTEGER PRIMARY KEY, kind TEXT NOT NULL UNIQUE);
  INSERT INTO traps (kind) VALUES ('taken');
  CREATE TRIGGER trap_abort AFTER INSERT ON traps WHEN new.kind = 'abort' BEGIN SELECT RAISE(ABORT, 'abort'); END;
  CREATE TRIGGER trap_fail AFTER INSERT ON traps WHEN new.kind = 'fail' BEGIN SELECT RAISE(FAIL, 'fail'); END;
  CREATE TRIGGER trap_rollback AFTER INSERT ON traps WHEN new.kind = 'rollback' BEGIN
    SELECT RAISE(ROLLBACK, 'rollback');
  END;
`;

/** Makes the file with its tables and its traps, in the rollback journal that a new file has. */
export function createLedger(file: string): void {
  const handle = new Sqlite(file);
  handle.pragma('synchronous = OFF');
  handle.exec(readFileSync(fileURLToPath(new URL('../../drizzle/0000_ledger.sql', import.meta.url)), 'utf8'));
  handle.exec(TRAPS);
  handle.close();
}

/** Makes the entries and the traps what they were when the file was made. */
export function emptyLedger(file: string): void {
  const handle = new Sqlite(file, { timeout: 1000 });
  try {
    handle.exec("DELETE FROM orphans; DELETE FROM entries; DELETE FROM traps WHERE kind <> 'taken'");
  } finally {
    handle.close();
  }
}

/**
 * What ends a call badly: `throw frozen` and `throw text` by what nothing can be written on, `throw object` by what is no error. The
 * last three end the whole transaction around it, two at once and one at COMMIT.
 */
export type Failure =
  | 'again'
  | 'throw'
  | 'throw frozen'
  | 'throw text'
  | 'throw object'
  | 'abort'
  | 'fail'
  | 'rollback'
  | 'or-rollback'
  | 'orphan';

/**
 * One step of a call:
 * `row` inserts its next part, `note` asks for a line in a log file after the commit, a {@link Failure} fails, and
 * `caught …` fails with the error caught by the handler.
 */
export type Step = 'row' | 'note' | Failure | `caught ${Failure}`;

/** One step of a handler that yields. The last three do what it must not, and `late` leaves a timer behind that does. */
export type YieldStep = 'count' | 'name' | 'throw' | 'write' | 'promise' | 'query' | 'late';

/** What a handler throws of its own accord. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
}

/** The same table without handlers of its own: what a handler uses to reach the table's methods. */
const entryReads = defineRepository(entries);

const entryRepository = defineRepository(entries, {
  reads: (db) => {
    const all = db.select().from(entries).orderBy(entries.id).prepare();
    const size = db.select({ n: count() }).from(entries).prepare();
    const counted = (): number => size.get()?.n ?? 0;
    const page = db
      .select()
      .from(entries)
      .where(gt(entries.id, sql.placeholder('after')))
      .orderBy(entries.id)
      .limit(sql.placeholder('limit'))
      .prepare();
    const append = (log: string | undefined, line: string): void => {
      if (log !== undefined) appendFileSync(log, `${line}\n`);
    };
    return {
      /** Every row as `call/part`, in the order of the inserts. */
      listed: () => all.all().map(({ call, part }) => `${call}/${part}`),
      /** Counts, lets another connection commit a row, and counts again. */
      around(file: string) {
        const before = counted();
        commitElsewhere(file);
        return [before, counted()];
      },
      /** The same by a handler that catches whatever its second statement throws. */
      stubbornlyAround(file: string) {
        const before = counted();
        commitElsewhere(file);
        try {
          return [before, counted()];
        } catch {
          return [before, -1];
        }
      },
      /** Every row as `call/part`, by pages of its own. The log gets a line when it begins and one when it ends. */
      *each(limit: number, log?: string) {
        append(log, 'begins');
        try {
          for (let after = 0; ;) {
            const rows = page.all({ after, limit });
            for (const { call, part } of rows) yield `${call}/${part}`;
            const last = rows.at(-1);
            if (last === undefined) return;
            after = last.id;
          }
        } finally {
          append(log, `ends with ${counted()} rows`);
        }
      },
      /** Counts, lets another connection commit a row, and counts again, 150 times. */
      *around150(file: string): Generator<readonly [before: number, after: number]> {
        for (let at = 0; at < 150; at++) {
          const before = counted();
          commitElsewhere(file);
          yield [before, counted()];
        }
      },
      /** Runs the steps, and yields what each comes to. */
      *steps(steps: readonly YieldStep[], log?: string): Generator<number | string> {
        try {
          for (const step of steps) {
            if (step === 'count') yield counted();
            else if (step === 'throw') throw new Refusal('the handler refused');
            else if (step === 'write')
              yield (db as WriteDatabase).insert(entries).values({ call: 'bad', part: 1 }).run().changes;
            else if (step === 'promise') yield Promise.resolve('late') as never;
            else if (step === 'query') yield db.select().from(entries) as never;
            else if (step === 'late') setImmediate(attempt, log, () => counted());
            yield step;
          }
        } finally {
          append(log, `ends with ${counted()} rows`);
        }
      },
      /** An iterator from a plain function, which nobody can tell from one that returns a value before it is called. */
      lazily: (): unknown => [1, 2].values(),
      /** A statement of any kind, where only reads belong. */
      ask: (statement: string) => db.all(sql.raw(statement)),
      /** Drizzle's own insert in a read handler: a compile error, which JavaScript callers and casts get past. */
      sneak: (call: string) => (db as WriteDatabase).insert(entries).values({ call, part: 1 }).run().changes,
      pragma: (name: string) => db.get<Record<string, unknown>>(sql.raw(`PRAGMA ${name}`))[name],
    };
  },
  writes: (db, { afterCommit, use }) => {
    const add = db
      .insert(entries)
      .values({ call: sql.placeholder('call'), part: sql.placeholder('part') })
      .prepare();
    const fail = (failure: Failure, call: string, part: number): void => {
      switch (failure) {
        case 'again':
          add.run({ call, part });
          return;
        case 'throw':
          throw new Refusal(`${call} was refused`);
        case 'throw frozen':
          throw frozen(new Refusal(`${call} was refused`));
        case 'throw text':
          // eslint-disable-next-line @typescript-eslint/only-throw-error -- what JavaScript callers may do
          throw `${call} was refused`;
        case 'throw object':
          // eslint-disable-next-line @typescript-eslint/only-throw-error -- as some frameworks do
          throw { refused: call };
        case 'or-rollback':
          db.run(sql`INSERT OR ROLLBACK INTO traps (kind) VALUES ('taken')`);
          return;
        case 'orphan':
          db.run(sql`INSERT INTO orphans (parent) VALUES (-1)`);
          return;
        default:
          db.run(sql`INSERT INTO traps (kind) VALUES (${failure})`);
      }
    };
    return {
      /** Runs the steps under the call's name. Gives the number of its rows. */
      run(call: string, steps: readonly Step[] = ['row', 'row'], log?: string) {
        let part = 0;
        for (const step of steps) {
          if (step === 'row') add.run({ call, part: ++part });
          else if (step === 'note') {
            afterCommit(() => {
              if (log !== undefined) appendFileSync(log, `${call}\n`);
            });
          } else if (step.startsWith('caught ')) {
            try {
              fail(step.slice('caught '.length) as Failure, call, part);
            } catch {
              // The handler goes on as if nothing had happened.
            }
          } else fail(step as Failure, call, part);
        }
        return part;
      },
      /** Inserts a row and keeps the thread busy for some milliseconds. */
      spin(call: string, ms: number) {
        add.run({ call, part: 1 });
        const end = performance.now() + ms;
        while (performance.now() < end);
      },
      /** Inserts a row, and then runs a statement of any kind. */
      execute(call: string, statement: string) {
        add.run({ call, part: 1 });
        db.run(sql.raw(statement));
      },
      /** Inserts a row inside a nested transaction of Drizzle's, which is then undone and its error caught. */
      nested(call: string) {
        add.run({ call, part: 1 });
        try {
          db.transaction((tx) => {
            tx.insert(entries).values({ call, part: 2 }).run();
            throw new Refusal('nested');
          });
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
        }
        add.run({ call, part: 3 });
      },
      /** Inserts a row and returns a query that nobody ran. */
      unrun(call: string): unknown {
        add.run({ call, part: 1 });
        return db.select().from(entries);
      },
      /** Inserts a row and returns a promise, whose continuation writes another one and logs how that went. */
      promised(call: string, log: string): unknown {
        add.run({ call, part: 1 });
        return Promise.resolve().then(() => {
          attempt(log, () => add.run({ call, part: 2 }));
        });
      },
      /** Inserts a row and returns an iterator that would insert another one. */
      lazy(call: string): unknown {
        add.run({ call, part: 1 });
        return (function* () {
          yield add.run({ call, part: 2 }).changes;
        })();
      },
      /** Turns the sign of every part, row by row of a stream of the table's. */
      negate(batch: number) {
        const rows = use(entryReads);
        let changed = 0;
        for (const { id, part } of rows.stream({}, { batch, orderBy: 'call' })) {
          changed += db.update(entries).set({ part: -part }).where(eq(entries.id, id)).run().changes;
        }
        return changed;
      },
      /** Inserts a row and leaves a timer behind, which uses this handler's database after the call. */
      late(call: string, log: string) {
        add.run({ call, part: 1 });
        setImmediate(() => {
          attempt(log, () => db.insert(entries).values({ call, part: 2 }).run());
          attempt(log, () => add.run({ call, part: 3 }));
        });
      },
      /** A commit visible elsewhere is what an effect may rely on: it logs how many rows another connection sees. */
      witnessed(call: string, file: string, log: string) {
        add.run({ call, part: 1 });
        afterCommit(() => {
          const other = new Sqlite(file, { readonly: true });
          const seen = other.prepare('SELECT count(*) FROM entries WHERE call = ?').pluck().get(call);
          other.close();
          appendFileSync(log, `${String(seen)}\n`);
        });
      },
      clear: () => db.delete(entries).run().changes,
    };
  },
});

const accountRepository = defineRepository(accounts, {
  writes: (db) => {
    const id = sql.placeholder('id');
    const read = db.select({ cents: accounts.cents }).from(accounts).where(eq(accounts.id, id)).prepare();
    const write = db
      .update(accounts)
      .set({ cents: sql`${sql.placeholder('cents')}` })
      .where(eq(accounts.id, id))
      .prepare();
    return {
      /** Reads, then writes: two of these at the same time lose one, unless they take turns. */
      credit(id: number, cents: number) {
        const account = read.get({ id });
        if (account === undefined) throw new Refusal(`there is no account ${id}`);
        const balance = account.cents + cents;
        write.run({ id, cents: balance });
        return balance;
      },
    };
  },
});

const transferRepository = defineRepository(transfers, {
  writes: (db, { use }) => ({
    /** Moves money: two updates, the transfer, and two lines of the audit. */
    send(source: number, destination: number, cents: number, idempotencyKey: string) {
      const handlers = use(accountRepository);
      const transfer = db.insert(transfers).values({ source, destination, cents, idempotencyKey }).returning().all()[0];
      const received = handlers.credit(destination, cents);
      const sent = handlers.credit(source, -cents);
      db.insert(audit)
        .values([
          { account: source, action: 'sent', delta: -cents, balance: sent, transfer: transfer?.id ?? null },
          { account: destination, action: 'received', delta: cents, balance: received, transfer: transfer?.id ?? null },
        ])
        .run();
      return transfer?.id;
    },
  }),
});

const auditRepository = defineRepository(audit);

export const ledger = defineRepositories(
  import.meta.url,
  {
    accounts: accountRepository,
    transfers: transferRepository,
    audit: auditRepository,
    entries: entryRepository,
  },
  { errors: [Refusal] },
);

/** The database of the contract. */
export type LedgerDatabase = Database<typeof ledger>;

/** Commits a row on a connection of its own, which no strategy knows of. */
export function commitElsewhere(file: string): void {
  const other = new Sqlite(file, { timeout: 0 });
  try {
    other.prepare("INSERT INTO entries (call, part) VALUES ('elsewhere-' || hex(randomblob(8)), 1)").run();
  } finally {
    other.close();
  }
}

function frozen<E extends Error>(error: E): E {
  Object.freeze(error);
  return error;
}

function attempt(log: string | undefined, write: () => unknown): void {
  if (log === undefined) return;
  try {
    write();
    appendFileSync(log, 'written\n');
  } catch (error) {
    appendFileSync(log, `${error instanceof Error ? error.name : String(error)}\n`);
  }
}
