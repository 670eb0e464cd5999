/**
 * One writer behind the write lane, and readers of their own: a read sees committed rows while a write is open, and a
 * snapshot keeps its reader, and so its state, for as long as it runs. Handlers that yield have one reader more for
 * themselves, so that their steps wait for nobody. Without a writer the file is only read.
 */
import { type Ambient, deadlineOf, labelOf, siteOf } from '../context/context.ts';
import { Tenant, waitTogether } from '../context/holders.ts';
import { type Connection } from '../connection/connection.ts';
import { type Cursor, type Pulled } from '../connection/cursor.ts';
import { BusyError, InternalError, ReadOnlyError } from '../errors.ts';
import { isExecutorThread } from '../executor/importing.ts';
import { runAsyncRead } from '../lanes/async-call.ts';
import { type Holding } from '../lanes/holding.ts';
import { ReadLanes } from '../lanes/read-lanes.ts';
import { retryBusy } from '../lanes/retry.ts';
import { RunningSet } from '../lanes/running.ts';
import { type Scope } from '../context/scope.ts';
import { runSnapshot, type SnapshotRequest } from '../lanes/snapshot.ts';
import { type Writer } from '../lanes/writer.ts';
import { type CheckpointPolicy, type CheckpointReport } from '../maintenance/checkpoint.ts';
import { closeTogether, refuseUnderWay } from '../maintenance/finish.ts';
import { SlowCalls } from '../observe/slow-calls.ts';
import { type Method, type MethodTable, methodTable } from '../repository/methods.ts';
import { type Repositories } from '../repository/types.ts';
import { type Strategy, type StrategyStats } from './strategy.ts';

/** What the strategy is made of. */
export interface PerContextParts {
  /** Stands for the `Database` in async contexts. */
  readonly owner: object;
  /** For messages. */
  readonly file: string;
  readonly repositories: Repositories;
  /** Absent for a database that is only read. */
  readonly writer: Writer | undefined;
  /** A reader that is open already: the one connection of a database that is only read. */
  readonly firstReader: Connection | undefined;
  readonly openReader: () => Connection;
  /** Readers at most. */
  readonly readers: number;
  /** Calls at most that wait for a reader. */
  readonly maxQueue: number;
  readonly timeout: number;
  /** Of the file; absent where it has no WAL. */
  readonly checkpoints: CheckpointPolicy | undefined;
}

/** The strategy `per-context`. */
export class PerContext implements Strategy {
  readonly owner: object;
  readonly methods: MethodTable;
  readonly #writer: Writer | undefined;
  readonly #readers: ReadLanes;
  readonly #checkpoints: CheckpointPolicy | undefined;
  readonly #timeout: number;
  readonly #slow: SlowCalls;
  /** Snapshots and asynchronous reads. */
  readonly #running = new RunningSet();
  /** All that has a reader across ticks, is on the way to one, or is a step that had to wait; a close must not overtake it. */
  readonly #pending = new Set<Promise<unknown>>();

  constructor(parts: PerContextParts) {
    const { owner, file, repositories, writer, firstReader, openReader, readers, maxQueue, timeout, checkpoints } =
      parts;
    this.owner = owner;
    this.#writer = writer;
    this.#checkpoints = checkpoints;
    this.#readers = new ReadLanes(openReader, { file, max: readers, maxQueue }, firstReader, (lease) => {
      checkpoints?.returned(lease);
    });
    this.#timeout = timeout;
    this.#slow = writer?.stats.slow ?? new SlowCalls();
    try {
      const connection = writer?.connection ?? firstReader;
      if (connection === undefined) throw new InternalError('per-context was given neither a writer nor a reader');
      this.methods = methodTable(repositories, connection);
    } catch (error) {
      // A factory that fails must not leave the reader open that it was tried on.
      this.#readers.close();
      throw error;
    }
    checkpoints?.addReaders(this.#readers);
  }

  call(method: Method, args: readonly unknown[], context: Ambient | undefined): Promise<unknown> {
    if (method.access === 'write') return this.#writer?.write(method, args, context) ?? refuseWrite(method.label);
    if (method.mode === 'sync') {
      try {
        const reader = this.#readers.idle();
        if (reader?.busy === false) {
          const started = performance.now();
          const value = reader.read(method, args);
          this.#slow.note(method.label, performance.now() - started);
          return Promise.resolve(value);
        }
      } catch (error) {
        if (!(error instanceof BusyError)) return Promise.reject(error);
      }
    }
    // An asynchronous handler, or every reader is leased, or SQLite was recovering.
    const request = this.#request(method.label, context);
    const { tenant, deadline } = request;
    return this.#lend(request, (reader) =>
      method.mode === 'async'
        ? runAsyncRead(reader, method, args, request)
        : retryBusy(tenant.label, deadline, () => reader.read(method, args)),
    );
  }

  advance(cursor: Cursor, how: 'pull' | 'end', context: Ambient | undefined): Promise<Pulled> {
    try {
      const reader = this.#readers.unleased();
      if (!reader.busy) return Promise.resolve(cursor.advance(reader, how));
    } catch (error) {
      if (!(error instanceof BusyError)) return Promise.reject(error);
    }
    // A handler that is running on it called the api and is over in a moment, or SQLite was recovering.
    const label = labelOf(context, cursor.method.label);
    const step = retryBusy(label, deadlineOf(context, this.#timeout), async () => {
      await Promise.resolve();
      const refusal = this.#running.refusal(label);
      if (refusal !== undefined) throw refusal;
      return cursor.advance(this.#readers.unleased(), how);
    });
    return this.#remember(step);
  }

  transaction<T>(run: (scope: Scope) => Promise<T>, context: Ambient | undefined): Promise<T> {
    return this.#writer?.transaction(run, context) ?? refuseWrite('transaction');
  }

  snapshot<T>(run: (scope: Scope) => Promise<T>, context: Ambient | undefined, holding?: Holding): Promise<T> {
    const request = this.#request(holding?.label ?? 'snapshot', context, holding?.site);
    return this.#lend(request, (reader) => runSnapshot(reader, request, run), holding?.wanted);
  }

  checkpoint(context: Ambient | undefined): Promise<CheckpointReport> {
    return this.#writer?.checkpoint(context) ?? refuseWrite('checkpoint');
  }

  stats(): StrategyStats {
    return {
      writes: this.#writer?.stats.read(this.#writer.queued),
      readers: this.#readers.stats(),
      wal: this.#checkpoints?.stats(),
      advice: this.#slow.advice(isExecutorThread() ? 'thread of its own' : 'event loop'),
    };
  }

  closeInside(tenants: readonly Tenant[]): () => void {
    const lane = this.#writer === undefined ? [] : [this.#writer.lane];
    return waitTogether(tenants, [...this.#readers.taken(), ...lane], 'close');
  }

  async idle(): Promise<void> {
    this.#readers.askForAll();
    while (this.#pending.size > 0) await Promise.allSettled(this.#pending);
    await this.#writer?.idle();
  }

  abandon(reason: (label: string) => Error): void {
    this.#running.giveUp(reason);
    this.#readers.abandon(reason);
    this.#writer?.abandon(reason);
  }

  running(): readonly string[] {
    const reading = this.#running.labels;
    if (this.#pending.size > 0) return [...reading, ...(this.#writer?.running.labels ?? [])];
    return this.#writer?.waitsFor() ?? [];
  }

  resume(): void {
    this.#running.resume();
    this.#readers.resume();
    this.#writer?.resume();
  }

  prepareClose(): void {
    refuseUnderWay(this.#readers.all(), this.#writer?.connection);
  }

  close(): void {
    closeTogether(this.#readers.all(), this.#writer?.connection);
    this.#readers.close();
    this.#checkpoints?.removeReaders(this.#readers);
  }

  #request(label: string, context: Ambient | undefined, site = siteOf(context)): SnapshotRequest {
    return {
      context,
      deadline: deadlineOf(context, this.#timeout),
      owner: this.owner,
      tenant: new Tenant(labelOf(context, label)),
      site,
      timeout: this.#timeout,
      running: this.#running,
    };
  }

  #lend<T>(request: SnapshotRequest, run: (reader: Connection) => Promise<T>, wanted?: () => void): Promise<T> {
    return this.#remember(this.#lendInTurn(request, run, wanted));
  }

  #remember<T>(promise: Promise<T>): Promise<T> {
    // The caller gets the promise that nobody here listens to: a rejection that it does not handle must be seen.
    const remembered = promise.finally(() => this.#pending.delete(remembered));
    this.#pending.add(remembered);
    return remembered;
  }

  async #lendInTurn<T>(
    request: SnapshotRequest,
    run: (reader: Connection) => Promise<T>,
    wanted: (() => void) | undefined,
  ): Promise<T> {
    const { tenant, deadline } = request;
    // To open a reader may find SQLite recovering a file that another process left behind.
    const lease = (): Promise<Connection> => {
      const refusal = this.#running.refusal(tenant.label);
      if (refusal !== undefined) throw refusal;
      return this.#readers.lease(request, wanted);
    };
    const reader = await retryBusy(tenant.label, deadline, lease);
    try {
      return await run(reader);
    } finally {
      this.#readers.giveBack(reader);
    }
  }
}

function refuseWrite(label: string): Promise<never> {
  const error = new ReadOnlyError(`${label}: a write, but the database was opened for reading only`);
  error.outcome = 'not-started';
  return Promise.reject(error);
}
