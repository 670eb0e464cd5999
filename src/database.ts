import {
  abortError,
  type Ambient,
  type ContextOptions,
  currentContext,
  runInContext,
  runInScope,
} from './context/context.ts';
import { type Decision } from './connection/decide.ts';
import { ClosedError } from './errors.ts';
import { type WriteStats } from './observe/lane-stats.ts';
import { adviceOn } from './observe/advice.ts';
import { type ReaderStats } from './observe/reader-stats.ts';
import { callChannel } from './observe/trace.ts';
import { Scope } from './lanes/scope.ts';
import { buildApi } from './repository/api.ts';
import { type Method } from './repository/methods.ts';
import { type Api, type ReadApi, type Registry } from './repository/types.ts';
import { type Strategy } from './strategies/strategy.ts';

/** Options of `close`. */
export interface CloseOptions {
  /** Milliseconds to wait for accepted calls, transactions and snapshots; without it, for as long as they take. */
  readonly drain?: number;
}

/** What `close` came to. */
export interface CloseReport {
  /** What was given up on when `drain` ran out, by name. Empty when everything ended by itself. */
  readonly abandoned: readonly string[];
}

/** What `stats` answers. */
export interface DatabaseStats {
  /** `undefined` for a database that is only read. */
  readonly writes: WriteStats | undefined;
  readonly readers: ReaderStats;
  /** What would make it faster, in sentences. */
  readonly advice: readonly string[];
}

/** An open database (`Database<typeof ledger>`): the api, and what surrounds it. Made by `open`. */
export interface Database<G extends Registry = Registry> extends AsyncDisposable {
  /** Every method of every repository. Callable from any context; a write settles after its commit. */
  readonly api: Api<G>;
  /** How calls reach the file, and why. */
  readonly decision: Decision;
  /**
   * Runs several calls as one write transaction: committed when the callback resolves, undone when it throws. Other
   * writes wait meanwhile, so do in it only what belongs together. Every call of this database that is made inside, through
   * the callback's `api` or `db.api`, however deep, belongs to it. A nested `transaction` undoes itself alone.
   *
   * @throws what the callback throws; `TimeoutError` when its turn did not come; `TransactionEndedError` when a statement
   *   ended the transaction under it
   */
  transaction<T>(run: (api: Api<G>) => Promise<T> | T): Promise<T>;
  /**
   * Runs several reads on one consistent view, while others go on writing (under `shared` they wait). Every call of this
   * database that is made inside reads this view; a write is a `ReadOnlyError`. Inside a transaction it reads what the
   * transaction sees.
   */
  snapshot<T>(run: (api: ReadApi<G>) => Promise<T> | T): Promise<T>;
  /**
   * Puts a deadline, a signal and a name around every call that is made inside, however deep. Contexts nest: the sooner
   * deadline and either signal count.
   *
   * @example
   * await db.context({ timeout: 500, signal: request.signal, label: 'GET /accounts' }, () => listAccounts());
   */
  context<T>(options: ContextOptions, run: () => T): T;
  /** Runs a function whose calls belong to no transaction or snapshot around it: they wait for their turn like any other. */
  detached<T>(run: () => T): T;
  /** What happened so far: a plain object, made anew for each call. */
  stats(): DatabaseStats;
  /**
   * Refuses new calls, finishes accepted ones, empties the WAL and closes every connection. Idempotent. With `drain`, what
   * has not ended by then is rejected with `ClosedError` and named in the report.
   */
  close(options?: CloseOptions): Promise<CloseReport>;
}

/** The one implementation of {@link Database}; what differs is its strategy. */
export class SluiceDatabase<G extends Registry> implements Database<G> {
  readonly api: Api<G>;
  readonly decision: Decision;
  readonly #strategy: Strategy;
  readonly #leave: () => void;
  #closing: Promise<CloseReport> | undefined;

  /** @param leave takes the file out of the registry of open files */
  constructor(strategy: Strategy, decision: Decision, leave: () => void) {
    this.#strategy = strategy;
    this.decision = decision;
    this.#leave = leave;
    this.api = this.#bind((method, args) => {
      const context = currentContext();
      const scope = scopeOf(context, this);
      if (scope !== undefined) return scope.call(method, args);
      if (this.#closing !== undefined) return Promise.reject(this.#closed(method.label));
      if (context?.signal?.aborted === true) return Promise.reject(aborted(method.label, context.signal));
      if (!callChannel.hasSubscribers) return strategy.call(method, args, context);
      const trace = { call: method.label, access: method.access, file: decision.facts.file, context: context?.label };
      return callChannel.tracePromise(() => strategy.call(method, args, context), trace);
    });
  }

  async transaction<T>(run: (api: Api<G>) => Promise<T> | T): Promise<T> {
    const context = currentContext();
    const inside = async (scope: Scope): Promise<T> => runInScope(this, scope, () => run(this.#within(scope)));
    const outer = scopeOf(context, this);
    if (outer !== undefined) return outer.transaction(inside);
    if (this.#closing !== undefined) throw this.#closed('transaction');
    return this.#strategy.transaction(inside, context);
  }

  async snapshot<T>(run: (api: ReadApi<G>) => Promise<T> | T): Promise<T> {
    const context = currentContext();
    const outer = scopeOf(context, this);
    if (outer !== undefined) return run(this.#within(outer));
    if (this.#closing !== undefined) throw this.#closed('snapshot');
    return this.#strategy.snapshot(async (scope) => runInScope(this, scope, () => run(this.#within(scope))), context);
  }

  context<T>(options: ContextOptions, run: () => T): T {
    return runInContext(options, run);
  }

  detached<T>(run: () => T): T {
    return runInScope(this, undefined, run);
  }

  stats(): DatabaseStats {
    return { ...this.#strategy.stats(), advice: adviceOn(this.#strategy.methods) };
  }

  close(options: CloseOptions = {}): Promise<CloseReport> {
    return (this.#closing ??= this.#close(options.drain));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(drain: number | undefined): Promise<CloseReport> {
    const strategy = this.#strategy;
    const idle = strategy.idle();
    let abandoned: string[] = [];
    if (drain !== undefined) {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<'late'>((resolve) => {
        timer = setTimeout(resolve, drain, 'late');
      });
      if ((await Promise.race([idle, late])) === 'late') {
        abandoned = strategy.abandon(
          (label) =>
            new ClosedError(`${label}: the database was closed and did not wait longer than ${drain} ms for it`),
        );
      }
      clearTimeout(timer);
    }
    try {
      await idle;
      strategy.close();
    } finally {
      this.#leave();
    }
    return { abandoned };
  }

  #within(scope: Scope): Api<G> & ReadApi<G> {
    return this.#bind((method, args) => {
      // The outer api used inside a nested transaction means the nested one: waiting for it would be waiting for oneself.
      const current = scopeOf(currentContext(), this);
      return current?.isWithin(scope) === true ? current.call(method, args) : scope.call(method, args);
    });
  }

  /** The api object of a dispatcher: exactly the methods that the types name, since both come from one registry. */
  #bind(dispatch: (method: Method, args: readonly unknown[]) => Promise<unknown>): Api<G> & ReadApi<G> {
    return buildApi(this.#strategy.methods, dispatch) as Api<G> & ReadApi<G>;
  }

  #closed(label: string): ClosedError {
    const error = new ClosedError(`${label}: the database ${this.decision.facts.file} is closed; open it again`);
    error.outcome = 'not-started';
    return error;
  }
}

/** The open transaction or snapshot of this database that the caller is in; one that has ended does not count. */
function scopeOf(context: Ambient | undefined, owner: object): Scope | undefined {
  const scope = context?.scopes.get(owner);
  return scope instanceof Scope && scope.open ? scope : undefined;
}

function aborted(label: string, signal: AbortSignal): Error {
  const error = abortError(label, signal);
  error.outcome = 'not-started';
  return error;
}
