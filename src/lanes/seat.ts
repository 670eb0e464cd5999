import { type Connection } from '../connection/connection.ts';
import { type LaneStats } from '../observe/lane-stats.ts';
import { type RunningSet } from './running.ts';
import { type BatchLimits } from './limits.ts';

/** A `Database`'s place in the write lane of its file: its connection and its bounds. */
export interface Seat {
  /** Stands for the `Database` in async contexts. */
  readonly owner: object;
  /** Touched only by whoever holds the lane, or synchronously while nobody does. */
  readonly connection: Connection;
  readonly limits: BatchLimits;
  /** Calls that may wait at most. */
  readonly maxQueue: number;
  /** Calls that wait now; the lane counts. */
  queued: number;
  readonly stats: LaneStats;
  /** Transactions and asynchronous handlers that hold the lane. */
  readonly running: RunningSet;
  /** Replaces a connection whose rollback failed: it must not serve anyone else. */
  replace(): void;
}
