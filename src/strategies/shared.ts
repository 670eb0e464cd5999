/**
 * One handle for everything. Reads run at once unless a transaction holds the handle across ticks; writes go through the
 * write lane, whose turns are the mutex.
 */
import { type Ambient, deadlineOf, labelOf, siteOf } from '../context/context.ts';
import { Tenant, waitInside } from '../context/holders.ts';
import { type Connection } from '../connection/connection.ts';
import { type Cursor, type Pulled } from '../connection/cursor.ts';
import { BusyError } from '../errors.ts';
import { isExecutorThread } from '../executor/importing.ts';
import { runAsyncRead } from '../lanes/async-call.ts';
import { type Holding } from '../lanes/holding.ts';
import { retryBusy } from '../lanes/retry.ts';
import { type Scope } from '../context/scope.ts';
import { runSnapshot, type SnapshotRequest } from '../lanes/snapshot.ts';
import { type Writer } from '../lanes/writer.ts';
import { type CheckpointReport } from '../maintenance/checkpoint.ts';
import { closeTogether, refuseUnderWay } from '../maintenance/finish.ts';
import { type ReaderStats } from '../observe/reader-stats.ts';
import { type Method, type MethodTable, methodTable } from '../repository/methods.ts';
import { type Repositories } from '../repository/types.ts';
import { type Strategy, type StrategyStats } from './strategy.ts';

const NO_READERS: ReaderStats = { open: 0, leased: 0, waiting: 0, oldest: undefined, repaired: 0, discarded: 0 };

/** The strategy `shared`. */
export class Shared implements Strategy {
  readonly owner: object;
  readonly methods: MethodTable;
  readonly #writer: Writer;
  readonly #timeout: number;
  /** Reads that could not run at once. Between two tries they are nowhere in the lane, and a close must not overtake them. */
  readonly #waiting = new Set<Promise<unknown>>();

  constructor(repositories: Repositories, writer: Writer, timeout: number) {
    this.methods = methodTable(repositories, writer.connection);
    this.owner = writer.owner;
    this.#writer = writer;
    this.#timeout = timeout;
  }

  call(method: Method, args: readonly unknown[], context: Ambient | undefined): Promise<unknown> {
    const writer = this.#writer;
    if (method.access === 'write') return writer.write(method, args, context);
    if (method.mode === 'async') {
      const request = this.#request(method.label, context);
      const hold = (connection: Connection): Promise<unknown> => runAsyncRead(connection, method, args, request);
      return writer.hold(method.label, context, hold, request);
    }
    return this.#read(method.label, context, (connection) => connection.read(method, args));
  }

  advance(cursor: Cursor, how: 'pull' | 'end', context: Ambient | undefined): Promise<Pulled> {
    return this.#read(cursor.method.label, context, (connection) => cursor.advance(connection, how));
  }

  transaction<T>(run: (scope: Scope) => Promise<T>, context: Ambient | undefined): Promise<T> {
    return this.#writer.transaction(run, context);
  }

  snapshot<T>(run: (scope: Scope) => Promise<T>, context: Ambient | undefined, holding?: Holding): Promise<T> {
    const { label = 'snapshot', site = siteOf(context), wanted } = holding ?? {};
    const request = this.#request(label, context, site);
    const hold = (connection: Connection): Promise<T> => runSnapshot(connection, request, run);
    return this.#writer.hold(label, context, hold, { tenant: request.tenant, site, wanted });
  }

  #request(label: string, context: Ambient | undefined, site = siteOf(context)): SnapshotRequest {
    return {
      context,
      deadline: deadlineOf(context, this.#timeout),
      owner: this.owner,
      tenant: new Tenant(labelOf(context, label)),
      site,
      timeout: this.#timeout,
      running: this.#writer.running,
    };
  }

  checkpoint(context: Ambient | undefined): Promise<CheckpointReport> {
    return this.#writer.checkpoint(context);
  }

  stats(): StrategyStats {
    const { stats, queued, lane } = this.#writer;
    return {
      writes: stats.read(queued),
      readers: NO_READERS,
      wal: lane.checkpoints?.stats(),
      advice: stats.slow.advice(isExecutorThread() ? 'thread of its own' : 'event loop'),
    };
  }

  closeInside(tenants: readonly Tenant[]): () => void {
    return waitInside(tenants, this.#writer.lane, 'close');
  }

  async idle(): Promise<void> {
    await Promise.allSettled(this.#waiting);
    await this.#writer.idle();
  }

  abandon(reason: (label: string) => Error): void {
    this.#writer.abandon(reason);
  }

  running(): readonly string[] {
    return this.#writer.waitsFor();
  }

  resume(): void {
    this.#writer.resume();
  }

  prepareClose(): void {
    refuseUnderWay([], this.#writer.connection);
  }

  close(): void {
    closeTogether([], this.#writer.connection);
  }

  /** Reads at once, or between two turns of the lane. */
  #read<T>(label: string, context: Ambient | undefined, read: (connection: Connection) => T): Promise<T> {
    const writer = this.#writer;
    if (!writer.lane.isHeldBy(writer) && !writer.connection.busy) {
      try {
        const started = performance.now();
        const value = read(writer.connection);
        writer.stats.slow.note(label, performance.now() - started);
        return Promise.resolve(value);
      } catch (error) {
        if (!(error instanceof BusyError)) return Promise.reject(error);
      }
    }
    const waiting = retryBusy(labelOf(context, label), deadlineOf(context, this.#timeout), () =>
      writer.task(label, context, () => read(writer.connection)),
    );
    // The caller gets the promise that nobody here listens to: a rejection that it does not handle must be seen.
    const remembered = waiting.finally(() => this.#waiting.delete(remembered));
    this.#waiting.add(remembered);
    return remembered;
  }
}
