import { existsSync } from 'node:fs';
import type Sqlite from 'better-sqlite3';
import { expect } from 'vitest';
import { type OpenOptions } from '../../src/index.ts';
import { createLedger, ledger, type LedgerDatabase } from './ledger.ts';
import { type StrategyUnderTest } from './strategies.ts';
import { type TempDir } from './temp-dir.ts';
import { until } from './waiting.ts';

/** Opens the contract's ledger in the test's folder under a strategy; made at first use, closed after the test. */
export async function openLedger(
  dir: TempDir,
  strategy: StrategyUnderTest,
  options: Omit<Partial<OpenOptions<typeof ledger>>, 'repositories' | 'strategy'> = {},
): Promise<LedgerDatabase> {
  const file = options.file ?? dir.file();
  if (!existsSync(file)) createLedger(file as string);
  const db = await strategy.open({ ...options, file, repositories: ledger });
  // A test that failed half-way may have left a gate shut.
  dir.atEnd(() => db.close({ drain: 2000 }));
  return db;
}

/**
 * Nobody has a transaction open on the file, in this process or another: a checkpoint that empties the WAL needs the
 * write lock, and no reader that still looks at an old state.
 */
export function expectNoTransaction(dir: TempDir, file = dir.file()): void {
  const other = dir.raw(file);
  try {
    other.exec('BEGIN IMMEDIATE; ROLLBACK');
    const [checkpoint] = other.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[];
    expect(checkpoint?.busy, 'a transaction is still open').toBe(0);
  } finally {
    other.close();
  }
}

/**
 * Nobody holds a connection of this database, in whichever thread. What another thread gives back, and its figures, arrive a
 * moment after its answer.
 */
export async function expectNothingHeld(
  dir: TempDir,
  db: Pick<LedgerDatabase, 'stats'>,
  strategy: StrategyUnderTest,
  file = dir.file(),
): Promise<void> {
  if (!strategy.inThread) await until('the connections to come back', () => isFree(dir, db, file));
  expect(db.stats().streams).toEqual({ pinning: 0, oldest: undefined });
  expect(db.stats().readers.leased).toBe(0);
  expectNoTransaction(dir, file);
}

function isFree(dir: TempDir, db: Pick<LedgerDatabase, 'stats'>, file: string): boolean {
  const { streams, readers } = db.stats();
  if (streams.pinning + readers.leased > 0) return false;
  try {
    expectNoTransaction(dir, file);
    return true;
  } catch {
    return false;
  }
}

/** Whether a writer has the file. */
export function isLocked(handle: Sqlite.Database): boolean {
  try {
    handle.exec('BEGIN IMMEDIATE; ROLLBACK');
    return false;
  } catch {
    return true;
  }
}

/** What is committed, as another connection sees it: every row as `call/part`, in the order of the inserts. */
export function committed(dir: TempDir, file = dir.file()): string[] {
  const other = dir.raw(file);
  try {
    return other.prepare<[], string>("SELECT call || '/' || part FROM entries ORDER BY id").pluck().all();
  } finally {
    other.close();
  }
}
