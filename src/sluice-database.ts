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
import { adviceOn } from './observe/advice.ts';
import { callChannel } from './observe/trace.ts';
import { Scope } from './lanes/scope.ts';
import { buildApi } from './repository/api.ts';
import { type Method } from './repository/methods.ts';
import { type Api, type ReadApi, type Registry } from './repository/types.ts';
import { type Strategy } from './strategies/strategy.ts';
import { type CloseOptions, type CloseReport, type Database, type DatabaseStats } from './database.ts';

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
