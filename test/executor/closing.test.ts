/** Promise 14 where several threads have the file open: all of it is closed, or nothing. */
import { once } from 'node:events';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ClosedError, InternalError } from '../../src/index.ts';
import { openHostile, openInRollback } from '../support/open-hostile.ts';
import { committed, expectNoTransaction, isLocked } from '../support/open-ledger.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { gate, rejection, until } from '../support/waiting.ts';
import { startThread } from './thread.ts';

describe.for([
  ['one thread', {}],
  ['three threads', { readers: 2 }],
] as const)('a close of %s', ([, options]) => {
  const dir = useTempDir();

  test('that failed has closed nothing, and can be tried again', async () => {
    // | a reader's thread               | close                       | callers           |
    // |---------------------------------|-----------------------------|-------------------|
    // | a statement is under way        |                             |                   |
    // |                                 | fails                       |                   |
    // | it ends                         |                             | call as before    |
    // |                                 | closes everything           |                   |
    const db = await openHostile(dir, options);
    const thread = startThread(dir, db);
    await db.api.hostile.add('a');
    const occupied = dir.file('occupied');
    writeFileSync(occupied, '');
    await db.api.hostile.occupyWhile(occupied);
    await until('the statement to begin', () => existsSync(`${occupied}.begun`));
    const error = await rejection(db.close(), InternalError);
    expect(error.message).toContain('nothing was closed');
    rmSync(occupied);
    await until('the statement to end', () => existsSync(`${occupied}.ended`));

    await db.api.hostile.add('b');
    await db.transaction((api) => api.hostile.add('c'));
    expect(await thread.tell({ kind: 'add', call: 'd' })).toBe(1);
    const reads = Array.from({ length: 6 }, () => db.snapshot((api) => api.hostile.listed()));
    for (const listed of await Promise.all(reads)) expect(listed).toEqual(['a/1', 'b/1', 'c/1', 'd/1']);
    expect(await db.close()).toEqual({ abandoned: [] });
    expect(dir.descriptors()).toEqual([]);
    await rejection(db.api.hostile.listed(), ClosedError);
  });

  test('that gave up and failed gives up on nothing that comes later', async () => {
    const db = await openHostile(dir, options);
    await db.api.hostile.add('a');
    const occupied = dir.file('occupied');
    writeFileSync(occupied, '');
    await db.api.hostile.occupyWhile(occupied);
    await until('the statement to begin', () => existsSync(`${occupied}.begun`));
    await rejection(
      db.context({ signal: AbortSignal.abort() }, () => db.close()),
      InternalError,
    );
    rmSync(occupied);
    await until('the statement to end', () => existsSync(`${occupied}.ended`));
    const begun = gate();
    const transaction = db.transaction(async (api) => {
      await api.hostile.add('b');
      begun.open();
      await new Promise((resolve) => setTimeout(resolve, 1200));
      return api.hostile.add('c');
    });
    await begun.passed;
    // Longer than a thread is waited for whose close gave up.
    expect(await transaction).toBe(1);
    expect(await db.close()).toEqual({ abandoned: [] });
    expect(committed(dir)).toEqual(['a/1', 'b/1', 'c/1']);
    expectNoTransaction(dir);
  });

  test('that gives up names a call of another thread also where one of this thread has its name', async () => {
    // | a third thread | here                     | another thread  | close                           |
    // |----------------|--------------------------|-----------------|---------------------------------|
    // | a transaction  |                          |                 |                                 |
    // |                | waits                    |                 |                                 |
    // |                |                          | the same, waits |                                 |
    // | dies           | its handler runs         |                 |                                 |
    // |                | sees that it is given up |                 | gives up; finds one in the lane |
    const db = await openHostile(dir, options);
    const [thread, third] = [startThread(dir, db), startThread(dir, db)];
    expect(await thread.tell({ kind: 'snapshot' })).toEqual([]);
    expect(await third.tell({ kind: 'transact', call: 'third' })).toBe('inside');
    const noticed = dir.file('noticed');
    const own = rejection(db.api.hostile.addUntilGivenUp('own', 10_000, noticed), ClosedError);
    await until('the call here to wait', () => db.stats().writes?.queued === 1);
    const order = { kind: 'add-until-given-up', call: 'other', noticed } as const;
    const other = rejection(thread.tell(order), ClosedError);
    await until('the other call to wait', () => db.stats().writes?.queued === 2);
    await third.worker.terminate();
    await until('the handler to run', () => existsSync(`${noticed}.begun`));
    const { abandoned } = await db.close({ drain: 0 });
    expect(abandoned).toEqual(['hostile.addUntilGivenUp', 'hostile.addUntilGivenUp']);
    expect((await own).outcome).toBe('rolled-back');
    expect((await other).outcome).toBe('not-started');
    expect(existsSync(noticed)).toBe(true);
    expect(committed(dir)).toEqual([]);
  });

  test('that gives up on a COMMIT that waits names it once, whatever else has its name', async () => {
    // | a connection elsewhere | here                       | close    |
    // |------------------------|----------------------------|----------|
    // | reads                  |                            |          |
    // |                        | add: its COMMIT waits      |          |
    // |                        | add and clear: are queued  |          |
    // |                        |                            | gives up |
    const db = await openInRollback(dir, { ...options, timeout: 60_000 });
    expect(db.decision.journal).toBe('rollback');
    const reader = dir.raw();
    reader.exec('BEGIN');
    reader.prepare('SELECT count(*) FROM entries').get();
    const probe = dir.raw();
    const first = rejection(db.api.hostile.add('a'), ClosedError);
    await until('its COMMIT to wait', () => isLocked(probe));
    const others = [db.api.hostile.add('b'), db.api.hostile.clear()].map((call) => rejection(call, ClosedError));
    await until('the others to wait', () => db.stats().writes?.queued === 2);
    const { abandoned } = await db.close({ drain: 50 });
    expect([...abandoned].sort()).toEqual(['hostile.add', 'hostile.add', 'hostile.clear']);
    expect((await first).outcome).toBe('rolled-back');
    for (const error of await Promise.all(others)) expect(error.outcome).toBe('not-started');
    reader.exec('ROLLBACK');
    expect(committed(dir)).toEqual([]);
  });

  test('that leaves its thread to itself takes no result from a transaction of another thread that is committed', async () => {
    // | another thread                    | close                |
    // |-----------------------------------|----------------------|
    // | a transaction is committed        |                      |
    // | its effect keeps the thread busy  |                      |
    // |                                   | leaves the thread    |
    // | has its callback's result         |                      |
    const db = await openHostile(dir, options);
    const theirs = startThread(dir, db).tell({ kind: 'transact-and-occupy', call: 'a' });
    await until('its COMMIT', () => committed(dir).length === 1);
    await db.close({ drain: 50 });
    expect(await theirs).toBe('mine');
    // The thread ends when its effect does.
    await expect.poll(() => dir.descriptors(), { timeout: 60_000 }).toEqual([]);
  });

  test('that waits for long says for what of callers in other threads', async () => {
    const db = await openHostile(dir, options);
    const thread = startThread(dir, db);
    expect(await thread.tell({ kind: 'transact', call: 'a' })).toBe('inside');
    const warned = once(process, 'warning') as Promise<[Error & { code: string }]>;
    const closing = db.close();
    const [warning] = await warned;
    expect(warning.code).toBe('SLUICE_CLOSE_WAITS');
    expect(warning.message).toMatch(/waited 5000 ms for transaction; end these first/);
    await db.close({ drain: 0 });
    expect(await closing).toEqual({ abandoned: ['transaction'] });
  });

  test('that gives up names what it gave up on for callers in other threads, too', async () => {
    const db = await openHostile(dir, options);
    const thread = startThread(dir, db);
    expect(await thread.tell({ kind: 'transact', call: 'a' })).toBe('inside');
    const own = rejection(db.api.hostile.add('b'), ClosedError);
    const others = rejection(startThread(dir, db).tell({ kind: 'add', call: 'c' }), ClosedError);
    await until('the call of the other thread', () => db.stats().writes?.queued === 2);
    const report = await db.close({ drain: 50 });
    expect([...report.abandoned].sort()).toEqual(['hostile.add', 'hostile.add', 'transaction']);
    await Promise.all([own, others]);
    expect(committed(dir)).toEqual([]);
  });
});
