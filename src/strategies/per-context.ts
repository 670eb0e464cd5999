/**
 * One writer behind the write lane, and readers of their own: a read sees committed rows while a write is open, and a
 * snapshot keeps its reader, and so its state, for as long as it runs. Without a writer the file is only read.
 */
import { type Connection } from '../connection/connection.ts';
import { BusyError, ReadOnlyError } from '../errors.ts';
import { runAsyncRead } from '../lanes/async-call.ts';
import { ReadLanes } from '../lanes/read-lanes.ts';
import { retryBusy } from '../lanes/retry.ts';
import { type Scope } from '../lanes/scope.ts';
import { runSnapshot } from '../lanes/snapshot.ts';
import { type Writer } from '../lanes/writer.ts';
import { finishFile } from '../maintenance/finish.ts';
import { type Method, type MethodTable, methodTable } from '../repository/methods.ts';
import { type Repositories } from '../repository/types.ts';
import { type Strategy } from './strategy.ts';

/** What the strategy is made of. */
export interface PerContextParts {
  readonly repositories: Repositories;
  /** Absent for a database that is only read. */
  readonly writer: Writer | undefined;
  readonly openReader: () => Connection;
  /** Readers at most. */
  readonly readers: number;
  readonly timeout: number;
}

/** The strategy `per-context`. */
export class PerContext implements Strategy {
  readonly methods: MethodTable;
  readonly #writer: Writer | undefined;
  readonly #readers: ReadLanes;
  readonly #timeout: number;
  readonly #scopes = new Set<Scope>();

  constructor({ repositories, writer, openReader, readers, timeout }: PerContextParts) {
    this.#writer = writer;
    this.#readers = new ReadLanes(openReader, readers);
    this.#timeout = timeout;
    this.methods = methodTable(repositories, writer?.connection ?? this.#readers.first());
  }

  call(method: Method, args: readonly unknown[]): Promise<unknown> {
    if (method.access === 'write') return this.#writer?.write(method, args) ?? refuseWrite(method.label);
    if (method.mode === 'async') return this.#readAsync(method, args);
    try {
      const reader = this.#readers.idle();
      if (reader !== undefined) return Promise.resolve(reader.read(method, args));
    } catch (error) {
      if (!(error instanceof BusyError)) return Promise.reject(error);
    }
    return this.#readOnLease(method, args);
  }

  transaction<T>(run: (scope: Scope) => Promise<T>): Promise<T> {
    return this.#writer?.transaction(this.#scopes, run) ?? refuseWrite('transaction');
  }

  async snapshot<T>(run: (scope: Scope) => Promise<T>): Promise<T> {
    const reader = await this.#readers.lease('snapshot', this.#timeout);
    try {
      return await runSnapshot(reader, this.#timeout, this.#scopes, run);
    } finally {
      this.#readers.giveBack(reader);
    }
  }

  async idle(): Promise<void> {
    await this.#readers.drained();
    await this.#writer?.hold('close', Infinity, () => undefined);
  }

  abandon(reason: (label: string) => Error): string[] {
    const running = [...this.#scopes];
    for (const scope of running) scope.abandon(reason(scope.label));
    return [
      ...running.map(({ label }) => label),
      ...this.#readers.abandon(reason),
      ...(this.#writer?.abandon(reason) ?? []),
    ];
  }

  close(): void {
    this.#readers.close();
    if (this.#writer === undefined) return;
    finishFile(this.#writer.connection);
    this.#writer.connection.close();
  }

  async #readAsync(method: Method, args: readonly unknown[]): Promise<unknown> {
    const reader = await this.#readers.lease(method.label, this.#timeout);
    try {
      return await runAsyncRead(reader, method, args, this.#timeout);
    } finally {
      this.#readers.giveBack(reader);
    }
  }

  /** Every reader is leased, or SQLite was recovering: rare, and worth a wait. */
  async #readOnLease(method: Method, args: readonly unknown[]): Promise<unknown> {
    const deadline = performance.now() + this.#timeout;
    const reader = await this.#readers.lease(method.label, this.#timeout);
    try {
      return await retryBusy(method.label, deadline, () => reader.read(method, args));
    } finally {
      this.#readers.giveBack(reader);
    }
  }
}

function refuseWrite(label: string): Promise<never> {
  return Promise.reject(
    Object.assign(new ReadOnlyError(`${label}: a write, but the database was opened for reading only`), {
      outcome: 'not-started' as const,
    }),
  );
}
