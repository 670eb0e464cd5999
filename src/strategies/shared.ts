/**
 * One handle for everything. Reads run at once unless a transaction holds the handle across ticks; writes go through the
 * write lane, whose turns are the mutex.
 */
import { BusyError } from '../errors.ts';
import { runAsyncRead } from '../lanes/async-call.ts';
import { retryBusy } from '../lanes/retry.ts';
import { type Scope } from '../lanes/scope.ts';
import { runSnapshot } from '../lanes/snapshot.ts';
import { type Writer } from '../lanes/writer.ts';
import { finishFile } from '../maintenance/finish.ts';
import { type Method, type MethodTable, methodTable } from '../repository/methods.ts';
import { type Repositories } from '../repository/types.ts';
import { type Strategy } from './strategy.ts';

/** The strategy `shared`. */
export class Shared implements Strategy {
  readonly methods: MethodTable;
  readonly #writer: Writer;
  readonly #timeout: number;
  readonly #scopes = new Set<Scope>();

  constructor(repositories: Repositories, writer: Writer, timeout: number) {
    this.methods = methodTable(repositories, writer.connection);
    this.#writer = writer;
    this.#timeout = timeout;
  }

  call(method: Method, args: readonly unknown[]): Promise<unknown> {
    const writer = this.#writer;
    if (method.access === 'write') return writer.write(method, args);
    if (method.mode === 'async') return this.#readAsync(method, args);
    if (!writer.lane.isHeldBy(writer)) {
      try {
        return Promise.resolve(this.#read(method, args));
      } catch (error) {
        if (!(error instanceof BusyError)) return Promise.reject(error);
      }
    }
    return retryBusy(method.label, performance.now() + this.#timeout, () =>
      writer.task(method.label, () => this.#read(method, args)),
    );
  }

  transaction<T>(run: (scope: Scope) => Promise<T>): Promise<T> {
    return this.#writer.transaction(this.#scopes, run);
  }

  snapshot<T>(run: (scope: Scope) => Promise<T>): Promise<T> {
    return this.#writer.hold('snapshot', this.#timeout, (connection) =>
      runSnapshot(connection, this.#timeout, this.#scopes, run),
    );
  }

  async idle(): Promise<void> {
    await this.#writer.hold('close', Infinity, () => undefined);
  }

  abandon(reason: (label: string) => Error): string[] {
    const running = [...this.#scopes];
    for (const scope of running) scope.abandon(reason(scope.label));
    return [...running.map(({ label }) => label), ...this.#writer.abandon(reason)];
  }

  close(): void {
    finishFile(this.#writer.connection);
    this.#writer.connection.close();
  }

  #readAsync(method: Method, args: readonly unknown[]): Promise<unknown> {
    return this.#writer.hold(method.label, this.#timeout, (connection) =>
      runAsyncRead(connection, method, args, this.#timeout),
    );
  }

  #read(method: Method, args: readonly unknown[]): unknown {
    const { connection } = this.#writer;
    return connection.read(method, args);
  }
}
