import { existsSync, writeFileSync } from 'node:fs';
import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { AbortError, type Outcome } from '../../src/index.ts';
import { cancelled, type Cancelled, type Inside, passing, type Stop } from '../support/cancelled.ts';
import { createLedger } from '../support/ledger.ts';
import { committed, expectNothingHeld, expectNoTransaction } from '../support/open-ledger.ts';
import { startPeer } from '../support/peer.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { gate, rejection, turns, until } from '../support/waiting.ts';

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
 * In the caller's own thread a synchronous handler that runs is over before anybody else can run, so that its own abort comes
 * too late. One of another thread can be given up: its caller goes on, and when it ends it is undone. It then is `spans` below.
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
  KINDS.filter((kind) => point !== 'behind a process' || !isRead(kind)).map((kind) => ({ point, kind })),
);

/** Makes the call. `come` is asked at the points of a callback, and `stop` tells a handler of another thread about its own. */
function make(db: Cancelled, kind: Kind, come?: (point: Inside) => unknown, stop?: Stop): Promise<unknown> {
  switch (kind) {
    case 'read':
      return db.api.quick.look(stop);
    case 'async read':
      return db.api.slow.look(stop);
    case 'write':
      return db.api.quick.put(stop);
    case 'async write':
      return db.api.slow.put(stop);
    case 'known to wait':
      return db.api.slow.putAlone(false, stop);
    case 'transaction':
      return db.transaction(async (api) => {
        await come?.('running');
        await api.quick.part(1, stop);
        await come?.('between statements');
        await api.quick.part(2, stop);
      });
    case 'snapshot':
      return db.snapshot(async (api) => {
        await come?.('running');
        const before = await api.entries.count();
        await come?.('between statements');
        return before === (await api.entries.count());
      });
  }
}

/** Promises 9 to 12 for a call that its signal aborts, at whichever point of its life. */
export function cancellation(strategy: StrategyUnderTest): void {
  describe('9 to 12. Cancellation', () => {
    const dir = useTempDir();

    const nothingHeld = (db: Cancelled): Promise<void> => expectNothingHeld(dir, db, strategy);

    async function openPaced(kind: Kind): Promise<Cancelled> {
      createLedger(dir.file());
      const options = { file: dir.file(), repositories: cancelled, timeout: 20_000, durability: 'normal' } as const;
      // The one reader is what reads are made to wait for.
      const db = await strategy.open(isRead(kind) ? { ...options, readers: 1 } : options);
      dir.atEnd(() => db.close({ drain: 2000 }));
      await db.api.slow.putAlone(true);
      return db;
    }

    /** Whether it is a handler that nobody but itself can abort while it runs. */
    const isAlone = (kind: Kind): boolean => isSync(kind) && strategy.inThread;
    const cases = CASES.map(({ point, kind }) => {
      const ends = MATRIX[point][isRead(kind) ? 'reading' : 'writing'];
      return { point, kind, end: ends[isAlone(kind) ? 'sync' : 'spans'] };
    });

    /** Another thread's figures are a moment old. */
    const expectNobodyWaits = async (db: Cancelled): Promise<void> => {
      if (!strategy.inThread) await until('nobody to wait', () => waiting(db) === 0);
      expect(waiting(db), 'who waits still').toBe(0);
    };

    test.for(cases)('a $kind whose signal aborts $point: $end', async ({ point, kind, end }) => {
      // | holder, or other process | call                      | signal                    |
      // |--------------------------|---------------------------|---------------------------|
      // | has what the call needs  |                           |                           |
      // |                          | comes to the point, waits |                           |
      // |                          |                           | aborts                    |
      // |                          | settles                   |                           |
      // | still has it, ends       |                           |                           |
      // |                          | tries to go on: too late  |                           |
      const db = await openPaced(kind);
      const controller = new AbortController();
      const { signal } = controller;
      const reason = new Error('nobody waits for it any more');
      const [reached, held] = [gate(), gate()];
      const inHandler = kind !== 'transaction' && kind !== 'snapshot';
      const stop: Stop | undefined = strategy.inThread
        ? undefined
        : {
            // A callback comes to its points by itself, here.
            at: inHandler || point === 'after commit' ? point : undefined,
            begun: dir.file('begun'),
            reached: dir.file('reached'),
            held: dir.file('held'),
          };
      const goOn = (): void => {
        held.open();
        if (stop !== undefined) writeFileSync(stop.held, '');
      };
      // A test that fails half-way leaves nobody behind.
      dir.atEnd(goOn);
      let begun = false as boolean;
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
      const ask = (): Promise<unknown> => {
        const call = (): Promise<unknown> => db.context({ signal }, () => make(db, kind, come, stop));
        return strategy.inThread ? passing.run(come, call) : call();
      };
      const stopped = async (): Promise<void> => {
        if (stop === undefined || (!inHandler && point !== 'after commit')) await reached.passed;
        else await until('the handler to come to its point', () => existsSync(stop.reached));
      };

      const release = await obstruct(db, point, kind);
      if (point === 'before acquire') controller.abort(reason);
      const call = ask();
      call.catch(() => undefined);
      if (point === 'queued') await until('the call to be queued', () => waiting(db) > 0);
      if (point === 'behind a process') await turns(20);
      if (end === 'succeeds') {
        if (point === 'after commit' && stop !== undefined && !isRead(kind)) {
          await stopped();
          controller.abort(reason);
          await turns(20);
          goOn();
        }
        await call;
        // A read has no commit after which it could be aborted: it is over.
        controller.abort(reason);
      } else {
        if (point === 'running' || point === 'between statements') await stopped();
        controller.abort(reason);
        const error = await rejection(call, AbortError);
        expect(error).toMatchObject({ name: 'AbortError', code: 'ABORT_ERR' });
        expect(error.cause).toBe(reason);
        // It runs twice, because it waits for something else. Aborted between its two runs it has not started.
        const between = kind === 'async write' && !strategy.inThread && end === 'rolled-back';
        if (end === 'aborted') expect(error.outcome).toBeUndefined();
        else expect(between ? [end, 'not-started'] : [end]).toContain(error.outcome);
      }
      if (['before acquire', 'queued', 'behind a process'].includes(point)) {
        expect(begun || (stop !== undefined && existsSync(stop.begun)), 'it has begun').toBe(false);
      }
      expect(getEventListeners(signal, 'abort'), 'who listens to the signal still').toEqual([]);
      await expectNobodyWaits(db);
      await release();
      // Nobody can end a handler of another thread that does not await: what it has open it keeps until it ends.
      if (strategy.inThread || !isSync(kind)) expectNoTransaction(dir);

      goOn();
      await turns();
      await nothingHeld(db);
      const kept = end === 'succeeds' && !isRead(kind) ? ['x/1', 'x/2'] : [];
      expect(committed(dir)).toEqual(kept);
      if (kept.length > 0) await db.api.entries.clear();
      // Whatever it had is free again, for calls of every kind.
      for (const next of KINDS) {
        await make(db, next);
        await db.api.entries.clear();
      }
      await nothingHeld(db);
    });

    test.for(KINDS)('a %s that waited and was served leaves nobody listening to its signal', async (kind) => {
      const db = await openPaced(kind);
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
