import { type Ambient, siteOf } from '../context/context.ts';
import { type Scope } from '../context/scope.ts';
import { type Connection } from '../connection/connection.ts';
import { describeHolder } from '../errors.ts';
import { type Method } from '../repository/methods.ts';
import { type CheckpointReport } from '../maintenance/checkpoint.ts';
import { LaneStats } from '../observe/lane-stats.ts';
import { type BatchLimits } from './limits.ts';
import { RunningSet } from './running.ts';
import { type Seat } from './seat.ts';
import { runTransaction } from './transaction.ts';
import { runTask, submit, takeTurn, type TurnRequest } from './turn.ts';
import { WriteCall } from './write-call.ts';
import { type WriteLane } from './write-lane.ts';

/** A rollback journal is gone after each commit, and a database in memory has no journal outside it. */
const NOTHING_TO_DO: CheckpointReport = { complete: true, size: 0, holder: undefined };

/** Bounds of a `Database`'s waits and batches. */
export interface Limits {
  /** Stands for the `Database` in async contexts. */
  readonly owner: object;
  readonly batch: BatchLimits;
  readonly maxQueue: number;
  /** Milliseconds that a call may wait for its turn. */
  readonly timeout: number;
}

/** A `Database`'s writer: its one connection that writes, behind the write lane of its file. */
export class Writer implements Seat {
  readonly owner: object;
  readonly lane: WriteLane;
  readonly limits: BatchLimits;
  readonly maxQueue: number;
  readonly stats = new LaneStats();
  readonly running = new RunningSet();
  queued = 0;
  readonly #timeout: number;
  readonly #reopen: (() => Connection) | undefined;
  #connection: Connection;

  /** @param reopen opens another connection; absent for a database in memory, which would be another one */
  constructor(lane: WriteLane, connection: Connection, limits: Limits, reopen: (() => Connection) | undefined) {
    this.lane = lane;
    this.owner = limits.owner;
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
    this.stats.discarded += 1;
    try {
      broken.close();
    } catch {
      // A statement is under way on it, and nothing but its end lets the driver close it.
    }
  }

  /** Queues one write. */
  write(method: Method, args: readonly unknown[], context: Ambient | undefined): Promise<unknown> {
    const call = new WriteCall(this, method, args, context, this.#timeout);
    try {
      submit(this.lane, call, context, (end) => {
        call.onEnd(end);
      });
    } catch (error) {
      call.reject(error, 'not-started');
    }
    return call.promise;
  }

  transaction<T>(run: (scope: Scope) => Promise<T>, context: Ambient | undefined): Promise<T> {
    return runTransaction(this.lane, { ...this.#request('transaction', context), site: siteOf(context) }, run);
  }

  /** Runs a synchronous function on the connection when its turn comes, between batches. */
  task<T>(label: string, context: Ambient | undefined, task: () => T): Promise<T> {
    return runTask(this.lane, this.#request(label, context), task);
  }

  /**
   * Holds the lane for as long as the function runs.
   *
   * @param run is given the connection; then come as whom and from where, and what asks it to give the lane back early
   */
  async hold<T>(
    label: string,
    context: Ambient | undefined,
    run: (connection: Connection) => Promise<T> | T,
    { tenant, site, wanted }: Pick<TurnRequest, 'tenant' | 'site' | 'wanted'> = { site: siteOf(context) },
  ): Promise<T> {
    await takeTurn(this.lane, { ...this.#request(label, context), tenant, site, wanted });
    try {
      return await run(this.#connection);
    } finally {
      if (this.#connection.makeClean() === 'broken') this.replace();
      this.lane.release();
    }
  }

  /** Empties the WAL when its turn has come. The database has one: it is in WAL mode, or there is nothing to do. */
  checkpoint(context: Ambient | undefined): Promise<CheckpointReport> {
    const policy = this.lane.checkpoints;
    return this.hold('checkpoint', context, (connection) => policy?.empty(connection) ?? NOTHING_TO_DO);
  }

  /**
   * Waits, for as long as it takes, until everything that was accepted before has ended. Checkpoints end with it. Where nothing
   * was, it waits for nobody: another `Database` on the file may hold the lane for ever.
   */
  async idle(): Promise<void> {
    const owes = this.queued > 0 || this.running.labels.length > 0 || this.lane.isHeldBy(this);
    const turn = takeTurn(this.lane, { ...this.#request('close', undefined), timeout: Infinity }, 'close');
    if (!owes || this.running.givenUp) this.lane.letPass(this);
    await turn;
    await this.lane.checkpoints?.removeWriter(this);
  }

  /** The close failed: what it left off goes on. */
  resume(): void {
    this.running.resume();
    this.lane.checkpoints?.resumeWriter(this);
  }

  #request(label: string, context: Ambient | undefined): TurnRequest {
    return { seat: this, label, context, timeout: this.#timeout };
  }

  /**
   * Gives up on what runs, and rejects what waits and has not started, all but a close: that waits from now on for nobody
   * else, because another `Database` on the file may hold the lane for ever.
   */
  abandon(reason: (label: string) => Error): void {
    this.running.giveUp(reason);
    for (const entry of this.lane.extract(({ seat, kind }) => seat === this && kind !== 'close')) {
      entry.reject(reason(entry.label), 'not-started');
    }
    this.lane.letPass(this);
  }

  /** What a close waits for: what runs, or else who has the lane. */
  waitsFor(): readonly string[] {
    const { labels } = this.running;
    const { holder } = this.lane;
    return labels.length > 0 || holder === undefined ? labels : [describeHolder(holder)];
  }
}
