/**
 * What ends a write whose COMMIT waits: with a rollback journal a reader of another connection holds it off.
 *
 * | another connection | a write                         |
 * |--------------------|---------------------------------|
 * | reads              |                                 |
 * |                    | runs, and waits with its COMMIT |
 * |                    | its signal, deadline or close   |
 * |                    | is undone at once, and told so  |
 * | reads on           |                                 |
 */
import { realpathSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { AbortError, BusyError, ClosedError, open, SluiceError, TimeoutError } from '../../src/index.ts';
import { enterFile, leaveFile } from '../../src/lanes/open-files.ts';
import { createLedger, Refusal } from '../support/ledger.ts';
import { mixed, type MixedDatabase } from '../support/model.ts';
import { committed, expectNoTransaction } from '../support/open-ledger.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection, until } from '../support/waiting.ts';

const dir = useTempDir();
const TIMEOUT = 20_000;

/** Opens a database with a rollback journal, from which another connection reads until it is told to stop. */
async function openHeldOff(): Promise<{ db: MixedDatabase; stopReading: () => void }> {
  createLedger(dir.file());
  // A file that another writer of this process has open keeps its journal: here it is in the registry only.
  const entry = enterFile(realpathSync(dir.file()), 'write', false);
  dir.atEnd(() => {
    leaveFile(entry, 'write');
  });
  const db = await open({ file: dir.file(), repositories: mixed, strategy: 'shared', timeout: TIMEOUT });
  dir.atEnd(() => db.close({ drain: 1000 }));
  expect(db.decision.journal).toBe('rollback');
  const reader = dir.raw();
  reader.exec('BEGIN');
  reader.prepare('SELECT count(*) FROM entries').get();
  const stopReading = (): void => {
    if (reader.inTransaction) reader.exec('ROLLBACK');
  };
  dir.atEnd(stopReading);
  return { db, stopReading };
}

const ways: Record<string, (db: MixedDatabase, call: string) => Promise<unknown>> = {
  'a call': (db, call) => db.api.entries.run(call, ['row']),
  'an asynchronous call': (db, call) => db.api.awaiting.hop(call, ['row']),
  'a transaction': (db, call) => db.transaction((api) => api.entries.run(call, ['row'])),
};

describe.each(Object.keys(ways))('%s whose COMMIT waits', (way) => {
  const write = ways[way] ?? (() => Promise.reject(new Error('no such way')));

  test('ends with its signal', async () => {
    const { db, stopReading } = await openHeldOff();
    const since = performance.now();
    const aborted = db.context({ signal: AbortSignal.timeout(50) }, () => write(db, 'a'));
    expect(await rejection(aborted, AbortError)).toMatchObject({ outcome: 'rolled-back' });
    expect(performance.now() - since).toBeLessThan(TIMEOUT / 10);
    expectNoTransaction(dir);
    stopReading();
    await write(db, 'b');
    expect(committed(dir)).toEqual(['b/1']);
  });

  test('ends with the deadline of its context, and not with that of whoever shares its batch', async () => {
    const { db, stopReading } = await openHeldOff();
    const since = performance.now();
    const late = rejection(
      db.context({ timeout: 50 }, () => write(db, 'a')),
      SluiceError,
    );
    const other = write(db, 'b');
    const error = await late;
    expect([BusyError, TimeoutError]).toContain(error.constructor);
    expect(error.outcome).toBe('rolled-back');
    expect(performance.now() - since).toBeLessThan(TIMEOUT / 10);
    stopReading();
    await other;
    expect(committed(dir)).toEqual(['b/1']);
  });

  test('is given up on, and named, by a close with a deadline', async () => {
    const { db } = await openHeldOff();
    const closed = rejection(write(db, 'a'), ClosedError);
    await until('the handler to have run', () => (db.stats().writes?.run.count ?? 0) > 0 || way === 'a transaction');
    const since = performance.now();
    const { abandoned } = await db.close({ drain: 50 });
    expect(abandoned).toHaveLength(1);
    expect(performance.now() - since).toBeLessThan(TIMEOUT / 10);
    expect(await closed).toMatchObject({ outcome: 'rolled-back' });
    expect(committed(dir)).toEqual([]);
  });
});

test('a call that had failed before any other wrote is told what it failed with, and not what its wait ended with', async () => {
  const { db, stopReading } = await openHeldOff();
  const early = rejection(
    db.context({ timeout: 50 }, () => db.api.entries.run('a', ['row', 'throw'])),
    Refusal,
  );
  const later = db.api.entries.run('b', ['row']);
  expect(await early).toMatchObject({ outcome: 'rolled-back' });
  stopReading();
  await later;
  expect(committed(dir)).toEqual(['b/1']);
});
