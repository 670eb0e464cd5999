/** How many readers a `Database` has, and what they do. */
export interface ReaderStats {
  readonly open: number;
  /** Lent across ticks, to snapshots and asynchronous reads. */
  readonly leased: number;
  /** Calls that wait for one. */
  readonly waiting: number;
}
