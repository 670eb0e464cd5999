import { type Holder } from '../errors.ts';

/** How many readers a `Database` has, and what they do. */
export interface ReaderStats {
  readonly open: number;
  /** Lent across ticks, to snapshots and asynchronous reads. */
  readonly leased: number;
  /** Calls that wait for one. */
  readonly waiting: number;
  /** Who has had one for longest; `undefined` when none is lent. While it reads an old state, it keeps the WAL from shrinking. */
  readonly oldest: Holder | undefined;
  /** Those that came back inside a transaction, or not read-only any more, and were put right. */
  readonly repaired: number;
  /** Those that came back so that they could not be put right, and were closed. */
  readonly discarded: number;
}
