import { type Connection, type Effect } from '../connection/connection.ts';
import { ReadOnlyError, SluiceError, TransactionEndedError } from '../errors.ts';
import { type Method } from '../repository/methods.ts';

/**
 * A transaction or snapshot while its callback runs: the calls of its api, on the one connection that it holds.
 *
 * Calls are synchronous underneath, so siblings in `Promise.all` take turns by themselves. Each write is inside a
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
    this.#abandon(error);
  }

  /** @throws {TransactionEndedError} when a statement ended the transaction under the callback. */
  assertWhole(): void {
    if (this.#broken !== undefined || !this.#connection.inTransaction) throw this.#brokenError();
  }

  call(method: Method, args: readonly unknown[]): Promise<unknown> {
    try {
      return Promise.resolve(this.#run(method, args));
    } catch (error) {
      if (error instanceof SluiceError && method.access === 'write') error.outcome ??= 'rolled-back';
      return Promise.reject(error);
    }
  }

  #run(method: Method, args: readonly unknown[]): unknown {
    if (!this.#open) {
      throw new TransactionEndedError(
        `${method.label}: called after its ${this.#label} had ended; await every call inside the callback`,
      );
    }
    const connection = this.#connection;
    if (this.#broken !== undefined) throw this.#brokenError();
    if (method.access === 'read') return connection.read(method, args);
    if (this.#access === 'read') {
      throw new ReadOnlyError(`${method.label}: a write inside a ${this.#label}; use transaction for writes`);
    }
    connection.control('savepoint');
    try {
      const result = connection.write(method, args);
      if (!connection.inTransaction) throw this.#brokenError();
      connection.control('release');
      this.#effects.push(...connection.takeEffects());
      return result;
    } catch (error) {
      connection.takeEffects();
      if (connection.inTransaction) {
        connection.control('rollbackTo');
        connection.control('release');
      } else {
        this.#broken = error;
      }
      throw error;
    }
  }

  #brokenError(): TransactionEndedError {
    return new TransactionEndedError(
      `${this.#label}: a statement rolled back the whole transaction (RAISE(ROLLBACK), OR ROLLBACK, a full disk); nothing of it was kept`,
      { cause: this.#broken },
    );
  }
}
