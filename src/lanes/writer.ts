import { type Connection } from '../connection/connection.ts';
import { type Method } from '../repository/methods.ts';
import { type BatchLimits } from './batch.ts';
import { type Scope } from './scope.ts';
import { type Seat } from './seat.ts';
import { runTransaction } from './transaction.ts';
import { runTask, takeTurn } from './turn.ts';
import { WriteCall } from './write-call.ts';
import { type WriteLane } from './write-lane.ts';

/** Bounds of a `Database`'s waits and batches. */
export interface Limits {
  readonly batch: BatchLimits;
  readonly maxQueue: number;
  /** Milliseconds that a call may wait for its turn. */
  readonly timeout: number;
}

/** A `Database`'s writer: its one connection that writes, behind the write lane of its file. */
export class Writer implements Seat {
  readonly lane: WriteLane;
  readonly limits: BatchLimits;
  readonly maxQueue: number;
  queued = 0;
  readonly #timeout: number;
  readonly #reopen: (() => Connection) | undefined;
  #connection: Connection;

  /** @param reopen opens another connection; absent for a database in memory, which would be another one */
  constructor(lane: WriteLane, connection: Connection, limits: Limits, reopen: (() => Connection) | undefined) {
    this.lane = lane;
    this.limits = limits.batch;
    this.maxQueue = limits.maxQueue;
    this.#timeout = limits.timeout;
    this.#connection = connection;
    this.#reopen = reopen;
  }

  get connection(): Connection {
    return this.#connection;
  }

  replace(): void {
    if (this.#reopen === undefined) return;
    const broken = this.#connection;
    try {
      this.#connection = this.#reopen();
    } catch {
      // Whoever comes next finds BEGIN failing on the old one, with an error that says why.
      return;
    }
    broken.close();
  }

  /** Queues one write. */
  write(method: Method, args: readonly unknown[]): Promise<unknown> {
    const call = new WriteCall(this, method, args, this.#timeout);
    try {
      this.lane.submit(call);
    } catch (error) {
      call.reject(error, 'not-started');
    }
    return call.promise;
  }

  transaction<T>(scopes: Set<Scope>, run: (scope: Scope) => Promise<T>): Promise<T> {
    return runTransaction(this.lane, { seat: this, label: 'transaction', timeout: this.#timeout }, scopes, run);
  }

  /** Runs a synchronous function on the connection when its turn comes, between batches. */
  task<T>(label: string, task: () => T): Promise<T> {
    return runTask(this.lane, { seat: this, label, timeout: this.#timeout }, task);
  }

  /** Holds the lane for as long as the function runs. */
  async hold<T>(label: string, timeout: number, run: (connection: Connection) => Promise<T> | T): Promise<T> {
    await takeTurn(this.lane, { seat: this, label, timeout });
    try {
      return await run(this.#connection);
    } finally {
      this.lane.release();
    }
  }

  /** Rejects what waits and has not started, all but a close; its labels. */
  abandon(reason: (label: string) => Error): string[] {
    return this.lane
      .extract(({ seat, deadline }) => seat === this && deadline !== Infinity)
      .map((entry) => {
        entry.reject(reason(entry.label), 'not-started');
        return entry.label;
      });
  }
}
