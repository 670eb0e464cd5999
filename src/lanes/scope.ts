import { type Connection, type Effect } from '../connection/connection.ts';
import { ReadOnlyError, SluiceError, TransactionEndedError } from '../errors.ts';
import { type Method } from '../repository/methods.ts';

/**
 * A transaction or snapshot while its callback runs: the calls of its api, on the one connection that it holds.
 *
 * Siblings in `Promise.all` take turns: a synchronous handler is over before the next call begins, and an asynchronous one
 * is waited for. Each write is inside a
 * savepoint: one that fails and is caught undoes itself alone.
 */
export class Scope {
  readonly #connection: Connection;
  readonly #access: 'read' | 'write';
  readonly #label: string;
  readonly #effects: Effect[] = [];
  /** Never resolves; rejects when the scope is given up under its callback. */
  readonly abandoned: Promise<never>;
  #abandon!: (error: Error) => void;
  #abandonedWith: Error | undefined;
  /** The last asynchronous call, or a call that waits for it. */
  #running: Promise<void> | undefined;
  #open = true;
  #broken: unknown;

  constructor(connection: Connection, access: 'read' | 'write', label: string) {
    this.#connection = connection;
    this.#access = access;
    this.#label = label;
    this.abandoned = new Promise((_, reject) => {
      this.#abandon = reject;
    });
    // Nobody may be listening when the callback has just settled.
    this.abandoned.catch(() => undefined);
  }

  get label(): string {
    return this.#label;
  }

  /** What handlers asked for after the commit, in call order. */
  get effects(): readonly Effect[] {
    return this.#effects;
  }

  /** Ends it: a call that comes later is refused. */
  end(): void {
    this.#open = false;
  }

  /** Ends it although its callback has not settled: whoever runs it gets `error` and cleans up. */
  abandon(error: Error): void {
    this.#open = false;
    this.#abandonedWith ??= error;
    this.#abandon(error);
  }

  /** @throws what it was given up with, if it was: before it begins nobody listens to `abandoned`. */
  assertKept(): void {
    if (this.#abandonedWith !== undefined) throw this.#abandonedWith;
  }

  /** @throws {TransactionEndedError} when a statement ended the transaction under the callback. */
  assertWhole(): void {
    if (this.#broken !== undefined || !this.#connection.inTransaction) throw this.#brokenError();
  }

  /** Runs a call; behind an asynchronous one that is running, for siblings take turns. */
  call(method: Method, args: readonly unknown[]): Promise<unknown> {
    if (this.#running === undefined && method.mode === 'sync') {
      try {
        return Promise.resolve(this.#run(method, args));
      } catch (error) {
        return Promise.reject(failed(method, error));
      }
    }
    const before = this.#running;
    const result = (async () => {
      await before;
      try {
        return await (method.mode === 'sync' ? this.#run(method, args) : this.#runAsync(method, args));
      } catch (error) {
        throw failed(method, error);
      }
    })();
    const done = result.then(
      () => undefined,
      () => undefined,
    );
    this.#running = done;
    void done.then(() => {
      if (this.#running === done) this.#running = undefined;
    });
    return result;
  }

  #check(method: Method): void {
    if (!this.#open) {
      throw new TransactionEndedError(
        `${method.label}: called after its ${this.#label} had ended; await every call inside the callback`,
      );
    }
    if (this.#broken !== undefined) throw this.#brokenError();
    if (method.access === 'write' && this.#access === 'read') {
      throw new ReadOnlyError(`${method.label}: a write inside a ${this.#label}; use transaction for writes`);
    }
  }

  #run(method: Method, args: readonly unknown[]): unknown {
    this.#check(method);
    const connection = this.#connection;
    if (method.access === 'read') return connection.read(method, args);
    connection.control('savepoint');
    try {
      const result = connection.write(method, args);
      if (!connection.inTransaction) throw this.#brokenError();
      connection.control('release');
      this.#effects.push(...connection.takeEffects());
      return result;
    } catch (error) {
      this.#undo(error);
      throw error;
    }
  }

  async #runAsync(method: Method, args: readonly unknown[]): Promise<unknown> {
    this.#check(method);
    const connection = this.#connection;
    if (method.access === 'write') connection.control('savepoint');
    const run = connection.start(method, args);
    try {
      const result = await Promise.race([run.promise, this.abandoned]);
      if (method.access === 'read') return result;
      if (!connection.inTransaction) throw this.#brokenError();
      connection.control('release');
      this.#effects.push(...connection.takeEffects());
      return result;
    } catch (error) {
      if (method.access === 'write') this.#undo(error);
      throw error;
    } finally {
      run.end();
    }
  }

  #undo(error: unknown): void {
    const connection = this.#connection;
    connection.takeEffects();
    if (connection.inTransaction) {
      connection.control('rollbackTo');
      connection.control('release');
    } else {
      this.#broken = error;
    }
  }

  #brokenError(): TransactionEndedError {
    return new TransactionEndedError(
      `${this.#label}: a statement rolled back the whole transaction (RAISE(ROLLBACK), OR ROLLBACK, a full disk); nothing of it was kept`,
      { cause: this.#broken },
    );
  }
}

function failed(method: Method, error: unknown): unknown {
  if (error instanceof SluiceError && method.access === 'write') error.outcome ??= 'rolled-back';
  return error;
}
