/**
 * Repositories that do to their thread whatever can be done to one. Their handlers run in an executor's thread.
 *
 * COMMIT is theirs, too: while the file that `armCommit` names exists, the thread dies at its next COMMIT, before or after it.
 */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import Sqlite from 'better-sqlite3';
import { sql } from 'drizzle-orm';
import { blob, integer, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { defineRepositories, defineRepository } from '../../src/index.ts';
import { enterFile } from '../../src/lanes/open-files.ts';
import { collectGarbage } from './garbage.ts';
import { entries } from './ledger.ts';

const SPIN = sql.raw('WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000000)');

export const things = sqliteTable('things', {
  id: integer().primaryKey(),
  at: integer({ mode: 'timestamp_ms' }),
  big: blob({ mode: 'bigint' }),
  bytes: blob({ mode: 'buffer' }),
  json: text({ mode: 'json' }).$type<{ tags: string[] }>(),
});

export const CREATE_THINGS =
  'CREATE TABLE things (id INTEGER PRIMARY KEY, at INTEGER, big BLOB, bytes BLOB, json TEXT)';

/** Thrown by a handler: a class that the caller's thread need not know. */
export class Tantrum extends RangeError {
  override readonly name = 'Tantrum';
  readonly degree = 3;
  readonly where = { room: 'kitchen' };
}

const weights: WeakRef<object>[] = [];

class Money {
  readonly cents = 1;
}

/** A plain object whose only property throws. */
const thorny = (): unknown => ({
  get thorn(): never {
    throw new RangeError('a thorn');
  },
});

const kept = Buffer.alloc(100_000, 7);

/** The table's methods for handlers. */
const entryReads = defineRepository(entries);

const hostileRepository = defineRepository(entries, {
  reads: (db, { signal, use }) => ({
    listed: () =>
      db
        .select()
        .from(entries)
        .orderBy(entries.id)
        .all()
        .map(({ call, part }) => `${call}/${part}`),
    /** Yields every row; fails after so many. */
    *walked(failAfter: number) {
      const rows = db.select().from(entries).orderBy(entries.id).all();
      for (const [at, { call, part }] of rows.entries()) {
        if (at === failAfter) throw new RangeError('far enough');
        yield `${call}/${part}`;
      }
    },
    /** Yields for ever; each walk has something that only it holds. */
    *weighed() {
      const weight = { at: 0 };
      weights.push(new WeakRef(weight));
      for (;;) yield weight.at++;
    },
    /** How many of those walks are still in memory. */
    walks() {
      collectGarbage();
      return weights.filter((weight) => weight.deref() !== undefined).length;
    },
    readAndExit() {
      process.exit(4);
    },
    /** While the file exists a statement is under way on each of the thread's handles, which then cannot be closed. */
    occupyWhile(file: string) {
      const handles = [...opened].filter(({ open }) => open);
      const rows = handles.map((handle) => handle.prepare('SELECT 1 UNION SELECT 2').iterate());
      const timer = setInterval(() => {
        if (existsSync(file)) return;
        clearInterval(timer);
        for (const each of rows) each.return?.();
        writeFileSync(`${file}.ended`, '');
      }, 5);
      // Not before this call itself has ended, which still needs its connection.
      setImmediate(() => {
        for (const each of rows) each.next();
        writeFileSync(`${file}.begun`, '');
      });
    },
    /** Leaves behind what ends the thread: an error, or a rejection, that nobody catches. */
    leaveBehind(what: 'an error' | 'a rejection') {
      const error = new RangeError('nobody catches it');
      setImmediate(() => {
        if (what === 'an error') throw error;
        void Promise.reject(error);
      });
      return what;
    },
    /** Counts in SQLite, for seconds. */
    stuck: (steps: number) =>
      db.get<{ n: number }>(sql`${SPIN} SELECT count(*) AS n FROM (SELECT i FROM n LIMIT ${steps})`).n,
    /** The same, and says in a file that it has begun. */
    stuckSince(begun: string, steps: number) {
      writeFileSync(begun, '');
      return db.get<{ n: number }>(sql`${SPIN} SELECT count(*) AS n FROM (SELECT i FROM n LIMIT ${steps})`).n;
    },
    /** Counts with a way out for each row. */
    stuckUnlessCancelled: (steps: number) =>
      db.get<{ n: number }>(
        sql`${SPIN} SELECT count(*) AS n FROM (SELECT i FROM n WHERE sluice_cancelled() = 0 LIMIT ${steps})`,
      ).n,
    /** Goes on until it is given up; how long that took. Says in a file that it has begun. */
    untilGivenUp(atMost: number, begun?: string) {
      if (begun !== undefined) writeFileSync(begun, '');
      const since = performance.now();
      while (!signal.aborted && performance.now() - since < atMost) db.get(sql`SELECT 1`);
      return performance.now() - since;
    },
    /** Walks every row by a stream, and stays with each for some milliseconds. */
    linger(ms: number) {
      let rows = 0;
      for (const { id } of use(entryReads).stream({}, { batch: 3 })) {
        const end = performance.now() + ms;
        while (performance.now() < end);
        rows += Math.sign(id);
      }
      return rows;
    },
    echo: (value: unknown): unknown => value,
    kinds: (value: unknown): unknown =>
      Object.prototype.toString.call(value) + (Buffer.isBuffer(value) ? ' buffer' : ''),
    /** Something that others here go on using. */
    kept: () => kept,
    /** Throws an error of which something is what its maker must not make it. */
    failOddly(what: 'message' | 'name'): never {
      throw Object.assign(new Error('odd'), { [what]: what === 'name' ? Symbol('odd') : () => 'odd' });
    },
    unsendable: (): unknown => ({ rows: [{ fn: () => 1 }] }),
    /** A row, after another one, that throws when it is looked at. */
    thorny: (): unknown => [{ id: 1 }, thorny()],
    /** What structured clone refuses although nothing in it is. */
    proxied: (): unknown => [new Proxy({ id: 1 }, {})],
    numbered: (): unknown => Object.assign([{ id: 1 }], { total: 7 }),
    instance: (): unknown => new Money(),
  }),
  writes: (db, { afterCommit, signal }) => ({
    /** Its effect keeps the thread busy. */
    addAndOccupy(call: string, ms: number) {
      afterCommit(() => {
        const end = performance.now() + ms;
        while (performance.now() < end);
      });
      return db.insert(entries).values({ call, part: 1 }).run().changes;
    },
    /** Inserts, and goes on until it is given up, and says so in a file; in another one, a dot each time that it begins. */
    addUntilGivenUp(call: string, atMost: number, noticed: string) {
      appendFileSync(`${noticed}.begun`, '.');
      db.insert(entries).values({ call, part: 1 }).run();
      const since = performance.now();
      while (!signal.aborted && performance.now() - since < atMost) db.get(sql`SELECT 1`);
      if (signal.aborted) writeFileSync(noticed, '');
    },
    add: (call: string) => db.insert(entries).values({ call, part: 1 }).run().changes,
    clear: () => db.delete(entries).run().changes,
    addAndExit(call: string) {
      db.insert(entries).values({ call, part: 1 }).run();
      process.exit(3);
    },
    addAndExitAfterCommit(call: string) {
      db.insert(entries).values({ call, part: 1 }).run();
      afterCommit(() => process.exit(3));
    },
    addAndExhaust(call: string) {
      db.insert(entries).values({ call, part: 1 }).run();
      // Small pieces, between which Node can end the thread: one large piece beyond the limit aborts the whole process.
      let hoard: object = {};
      for (;;) hoard = { hoard };
    },
    addAndStick(call: string, steps: number) {
      db.insert(entries).values({ call, part: 1 }).run();
      return db.get<{ n: number }>(sql`${SPIN} SELECT count(*) AS n FROM (SELECT i FROM n LIMIT ${steps})`).n;
    },
    addAndFailOddly(call: string, what: 'message' | 'name'): never {
      db.insert(entries).values({ call, part: 1 }).run();
      throw Object.assign(new Error('odd'), { [what]: what === 'name' ? Symbol('odd') : () => 'odd' });
    },
    rage(call: string) {
      db.insert(entries).values({ call, part: 1 }).run();
      throw new Tantrum('no', { cause: new TypeError('because') });
    },
    addThorny(call: string): unknown {
      db.insert(entries).values({ call, part: 1 }).run();
      return thorny();
    },
    addUnsendable(call: string): unknown {
      db.insert(entries).values({ call, part: 1 }).run();
      return { fn: () => 1 };
    },
  }),
});

const thingRepository = defineRepository(things);

export const hostile = defineRepositories(import.meta.url, { hostile: hostileRepository, things: thingRepository });

// What this module does when it is imported is told it through the environment, which a thread inherits.
if (!isMainThread && process.env.HOSTILE_IMPORT !== undefined && existsSync(process.env.HOSTILE_IMPORT))
  process.exit(5);

// The file that this names keeps a rollback journal: another writer of this thread seems to have it open.
const { HOSTILE_ROLLBACK } = process.env;
if (!isMainThread && HOSTILE_ROLLBACK !== undefined) enterFile(HOSTILE_ROLLBACK, 'write', false);

/** The handles of this thread. */
const opened = new Set<Sqlite.Database>();
if (!isMainThread) noteHandles();

function noteHandles(): void {
  const prototype = Sqlite.prototype as { prepare: (source: string) => Sqlite.Statement };
  const { prepare } = prototype;
  prototype.prepare = function (this: Sqlite.Database, source: string) {
    opened.add(this);
    return prepare.call(this, source);
  };
}

const { HOSTILE_COMMIT } = process.env;
if (!isMainThread && HOSTILE_COMMIT !== undefined) dieAtCommit(HOSTILE_COMMIT);

function dieAtCommit(order: string): void {
  const prototype = Sqlite.prototype as { prepare: (source: string) => Sqlite.Statement };
  const { prepare } = prototype;
  prototype.prepare = function (this: Sqlite.Database, source: string) {
    const statement = prepare.call(this, source);
    if (source !== 'COMMIT') return statement;
    const run = statement.run.bind(statement);
    statement.run = (...params: unknown[]) => {
      const when = existsSync(order) ? readFileSync(order, 'utf8') : '';
      if (when === 'before') process.exit(6);
      const result = run(...params);
      if (when === 'after') process.exit(6);
      return result;
    };
    return statement;
  };
}
