/** Handlers that stop at a point until they may go on, for callers who give them up there. They run in any thread. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { existsSync, writeFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { count } from 'drizzle-orm';
import { type Database, defineAsyncRepository, defineRepositories, defineRepository } from '../../src/index.ts';
import { entries, ledger, Refusal } from './ledger.ts';

/** Points that a handler or a callback comes past. */
export type Inside = 'running' | 'between statements' | 'after commit';

/** Where a handler of another thread stops. It is told by files, since nothing else of its caller reaches it. */
export interface Stop {
  readonly at: string | undefined;
  /** Made by the handler when it has begun, and when it has come to the point. */
  readonly begun: string;
  readonly reached: string;
  /** It waits for this one. */
  readonly held: string;
}

/** What a call of this thread does when it comes past a point; each caller has its own, through its own async context. */
export const passing = new AsyncLocalStorage<(point: Inside) => unknown>();

const pass = (point: Inside, stop: Stop | undefined): unknown => {
  if (stop === undefined) return passing.getStore()?.(point);
  return come(point, stop) ? opened(stop.held) : undefined;
};

/** The same for what cannot await. In another thread it may sleep. */
const passSync = (point: Inside, stop: Stop | undefined): void => {
  if (stop === undefined) passing.getStore()?.(point);
  else if (come(point, stop)) sleepUntil(stop.held);
};

function come(point: Inside, { at, begun, reached }: Stop): boolean {
  writeFileSync(begun, '');
  if (at !== point) return false;
  writeFileSync(reached, '');
  return true;
}

async function opened(file: string): Promise<void> {
  while (!existsSync(file)) await turn();
}

function sleepUntil(file: string): void {
  const nobody = new Int32Array(new SharedArrayBuffer(4));
  while (!existsSync(file)) Atomics.wait(nobody, 0, 0, 1);
}

/** Synchronous handlers: in the caller's thread nobody but they themselves can abort anything meanwhile. */
const quick = defineRepository(entries, {
  reads: (db) => {
    const size = db.select({ n: count() }).from(entries).prepare();
    return {
      look(stop?: Stop) {
        passSync('running', stop);
        const before = size.get()?.n;
        passSync('between statements', stop);
        return before === size.get()?.n;
      },
    };
  },
  writes: (db, { afterCommit }) => ({
    /** One row, for a transaction whose points are in its callback. */
    part(part: number, stop?: Stop) {
      afterCommit(() => {
        passSync('after commit', stop);
      });
      db.insert(entries).values({ call: 'x', part }).run();
    },
    put(stop?: Stop) {
      afterCommit(() => {
        passSync('after commit', stop);
      });
      passSync('running', stop);
      db.insert(entries).values({ call: 'x', part: 1 }).run();
      passSync('between statements', stop);
      db.insert(entries).values({ call: 'x', part: 2 }).run();
    },
  }),
});

/** The same by handlers that wait for whatever the point has them wait for. */
const slow = defineAsyncRepository(entries, {
  reads: (db) => ({
    async look(stop?: Stop) {
      await pass('running', stop);
      const before = (await db.select().from(entries)).length;
      await pass('between statements', stop);
      return before === (await db.select().from(entries)).length;
    },
  }),
  writes: (db, { afterCommit }) => {
    const put = async (stop?: Stop): Promise<void> => {
      afterCommit(() => {
        passSync('after commit', stop);
      });
      await pass('running', stop);
      await db.insert(entries).values({ call: 'x', part: 1 }).run();
      await pass('between statements', stop);
      await db.insert(entries).values({ call: 'x', part: 2 }).run();
    };
    return {
      put,
      /** Known to wait for something else, once it has been called: it then runs in a transaction of its own at once. */
      async putAlone(learn: boolean, stop?: Stop) {
        await turn();
        if (!learn) await put(stop);
      },
    };
  },
});

export const cancelled = defineRepositories(
  import.meta.url,
  { ...ledger.repositories, quick, slow },
  { errors: [Refusal] },
);

export type Cancelled = Database<typeof cancelled>;
