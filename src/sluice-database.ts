import { type MessagePort, threadId } from 'node:worker_threads';
import {
  abandonWithContext,
  abortError,
  type Ambient,
  type ContextOptions,
  currentContext,
  runInContext,
  runInScope,
  scopeOf,
  timerDelay,
} from './context/context.ts';
import { type Tenant } from './context/holders.ts';
import { type Scope } from './context/scope.ts';
import { type Cursor, type Pulled } from './connection/cursor.ts';
import { type Decision } from './connection/decide.ts';
import { ClosedError, ContextError, OptionError } from './errors.ts';
import { type CheckpointReport } from './maintenance/checkpoint.ts';
import { adviceOn } from './observe/advice.ts';
import { PinnedStreams } from './observe/stream-stats.ts';
import { callChannel } from './observe/trace.ts';
import { GivenPorts } from './executor/given-ports.ts';
import { describeMethods } from './executor/protocol.ts';
import { Switchboard } from './executor/switchboard.ts';
import { nearMiss } from './near-miss.ts';
import { describe } from './plain.ts';
import { forgetUnclosed } from './unclosed.ts';
import { buildApi } from './repository/api.ts';
import { type Method } from './repository/methods.ts';
import { type Api, type ErrorClass, type ReadApi, type Registry } from './repository/types.ts';
import { type Strategy } from './strategies/strategy.ts';
import { makeStream } from './streams/stream.ts';
import { type StreamHost } from './streams/stream-host.ts';
import { type CloseOptions, type CloseReport, type Database, type DatabaseStats } from './database.ts';

/** What ports must know of a database beside its strategy. */
export interface DatabaseLimits {
  readonly timeout: number;
  readonly maxQueue: number;
  readonly errors: readonly ErrorClass[];
}
/** Milliseconds after which a close that was given no deadline says what it waits for. */
const PATIENCE = 5000;

/** The one implementation of {@link Database}; what differs is its strategy. */
export class SluiceDatabase<G extends Registry> implements Database<G> {
  readonly api: Api<G>;
  readonly decision: Decision;
  readonly #strategy: Strategy;
  readonly #leave: () => void;
  readonly #abandoned: string[] = [];
  readonly #limits: DatabaseLimits;
  readonly #ports = new GivenPorts();
  /** Serves the ports, where no other thread does. */
  #switchboard: Switchboard | undefined;
  /** End what may give up on the close. */
  readonly #stops: (() => void)[] = [];
  readonly #streams: StreamHost;
  #closing: Promise<CloseReport> | undefined;
  /** It is closed: nothing is left that a close could give up on. */
  #ended = false;

  /** @param leave takes the file out of the registry of open files */
  constructor(strategy: Strategy, decision: Decision, leave: () => void, limits: DatabaseLimits) {
    this.#limits = limits;
    this.#strategy = strategy;
    this.decision = decision;
    this.#leave = leave;
    this.api = this.#bind(undefined);
    this.#streams = {
      pinned: new PinnedStreams(),
      scopeAt: this.#scopeAt.bind(this),
      call: this.#call.bind(this),
      advance: this.#advance.bind(this),
      snapshot: async (hold, context, holding) => {
        if (this.#closing !== undefined) throw this.#closed(holding.label);
        return strategy.snapshot(hold, context, holding);
      },
    };
  }

  async transaction<T>(run: (api: Api<G>) => Promise<T> | T): Promise<T> {
    const context = currentContext();
    const inside = (scope: Scope): Promise<T> => this.#enter(scope, run);
    const outer = scopeOf(context, this.#strategy.owner);
    if (outer !== undefined) return outer.transaction(inside, context);
    if (this.#closing !== undefined) throw this.#closed('transaction');
    return this.#strategy.transaction(inside, context);
  }

  async snapshot<T>(run: (api: ReadApi<G>) => Promise<T> | T): Promise<T> {
    const context = currentContext();
    const outer = scopeOf(context, this.#strategy.owner);
    const inside = (scope: Scope): Promise<T> => this.#enter(scope, run);
    if (outer !== undefined) return outer.snapshot(inside, context);
    if (this.#closing !== undefined) throw this.#closed('snapshot');
    return this.#strategy.snapshot(inside, context);
  }

  context<T>(options: ContextOptions, run: () => T): T {
    return runInContext(options, run);
  }

  detached<T>(run: () => T): T {
    return runInScope(this.#strategy.owner, undefined, run);
  }

  async checkpoint(): Promise<CheckpointReport> {
    const context = currentContext();
    const scope = scopeOf(context, this.#strategy.owner);
    if (scope !== undefined) throw insideScope('checkpoint', scope, 'which would be in its way; call it afterwards');
    if (this.#closing !== undefined) throw this.#closed('checkpoint');
    return this.#strategy.checkpoint(context);
  }

  stats(): DatabaseStats {
    const { pinned } = this.#streams;
    const stats = this.#strategy.stats();
    return {
      ...stats,
      streams: pinned.read(),
      advice: [...adviceOn(this.#strategy.methods), ...(stats.advice ?? [])],
      hazards: pinned.hazards(this.decision.facts.journalMode),
    };
  }

  port(): MessagePort {
    this.refuseIfClosed('port');
    const { timeout, maxQueue } = this.#limits;
    const { methods, exchanges } = this.#strategy;
    const description = { decision: this.decision, methods: describeMethods(methods), timeout, maxQueue };
    if (exchanges !== undefined) return this.#ports.give(description, exchanges, undefined);
    this.#switchboard ??= new Switchboard(this.#strategy, this.#limits.errors);
    return this.#ports.give(description, [this.#switchboard], threadId);
  }

  /** @throws {ClosedError} after `close` was called */
  protected refuseIfClosed(label: string): void {
    if (this.#closing !== undefined) throw this.#closed(label);
  }

  close(options: CloseOptions = {}): Promise<CloseReport> {
    const drain = drainOf(options);
    const context = currentContext();
    const scope = scopeOf(context, this.#strategy.owner);
    if (scope !== undefined) {
      return Promise.reject(insideScope('close', scope, 'for which it would wait; close it afterwards'));
    }
    if (this.#ended && this.#closing !== undefined) return this.#closing;
    const around = tenantsAround(context);
    let endWait: (() => void) | undefined;
    try {
      if (around.length > 0) endWait = this.#strategy.closeInside?.(around);
    } catch (error) {
      return Promise.reject(error);
    }
    this.#closing ??= this.#close();
    if (endWait !== undefined) this.#stops.push(endWait);
    // A later call may bring the deadline that the first one left out, as a signal handler would.
    if (drain !== undefined) {
      const timer = setTimeout(() => {
        this.#giveUp(`did not wait longer than ${drain} ms for it`);
      }, timerDelay(drain));
      this.#stops.push(() => {
        clearTimeout(timer);
      });
    }
    const abandon = (error: Error): void => {
      this.#giveUp(`its close ended with its context (${error.name})`);
    };
    this.#stops.push(abandonWithContext({ label: 'close', abandon }, context));
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<CloseReport> {
    const reminder = setTimeout(() => {
      remind(this.decision.facts.file, this.#strategy.running());
    }, PATIENCE);
    reminder.unref();
    try {
      this.#switchboard?.refuse(this.decision.facts.file);
      await this.#strategy.idle();
      await this.#strategy.close();
    } catch (error) {
      // Nothing was closed: the next close tries again.
      this.#closing = undefined;
      this.#strategy.resume?.();
      this.#switchboard?.accept();
      throw error;
    } finally {
      clearTimeout(reminder);
      for (const stop of this.#stops.splice(0)) stop();
    }
    this.#ended = true;
    this.#switchboard?.close();
    this.#ports.close();
    forgetUnclosed(this);
    this.#leave();
    return { abandoned: this.#abandoned };
  }

  #giveUp(why: string): void {
    this.#strategy.abandon((label) => {
      this.#abandoned.push(label);
      return new ClosedError(`${label}: the database was closed and ${why}`);
    });
  }

  async #enter<T>(scope: Scope, run: (api: Api<G> & ReadApi<G>) => Promise<T> | T): Promise<T> {
    try {
      return await runInScope(this.#strategy.owner, scope, () => run(this.#bind(scope)));
    } finally {
      scope.leave();
    }
  }

  /**
   * The api object, of a scope or of the database: exactly the methods that the types name, since both come from one registry.
   */
  #bind(home: Scope | undefined): Api<G> & ReadApi<G> {
    const api = buildApi(this.#strategy.methods, {
      call: (method, args) => {
        const context = currentContext();
        return this.#call(method, args, context, this.#scopeAt(context, home));
      },
      stream: (method, args) => {
        const made = currentContext();
        return makeStream(this.#streams, { method, args, made, home: this.#scopeAt(made, home) });
      },
    });
    return api as Api<G> & ReadApi<G>;
  }

  /**
   * The scope that a call belongs to. The outer api used inside a nested transaction means the nested one: waiting for it
   * would be waiting for oneself.
   */
  #scopeAt(context: Ambient | undefined, home: Scope | undefined): Scope | undefined {
    const current = scopeOf(context, this.#strategy.owner);
    if (home === undefined || current?.isWithin(home) === true) return current;
    return home;
  }

  #call(
    method: Method,
    args: readonly unknown[],
    context: Ambient | undefined,
    scope: Scope | undefined,
  ): Promise<unknown> {
    const refusal = this.#refusal(method.label, context, scope);
    if (refusal !== undefined) return Promise.reject(refusal);
    const lane = scope ?? this.#strategy;
    if (!callChannel.hasSubscribers) return lane.call(method, args, context);
    return this.#traced(method, context, () => lane.call(method, args, context));
  }

  #advance(
    cursor: Cursor,
    how: 'pull' | 'end',
    context: Ambient | undefined,
    scope: Scope | undefined,
  ): Promise<Pulled> {
    const { method } = cursor;
    const refusal = this.#refusal(method.label, context, scope);
    if (refusal !== undefined) return Promise.reject(refusal);
    const lane = scope ?? this.#strategy;
    if (!callChannel.hasSubscribers) return lane.advance(cursor, how, context);
    return this.#traced(method, context, () => lane.advance(cursor, how, context));
  }

  /** Why a call may not begin. */
  #refusal(label: string, context: Ambient | undefined, scope: Scope | undefined): Error | undefined {
    if (scope === undefined && this.#closing !== undefined) return this.#closed(label);
    if (context?.signal?.aborted === true) return aborted(label, context.signal);
    return undefined;
  }

  #traced<T>(method: Method, context: Ambient | undefined, run: () => Promise<T>): Promise<T> {
    const { label: call, access } = method;
    const { file } = this.decision.facts;
    return callChannel.tracePromise(run, { call, access, file, context: context?.label });
  }

  #closed(label: string): ClosedError {
    const error = new ClosedError(`${label}: the database ${this.decision.facts.file} is closed; open it again`);
    error.outcome = 'not-started';
    return error;
  }
}

function remind(file: string, running: readonly string[]): void {
  process.emitWarning(
    `close of ${file}: has waited ${PATIENCE} ms for ${running.join(', ') || 'calls that wait for their turn'}; ` +
      'end these first, or give close({ drain }) a deadline',
    { type: 'SluiceWarning', code: 'SLUICE_CLOSE_WAITS' },
  );
}

/**
 * What may be open around a closer, of whichever database. Also of a nested transaction that has ended, for the outermost
 * one, whose tenant it shares, may be open still. A tenant that holds nothing is in nobody's way.
 */
function tenantsAround(context: Ambient | undefined): readonly Tenant[] {
  if (context === undefined) return [];
  return [...context.scopes.values()].flatMap((scope) => (scope === undefined ? [] : [scope.tenant]));
}

function insideScope(label: string, scope: Scope, why: string): ContextError {
  return new ContextError(`${label}: called inside a ${scope.label} of the same database, ${why}`);
}

function aborted(label: string, signal: AbortSignal): Error {
  const error = abortError(label, signal);
  error.outcome = 'not-started';
  return error;
}

function drainOf(options: CloseOptions): number | undefined {
  for (const name of Object.keys(options)) {
    if (name !== 'drain')
      throw new OptionError(`close: unknown option "${name}"${nearMiss(name, ['drain']) || '; use drain'}`);
  }
  const { drain } = options;
  if (drain === undefined || (typeof drain === 'number' && drain >= 0 && drain < Infinity)) return drain;
  throw new OptionError(`close: "drain" is ${describe(drain)}; give milliseconds from 0`);
}
