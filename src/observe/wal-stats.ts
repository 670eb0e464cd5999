/** The WAL of a file, and what keeps it in bounds. Of the file: each `Database` on it in this thread says the same. */
export interface WalStats {
  /** Bytes of the `-wal` file now. */
  readonly size: number;
  /** Bytes above which it is emptied as soon as no reader is in the way; `undefined` where there is no limit. */
  readonly limit: number | undefined;
  /** Checkpoints after which the database had everything that was in the WAL. */
  readonly checkpoints: number;
  /** Checkpoints that a reader, or another process, was in the way of. */
  readonly blocked: number;
  /** Milliseconds that the longest checkpoint held this thread. */
  readonly longest: number;
}
