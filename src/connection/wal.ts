import { statSync } from 'node:fs';
import { type Handle, type NativeStatement } from './handle.ts';

/**
 * `passive` moves what nobody still reads past, and holds off nobody. `restart` also keeps writers out while it does, if none
 * is at work, so that the next one starts the WAL from its beginning; else it is passive. `truncate` needs the WAL to
 * itself, and empties it.
 */
export type CheckpointMode = 'passive' | 'restart' | 'truncate';

/** How far the checkpoints of a WAL have come. */
export interface WalState {
  /** A lock was in the way. */
  readonly busy: boolean;
  /** Pages in the WAL. */
  readonly pages: number;
  /** How many of them are in the database as well. */
  readonly moved: number;
}

const MODES = { passive: 'PASSIVE', restart: 'RESTART', truncate: 'TRUNCATE' } as const;

/** The WAL's frame header beside each page. */
const FRAME_HEADER = 24;

/**
 * Runs one checkpoint on a handle that is outside any transaction. With a busy timeout of 0 it never waits: what is in the
 * way makes it `busy`, or leaves pages behind.
 *
 * @throws the driver's error: a full disk, an I/O error, or a statement under way on this handle
 * @see https://www.sqlite.org/pragma.html#pragma_wal_checkpoint
 */
export function checkpoint(handle: Handle, mode: CheckpointMode): WalState {
  return stateOf(handle.prepare(`PRAGMA wal_checkpoint(${MODES[mode]})`).raw().get());
}

/**
 * Looks how far the checkpoints of a handle's WAL have come, and moves nothing. It is asked every few milliseconds, so it is
 * prepared once; and SQLite compiles a pragma anew for each run, whereupon the driver would make a new function for its rows,
 * which costs more than the look: hence `raw`.
 */
export class WalGauge {
  readonly handle: Handle;
  readonly #statement: NativeStatement;

  constructor(handle: Handle) {
    this.handle = handle;
    this.#statement = handle.prepare('PRAGMA wal_checkpoint(NOOP)').raw();
  }

  /** @throws the driver's error */
  read(): WalState {
    return stateOf(this.#statement.get());
  }
}

/** Bytes that pages take in the WAL. */
export function walBytes(handle: Handle, pages: number): number {
  return pages * (numberOf(handle, 'page_size') + FRAME_HEADER);
}

/** Bytes above which SQLite cuts the WAL back; `undefined` for no limit. */
export function walLimit(handle: Handle): number | undefined {
  const limit = numberOf(handle, 'journal_size_limit');
  return limit < 0 ? undefined : limit;
}

/** Bytes of the file; 0 when there is none. It is never opened: closing it would drop SQLite's locks. */
export function walSize(walFile: string): number {
  return statSync(walFile, { throwIfNoEntry: false })?.size ?? 0;
}

function stateOf(row: unknown): WalState {
  const [busy, log, checkpointed] = row as [busy: number, log: number, checkpointed: number];
  // SQLite says -1 where there is no WAL.
  return { busy: busy === 1, pages: Math.max(0, log), moved: Math.max(0, checkpointed) };
}

function numberOf(handle: Handle, pragma: string): number {
  return Number(handle.pragma(pragma, { simple: true }));
}
