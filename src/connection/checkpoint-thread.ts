import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { type CheckpointMode, type WalState } from './wal.ts';

/**
 * The whole thread. It is text, so that a bundle needs no second file, and it loads nothing but the driver. `passive` goes
 * first also when the WAL is to be emptied: it locks out no writer, so that the lock is held for the rest only.
 */
const SOURCE = `
const { parentPort, workerData } = require('node:worker_threads');
const Sqlite = require(workerData.driver);
const handle = new Sqlite(workerData.file, { timeout: 0, fileMustExist: true });
try {
  handle.pragma('synchronous = FULL');
  const run = (mode) => handle.pragma('wal_checkpoint(' + mode + ')')[0];
  let row = run('PASSIVE');
  if (workerData.mode === 'truncate' && row.log === row.checkpointed) row = run('TRUNCATE');
  parentPort.postMessage({ busy: row.busy === 1, pages: Math.max(0, row.log), moved: Math.max(0, row.checkpointed) });
} finally {
  handle.close();
}
`;

/** A checkpoint that runs in a thread of its own. */
export interface ThreadCheckpoint {
  /** Settles when the thread has ended, and with it closed the file. Rejects with the driver's errors, too. */
  readonly ended: Promise<WalState>;
  /** Keeps the process alive until then: it does not by itself. */
  ref(): void;
}

/**
 * Starts a checkpoint in a thread of its own, on a handle of its own, while this thread's event loop goes on. For what would
 * hold it up for long: starting the thread takes some 40 ms of another core.
 *
 * @throws where no thread can be had, or the driver is not found, as in a bundle that has swallowed it
 */
export function checkpointInThread(file: string, mode: CheckpointMode): ThreadCheckpoint {
  const driver = createRequire(import.meta.url).resolve('better-sqlite3');
  const worker = new Worker(SOURCE, { eval: true, workerData: { driver, file, mode }, execArgv: [] });
  worker.unref();
  const ended = new Promise<WalState>((resolve, reject) => {
    let state: WalState | undefined;
    worker.once('message', (message: WalState) => {
      state = message;
    });
    worker.once('error', reject);
    worker.once('exit', () => {
      if (state === undefined) reject(new Error('the thread ended without an answer'));
      else resolve(state);
    });
  });
  return {
    ended,
    ref() {
      worker.ref();
    },
  };
}
