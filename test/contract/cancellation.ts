import { AsyncLocalStorage } from 'node:async_hooks';
import { getEventListeners } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { count } from 'drizzle-orm';
import { describe, expect, test } from 'vitest';
import {
  AbortError,
  type Database,
  defineAsyncRepository,
  defineRepositories,
  defineRepository,
  open,
  type Outcome,
} from '../../src/index.ts';
import { createLedger, entries, ledger } from '../support/ledger.ts';
import { committed, expectNoTransaction } from '../support/open-ledger.ts';
import { startPeer } from '../support/peer.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { gate, rejection, turns, until } from '../support/waiting.ts';

/** What a call does when it comes past a point; each caller has its own, through its own async context. */
const passing = new AsyncLocalStorage<(point: Inside) => unknown>();
const pass = (point: Inside): unknown => passing.getStore()?.(point);

/** Synchronous handlers, in which nobody but they themselves can abort anything. */
const quick = defineRepository(entries, {
  reads: (db) => {
    const size = db.select({ n: count() }).from(entries).prepare();
    return {
      look() {
        pass('running');
        const before = size.get()?.n;
        pass('between statements');
        return before === size.get()?.n;
      },
    };
  },
  writes: (db, { afterCommit }) => ({
    /** One row, for a transaction whose points are in its callback. */
    part(part: number) {
      afterCommit(() => pass('after commit'));
      db.insert(entries).values({ call: 'x', part }).run();
    },
    put() {
      afterCommit(() => pass('after commit'));
      pass('running');
      db.insert(entries).values({ call: 'x', part: 1 }).run();
      pass('between statements');
      db.insert(entries).values({ call: 'x', part: 2 }).run();
    },
  }),
});

/** The same by handlers that wait for whatever the point has them wait for. */
const slow = defineAsyncRepository(entries, {
  reads: (db) => ({
    async look() {
      await pass('running');
      const before = (await db.select().from(entries)).length;
      await pass('between statements');
      return before === (await db.select().from(entries)).length;
    },
  }),
  writes: (db, { afterCommit }) => {
    const put = async (): Promise<void> => {
      afterCommit(() => pass('after commit'));
      await pass('running');
      await db.insert(entries).values({ call: 'x', part: 1 }).run();
      await pass('between statements');
      await db.insert(entries).values({ call: 'x', part: 2 }).run();
    };
    return {
      put,
      /** Known to wait for something else, once it has been called: it then runs in a transaction of its own at once. */
      async putAlone(learn: boolean) {
        await turn();
        if (!learn) await put();
      },
    };
  },
});

const registry = defineRepositories(import.meta.url, { ...ledger.repositories, quick, slow });
type Cancelled = Database<typeof registry>;

/** Points that a handler or a callback comes past. */
type Inside = 'running' | 'between statements' | 'after commit';
type Point = 'before acquire' | 'queued' | 'behind a process' | Inside;

const KINDS = ['read', 'async read', 'write', 'async write', 'known to wait', 'transaction', 'snapshot'] as const;
type Kind = (typeof KINDS)[number];

/** What becomes of it: it succeeds, or is aborted with this outcome. A read has no outcome to tell. */
type End = 'succeeds' | 'aborted' | Outcome;

/**
 * | aborted            | read     | async read | write       | async write | transaction | snapshot |
 * |--------------------|----------|------------|-------------|-------------|-------------|----------|
 * | before acquire     | aborted  | aborted    | not started | not started | not started | aborted  |
 * | queued             | aborted  | aborted    | not started | not started | not started | aborted  |
 * | behind a process   | –        | –          | not started | not started | not started | –        |
 * | running            | succeeds | aborted    | succeeds    | rolled back | rolled back | aborted  |
 * | between statements | succeeds | aborted    | succeeds    | rolled back | rolled back | aborted  |
 * | after commit       | succeeds | succeeds   | succeeds    | succeeds    | succeeds    | succeeds |
 *
 * A synchronous handler that runs is over before anybody else can run, so that its own abort comes too late.
 */
const MATRIX: Readonly<
  Record<Point, Readonly<Record<'reading' | 'writing', Readonly<Record<'sync' | 'spans', End>>>>>
> = {
  'before acquire': both('aborted', 'not-started'),
  queued: both('aborted', 'not-started'),
  'behind a process': both('succeeds', 'not-started'),
  running: { reading: { sync: 'succeeds', spans: 'aborted' }, writing: { sync: 'succeeds', spans: 'rolled-back' } },
  'between statements': {
    reading: { sync: 'succeeds', spans: 'aborted' },
    writing: { sync: 'succeeds', spans: 'rolled-back' },
  },
  'after commit': both('succeeds', 'succeeds'),
};

function both(reading: End, writing: End) {
  return { reading: { sync: reading, spans: reading }, writing: { sync: writing, spans: writing } };
}

const isRead = (kind: Kind): boolean => kind === 'read' || kind === 'async read' || kind === 'snapshot';
const isSync = (kind: Kind): boolean => kind === 'read' || kind === 'write';

const CASES = (Object.keys(MATRIX) as Point[]).flatMap((point) =>
  KINDS.filter((kind) => point !== 'behind a process' || !isRead(kind)).map((kind) => ({
    point,
    kind,
    end: MATRIX[point][isRead(kind) ? 'reading' : 'writing'][isSync(kind) ? 'sync' : 'spans'],
  })),
);

function make(db: Cancelled, kind: Kind): Promise<unknown> {
  switch (kind) {
    case 'read':
      return db.api.quick.look();
    case 'async read':
      return db.api.slow.look();
    case 'write':
      return db.api.quick.put();
    case 'async write':
      return db.api.slow.put();
    case 'known to wait':
      return db.api.slow.putAlone(false);
    case 'transaction':
      return db.transaction(async (api) => {
        await pass('running');
        await api.quick.part(1);
        await pass('between statements');
        await api.quick.part(2);
      });
    case 'snapshot':
      return db.snapshot(async (api) => {
        await pass('running');
        const before = await api.entries.count();
        await pass('between statements');
        return before === (await api.entries.count());
      });
  }
}

/** Promises 9 to 12 for a call that its signal aborts, at whichever point of its life. */
export function cancellation(strategy: StrategyUnderTest): void {
  // The points are functions of the caller's, which reach handlers of its own thread only.
  if (!strategy.inThread) return;
  describe('9 to 12. Cancellation', () => {
    const dir = useTempDir();

    async function openPaced(): Promise<Cancelled> {
      createLedger(dir.file());
      const options = { file: dir.file(), repositories: registry, strategy: strategy.name };
      const db = await open({ ...options, durability: 'normal', readers: 1, timeout: 20_000 });
      dir.atEnd(() => db.close({ drain: 2000 }));
      await db.api.slow.putAlone(true);
      return db;
    }

    test.for(CASES)('a $kind whose signal aborts $point: $end', async ({ point, kind, end }) => {
      // | holder, or other process | call                      | signal                    |
      // |--------------------------|---------------------------|---------------------------|
      // | has what the call needs  |                           |                           |
      // |                          | comes to the point, waits |                           |
      // |                          |                           | aborts                    |
      // |                          | settles                   |                           |
      // | still has it, ends       |                           |                           |
      // |                          | tries to go on: too late  |                           |
      const db = await openPaced();
      const controller = new AbortController();
      const { signal } = controller;
      const reason = new Error('nobody waits for it any more');
      const [reached, held] = [gate(), gate()];
      // A test that fails half-way leaves nobody behind.
      dir.atEnd(() => {
        held.open();
      });
      let begun = false;
      const come = (at: Inside): unknown => {
        begun = true;
        if (at !== point) return undefined;
        if (!isSync(kind) && at !== 'after commit') {
          reached.open();
          return held.passed;
        }
        controller.abort(reason);
        return undefined;
      };
      const ask = (): Promise<unknown> => passing.run(come, () => db.context({ signal }, () => make(db, kind)));

      const release = await obstruct(db, point, kind);
      if (point === 'before acquire') controller.abort(reason);
      const call = ask();
      call.catch(() => undefined);
      if (point === 'queued') await until('the call to be queued', () => waiting(db) > 0);
      if (point === 'behind a process') await turns(20);
      if (end === 'succeeds') {
        await call;
        // A read has no commit after which it could be aborted: it is over.
        controller.abort(reason);
      } else {
        if (point === 'running' || point === 'between statements') await reached.passed;
        controller.abort(reason);
        const error = await rejection(call, AbortError);
        expect(error).toMatchObject({ name: 'AbortError', code: 'ABORT_ERR' });
        expect(error.cause).toBe(reason);
        if (end !== 'aborted') expect(error.outcome).toBe(end);
      }
      if (['before acquire', 'queued', 'behind a process'].includes(point)) expect(begun, 'it has begun').toBe(false);
      expect(getEventListeners(signal, 'abort'), 'who listens to the signal still').toEqual([]);
      expect(waiting(db), 'who waits still').toBe(0);
      await release();
      expectNoTransaction(dir);

      held.open();
      await turns();
      expectNoTransaction(dir);
      const kept = end === 'succeeds' && !isRead(kind) ? ['x/1', 'x/2'] : [];
      expect(committed(dir)).toEqual(kept);
      if (kept.length > 0) await db.api.entries.clear();
      // Whatever it had is free again, for calls of every kind.
      for (const next of KINDS) {
        await make(db, next);
        await db.api.entries.clear();
      }
      expect(db.stats().readers.leased).toBe(0);
    });

    test.for(KINDS)('a %s that waited and was served leaves nobody listening to its signal', async (kind) => {
      const db = await openPaced();
      const { signal } = new AbortController();
      const release = await obstruct(db, 'queued', kind);
      const call = db.context({ signal }, () => make(db, kind));
      await until('the call to be queued', () => waiting(db) > 0);
      await release();
      await call;
      await turns(1);
      expect(getEventListeners(signal, 'abort')).toEqual([]);
    });

    /** Has somebody hold what the call needs; the returned function ends that, and sees that it was not disturbed. */
    async function obstruct(db: Cancelled, point: Point, kind: Kind): Promise<() => Promise<void>> {
      if (point === 'behind a process') {
        const peer = await startPeer(dir);
        await peer.ask({ kind: 'lock' });
        return async () => {
          await peer.ask({ kind: 'unlock' });
        };
      }
      if (point !== 'queued') return () => Promise.resolve();
      const [begun, over] = [gate(), gate()];
      dir.atEnd(() => {
        over.open();
      });
      const hold = async (): Promise<string> => {
        begun.open();
        await over.passed;
        return 'undisturbed';
      };
      const holder = isRead(kind) && strategy.readsDuringTransaction ? db.snapshot(hold) : db.transaction(hold);
      await begun.passed;
      return async () => {
        over.open();
        expect(await holder).toBe('undisturbed');
      };
    }
  });
}

/** Calls that wait for the write lane or for a reader. */
function waiting(db: Cancelled): number {
  const { writes, readers } = db.stats();
  return (writes?.queued ?? 0) + readers.waiting;
}
