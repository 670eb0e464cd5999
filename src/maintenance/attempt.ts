import { type Connection } from '../connection/connection.ts';
import { checkpointInThread } from '../connection/checkpoint-thread.ts';
import { checkpoint, type CheckpointMode, type WalState } from '../connection/wal.ts';
import { translateError } from '../connection/sqlite-errors.ts';

/** One checkpoint that was tried. */
export interface Attempt {
  readonly mode: CheckpointMode;
  /** What it left; `undefined` when it failed. */
  readonly state: WalState | undefined;
  /** Why it failed. */
  readonly error: unknown;
  /** Everything is in the database, and after `truncate` the WAL is empty. */
  readonly complete: boolean;
  readonly duration: number;
  /** It ran in a thread of its own. */
  readonly thread: boolean;
}

/** One that runs in a thread. */
export interface ThreadAttempt {
  /** Never rejects. */
  readonly ended: Promise<Attempt>;
  /** Keeps the process alive until it has ended. */
  ref(): void;
}

/** Runs a checkpoint here and now, on a connection outside any transaction. Never throws. */
export function attemptHere(connection: Connection, mode: CheckpointMode): Attempt {
  const began = performance.now();
  let state: WalState | undefined;
  let error: unknown;
  try {
    state = checkpoint(connection.handle, mode);
  } catch (thrown) {
    error = translateError(thrown, { operation: 'checkpoint', handle: connection.handle });
  }
  return result(mode, state, error, performance.now() - began, false);
}

/** Starts a checkpoint in a thread. @throws where there is none to be had */
export function attemptInThread(file: string, mode: CheckpointMode): ThreadAttempt {
  const began = performance.now();
  const run = checkpointInThread(file, mode);
  return {
    ended: run.ended.then(
      (state) => result(mode, state, undefined, performance.now() - began, true),
      (error: unknown) => result(mode, undefined, error, performance.now() - began, true),
    ),
    ref() {
      run.ref();
    },
  };
}

function result(
  mode: CheckpointMode,
  state: WalState | undefined,
  error: unknown,
  duration: number,
  thread: boolean,
): Attempt {
  const moved = state !== undefined && state.moved === state.pages;
  const complete = moved && (mode !== 'truncate' || (!state.busy && state.pages === 0));
  return { mode, state, error, complete, duration, thread };
}
