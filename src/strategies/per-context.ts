/**
 * One writer behind the write lane, and readers of their own: a read sees committed rows while a write is open, and a
 * snapshot keeps its reader, and so its state, for as long as it runs. Without a writer the file is only read.
 */
import { type Ambient, deadlineOf, labelOf } from '../context/context.ts';
import { type Connection } from '../connection/connection.ts';
import { BusyError, InternalError, ReadOnlyError } from '../errors.ts';
import { isExecutorThread } from '../executor/importing.ts';
import { runAsyncRead } from '../lanes/async-call.ts';
import { ReadLanes } from '../lanes/read-lanes.ts';
import { retryBusy } from '../lanes/retry.ts';
import { abandonAll, type Running } from '../lanes/running.ts';
import { type Scope } from '../context/scope.ts';
import { runSnapshot } from '../lanes/snapshot.ts';
import { type Writer } from '../lanes/writer.ts';
import { finishFile } from '../maintenance/finish.ts';
import { SlowCalls } from '../observe/slow-calls.ts';
import { type Method, type MethodTable, methodTable } from '../repository/methods.ts';
import { type Repositories } from '../repository/types.ts';
import { type Strategy, type StrategyStats } from './strategy.ts';

/** What the strategy is made of. */
export interface PerContextParts {
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
}

/** The strategy `per-context`. */
export class PerContext implements Strategy {
  readonly methods: MethodTable;
  readonly #writer: Writer | undefined;
  readonly #readers: ReadLanes;
  readonly #timeout: number;
  readonly #slow: SlowCalls;
  /** Snapshots and asynchronous reads. */
  readonly #running = new Set<Running>();

  constructor({ repositories, writer, firstReader, openReader, readers, maxQueue, timeout }: PerContextParts) {
    this.#writer = writer;
    this.#readers = new ReadLanes(openReader, { max: readers, maxQueue }, firstReader);
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
    const label = labelOf(context, method.label);
    const deadline = deadlineOf(context, this.#timeout);
    return this.#lend(label, context, deadline, (reader) =>
      method.mode === 'async'
        ? runAsyncRead(reader, method, args, { context, deadline, running: this.#running })
        : retryBusy(label, deadline, () => reader.read(method, args)),
    );
  }

  transaction<T>(run: (scope: Scope) => Promise<T>, context: Ambient | undefined): Promise<T> {
    return this.#writer?.transaction(run, context) ?? refuseWrite('transaction');
  }

  snapshot<T>(run: (scope: Scope) => Promise<T>, context: Ambient | undefined): Promise<T> {
    const deadline = deadlineOf(context, this.#timeout);
    return this.#lend(labelOf(context, 'snapshot'), context, deadline, (reader) =>
      runSnapshot(reader, { context, deadline, running: this.#running }, run),
    );
  }

  stats(): StrategyStats {
    return {
      writes: this.#writer?.stats.read(this.#writer.queued),
      readers: this.#readers.stats(),
      advice: this.#slow.advice(isExecutorThread() ? 'thread of its own' : 'event loop'),
    };
  }

  async idle(): Promise<void> {
    await this.#readers.drained();
    await this.#writer?.idle();
  }

  abandon(reason: (label: string) => Error): string[] {
    const reading = [...abandonAll(this.#running, reason), ...this.#readers.abandon(reason)];
    return [...reading, ...(this.#writer?.abandon(reason) ?? [])];
  }

  close(): void {
    this.#readers.close();
    if (this.#writer === undefined) return;
    finishFile(this.#writer.connection);
    this.#writer.connection.close();
  }

  async #lend<T>(
    label: string,
    context: Ambient | undefined,
    deadline: number,
    run: (reader: Connection) => Promise<T>,
  ): Promise<T> {
    const reader = await this.#readers.lease(label, deadline, context?.signal);
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
