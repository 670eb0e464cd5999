/** Promises 10 and 14: a close with a deadline ends, names what it gave up on and nothing else, and nothing begins after it. */
import { existsSync } from 'node:fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { ClosedError, ExecutorError, TimeoutError, TransactionEndedError } from '../../src/index.ts';
import { type HostileDatabase, openHostile, openInRollback } from '../support/open-hostile.ts';
import { committed, isLocked } from '../support/open-ledger.ts';
import { TempDir, useTempDir } from '../support/temp-dir.ts';
import { type Gate, gate, rejection, until } from '../support/waiting.ts';
import { startThread } from './thread.ts';

/** Steps that SQLite counts for seconds. */
const SECONDS = 6_000_000;
/** Milliseconds in which a close leaves a thread that is stuck, with what a loaded machine may add. */
const SOON = 4000;

describe.for([
  ['one thread', {}],
  ['three threads', { readers: 2 }],
] as const)('a close with a deadline of %s', ([, options]) => {
  const dir = useTempDir();

  /** Closes it, and says what it named and how long it took. */
  async function close(db: HostileDatabase, drain: number): Promise<{ names: string[]; took: number }> {
    const since = performance.now();
    const { abandoned } = await db.close({ drain });
    return { names: [...abandoned].sort(), took: performance.now() - since };
  }

  /** The thread ends when its statement, or its handler, has. */
  async function threadsEnd(): Promise<void> {
    await expect.poll(() => dir.descriptors(), { timeout: 60_000 }).toEqual([]);
  }

  test.for(['transaction', 'snapshot'] as const)('leaves a thread that is stuck in a %s', async (what) => {
    const db = await openHostile(dir, { ...options, timeout: 60_000 });
    const begun = dir.file('begun');
    const inner = gate();
    let inside: Promise<Error> | undefined;
    const scope = rejection(
      db[what](async (api) => {
        inside = rejection(api.hostile.stuckSince(begun, 3 * SECONDS), TransactionEndedError);
        inner.open();
        await inside;
      }),
      ClosedError,
    );
    await inner.passed;
    await until('the query to begin', () => existsSync(begun));
    const { names, took } = await close(db, 50);
    expect(took).toBeLessThan(SOON);
    expect(names).toEqual([what]);
    expect((await scope).outcome).toBe(what === 'transaction' ? 'rolled-back' : undefined);
    expect((await inside)?.message).toContain(`its ${what} was given up meanwhile`);
    await threadsEnd();
  });

  test('leaves a thread that is stuck in a transaction whose caller has been told already', async () => {
    const db = await openHostile(dir, options);
    const inside: Promise<Error & { outcome?: unknown }>[] = [];
    const late = rejection(
      db.context({ timeout: 200 }, () =>
        db.transaction(async (api) => {
          const stuck = rejection(api.hostile.addAndStick('a', 3 * SECONDS), TransactionEndedError);
          inside.push(stuck);
          await stuck;
        }),
      ),
      TimeoutError,
    );
    expect((await late).outcome).toBe('rolled-back');
    expect((await inside[0])?.outcome, 'the call ends with its transaction').toBe('rolled-back');
    const { names, took } = await close(db, 50);
    expect(took).toBeLessThan(SOON);
    expect(names).toEqual([]);
    await threadsEnd();
    expect(committed(dir)).toEqual([]);
  });

  test('leaves a thread whose effect of a committed write does not end, and says that it is committed', async () => {
    const db = await openHostile(dir, { ...options, timeout: 60_000 });
    const write = rejection(db.api.hostile.addAndOccupy('a', 6000), ClosedError);
    await until('its COMMIT', () => committed(dir).length === 1);
    const { names, took } = await close(db, 50);
    expect(took).toBeLessThan(SOON);
    expect(names).toEqual(['hostile.addAndOccupy']);
    expect((await write).outcome).toBe('committed');
    await threadsEnd();
  });

  // In a batch, and as the only caller there has been for a while, whose calls run at once.
  test.for([0, 20])('begins nothing that comes after it has given up (after %i others)', async (others) => {
    // | here                        | another thread   | close    |
    // |-----------------------------|------------------|----------|
    // | its handler runs            |                  |          |
    // |                             | a call is sent   |          |
    // | sees that it is given up    |                  | gives up |
    const db = await openHostile(dir, options);
    const thread = startThread(dir, db);
    expect(await thread.tell({ kind: 'snapshot' })).toEqual([]);
    for (let at = 0; at < others; at++) await db.api.hostile.add(String(at));
    const [noticed, theirs] = [dir.file('noticed'), dir.file('theirs')];
    const own = rejection(db.api.hostile.addUntilGivenUp('own', 30_000, noticed), ClosedError);
    await until('the handler to run', () => existsSync(`${noticed}.begun`));
    const sent = dir.file('sent');
    const order = { kind: 'add-until-given-up', call: 'other', noticed: theirs, sent } as const;
    const other = rejection(thread.tell(order), ClosedError);
    await until('the other call to be sent', () => existsSync(sent));
    const { names, took } = await close(db, 0);
    expect(existsSync(`${theirs}.begun`), 'theirs has begun').toBe(false);
    expect(names).toEqual(['hostile.addUntilGivenUp', 'hostile.addUntilGivenUp']);
    expect(took).toBeLessThan(SOON);
    expect((await own).outcome).toBe('rolled-back');
    expect((await other).outcome).toBe('not-started');
    expect(committed(dir)).toHaveLength(others);
  });

  test('names a call that failed and one that waits for its COMMIT, though they have one name', async () => {
    const db = await openInRollback(dir, { ...options, timeout: 60_000 });
    await db.api.hostile.add('a');
    const reader = dir.raw();
    reader.exec('BEGIN');
    reader.prepare('SELECT count(*) FROM entries').get();
    const probe = dir.raw();
    const calls = [db.api.hostile.add('a'), db.api.hostile.add('b')].map((call) => rejection(call, ClosedError));
    await until('their COMMIT to wait', () => isLocked(probe));
    const { names } = await close(db, 50);
    expect(names).toEqual(['hostile.add', 'hostile.add']);
    for (const error of await Promise.all(calls)) expect(error.outcome).toBe('rolled-back');
    reader.exec('ROLLBACK');
    expect(committed(dir)).toEqual(['a/1']);
  });

  test('does not name a stream that has been ended, nor a snapshot whose callback has', async () => {
    const db = await openHostile(dir, options);
    for (const call of ['a', 'b', 'c']) await db.api.hostile.add(call);
    const rows = db.api.hostile.stream({}, { consistent: true, batch: 1 })[Symbol.asyncIterator]();
    await rows.next();
    await rows.next();
    const [inside, settling] = [gate(), gate()];
    const snapshot = db.snapshot(async (api) => {
      const listed = await api.hostile.listed();
      inside.open();
      await settling.passed;
      return listed;
    });
    await inside.passed;
    const begun = dir.file('begun');
    const busy = rejection(db.api.hostile.untilGivenUp(30_000, begun), ClosedError);
    await until('the thread to be busy', () => existsSync(begun));
    const ended = rows.return?.();
    settling.open();
    await new Promise((resolve) => setImmediate(resolve));
    const { names } = await close(db, 0);
    expect(names).toEqual(['hostile.untilGivenUp']);
    expect(await snapshot).toHaveLength(3);
    expect(await ended).toMatchObject({ done: true });
    await busy;
  });

  test('does not name the end of a stream that nobody awaits any more', async () => {
    const db = await openHostile(dir, { ...options, timeout: 60 });
    const values = db.api.hostile.weighed()[Symbol.asyncIterator]();
    await values.next();
    const begun = dir.file('begun');
    const busy = rejection(startThread(dir, db).tell({ kind: 'until-given-up', call: begun }), ClosedError);
    await until('the thread to be busy', () => existsSync(begun));
    await values.return?.();
    expect((await close(db, 0)).names).toEqual([]);
    await busy;
    await threadsEnd();
  });
});

describe('a close with a deadline', () => {
  const dir = useTempDir();

  test('begins no read and no callback of other threads either', async () => {
    const db = await openHostile(dir);
    const threads = [startThread(dir, db), startThread(dir, db)] as const;
    for (const thread of threads) expect(await thread.tell({ kind: 'snapshot' })).toEqual([]);
    const begun = dir.file('begun');
    const own = rejection(db.api.hostile.untilGivenUp(30_000, begun), ClosedError);
    await until('the handler to run', () => existsSync(begun));
    const [theirs, sent, sentToo] = [dir.file('theirs'), dir.file('sent'), dir.file('sent-too')];
    const calls = [
      rejection(threads[0].tell({ kind: 'hold-snapshot', sent }), ClosedError),
      rejection(threads[1].tell({ kind: 'until-given-up', call: theirs, sent: sentToo }), ClosedError),
    ];
    await until('both to be sent', () => existsSync(sent) && existsSync(sentToo));
    const { abandoned } = await db.close({ drain: 0 });
    expect([...abandoned].sort()).toEqual(['hostile.untilGivenUp', 'hostile.untilGivenUp', 'snapshot']);
    await Promise.all([own, ...calls]);
    expect(existsSync(theirs), 'theirs has begun').toBe(false);
  });

  test('begins nothing in a thread that takes the place of one that died', async () => {
    // | the reader's thread | the writer's thread | another thread | close    |
    // |---------------------|---------------------|----------------|----------|
    // | is stuck            | dies                |                |          |
    // |                     |                     | writes         |          |
    // |                     |                     |                | gives up |
    // |                     | is there again      |                |          |
    const db = await openHostile(dir, { readers: 1, timeout: 60_000 });
    const thread = startThread(dir, db);
    expect(await thread.tell({ kind: 'snapshot' })).toEqual([]);
    const begun = dir.file('begun');
    const stuck = rejection(db.api.hostile.stuckSince(begun, 3 * SECONDS), ClosedError);
    await until('the query to begin', () => existsSync(begun));
    await rejection(db.api.hostile.addAndExit('a'), ExecutorError);
    const late = rejection(thread.tell({ kind: 'add', call: 'late' }), ClosedError);
    await db.close({ drain: 0 });
    await Promise.all([stuck, late]);
    await expect.poll(() => dir.descriptors(), { timeout: 60_000 }).toEqual([]);
    expect(committed(dir)).toEqual([]);
  });

  test('names everything of this thread, though one of several threads is stuck', async () => {
    const db = await openHostile(dir, { readers: 2, timeout: 60_000 });
    const begun = dir.file('begun');
    const calls = [rejection(db.api.hostile.stuckSince(begun, 3 * SECONDS), ClosedError)];
    await until('the query to begin', () => existsSync(begun));
    const [reads, writes] = [gate(), gate()];
    const hold = async (opened: Gate): Promise<void> => {
      opened.open();
      await gate().passed;
    };
    calls.push(
      rejection(
        db.snapshot(() => hold(reads)),
        ClosedError,
      ),
    );
    calls.push(
      rejection(
        db.transaction(() => hold(writes)),
        ClosedError,
      ),
    );
    await Promise.all([reads.passed, writes.passed]);
    for (let at = 0; at < 500; at++) calls.push(rejection(db.api.hostile.add(String(at)), ClosedError));
    const { abandoned } = await db.close({ drain: 0 });
    await Promise.all(calls);
    const others = abandoned.filter((label) => label !== 'hostile.add');
    expect([...others].sort()).toEqual(['hostile.stuckSince', 'snapshot', 'transaction']);
    expect(abandoned).toHaveLength(503);
    await expect.poll(() => dir.descriptors(), { timeout: 60_000 }).toEqual([]);
  });
});

test('a close finishes what another thread has called before it, though nobody had come to that yet', async () => {
  // | here                     | another thread | close  |
  // |--------------------------|----------------|--------|
  // | a handler runs           |                |        |
  // |                          | calls          |        |
  // |                          |                | begins |
  // | ends; the other one runs |                |        |
  const dir = new TempDir();
  onTestFinished(() => dir.end());
  const db = await openHostile(dir);
  const [first, second] = [startThread(dir, db), startThread(dir, db)];
  for (const thread of [first, second]) expect(await thread.tell({ kind: 'snapshot' })).toEqual([]);
  const [busy, early, sent] = [dir.file('busy'), dir.file('early'), dir.file('sent')];
  const reads = first.tell({ kind: 'until-given-up', call: busy });
  await until('the thread to be busy', () => existsSync(busy));
  const write = second.tell({ kind: 'add-until-given-up', call: 'early', noticed: early, atMost: 0, sent });
  await until('the call to be sent', () => existsSync(sent));
  expect(await db.close()).toEqual({ abandoned: [] });
  await Promise.all([reads, write]);
  expect(committed(dir)).toEqual(['early/1']);
});
