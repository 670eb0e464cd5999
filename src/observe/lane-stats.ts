import { type Distribution, Histogram } from './histogram.ts';
import { SlowCalls } from './slow-calls.ts';

/** What one `Database` did in the write lane so far. Times in milliseconds. */
export interface WriteStats {
  /** Calls that wait now. */
  readonly queued: number;
  /** Batches that ended, those that were rolled back included. */
  readonly batches: number;
  /** Batches and transactions that were committed. */
  readonly commits: number;
  /** Calls that ran again because their batch was undone through no fault of theirs. */
  readonly replays: number;
  /** Tries that found another process or thread holding the lock. */
  readonly busyRetries: number;
  /** Times that the writer was closed and opened again, because a transaction on it could not be rolled back. */
  readonly discarded: number;
  /** Calls in a batch. */
  readonly batchSize: Distribution;
  /** From the call to its start. */
  readonly wait: Distribution;
  /** From its start to the end of its handler, without its share of the commit. */
  readonly run: Distribution;
}

/** Counts for one `Database`'s writes. Plain numbers and arrays of fixed size: recording allocates nothing. */
export class LaneStats {
  batches = 0;
  commits = 0;
  replays = 0;
  busyRetries = 0;
  discarded = 0;
  /** Reads beside the lane are noted here, too. */
  readonly slow = new SlowCalls();
  readonly batchSize = new Histogram();
  /** In microseconds. */
  readonly wait = new Histogram();
  /** In microseconds. */
  readonly run = new Histogram();

  read(queued: number): WriteStats {
    return {
      queued,
      batches: this.batches,
      commits: this.commits,
      replays: this.replays,
      busyRetries: this.busyRetries,
      discarded: this.discarded,
      batchSize: this.batchSize.read(),
      wait: this.wait.read(1e-3),
      run: this.run.read(1e-3),
    };
  }
}
