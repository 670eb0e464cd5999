import { type MessagePort, threadId } from 'node:worker_threads';
import {
  abortError,
  type Ambient,
  type ContextOptions,
  currentContext,
  labelOf,
  runDetached,
  runInContext,
  runInScope,
  scopeOf,
} from './context/context.ts';
import { explainWait } from './context/detached.ts';
import { type Scope } from './context/scope.ts';
import { type Cursor, type Pulled } from './connection/cursor.ts';
import { type Decision } from './connection/decide.ts';
import { Closing, insideScope } from './closing.ts';
import { type CheckpointReport } from './maintenance/checkpoint.ts';
import { adviceOn } from './observe/advice.ts';
import { PinnedStreams } from './observe/stream-stats.ts';
import { callChannel } from './observe/trace.ts';
import { GivenPorts } from './executor/given-ports.ts';
import { describeMethods } from './executor/protocol.ts';
import { Switchboard } from './executor/switchboard.ts';
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
  readonly readers: number;
  readonly errors: readonly ErrorClass[];
}

/** The one implementation of {@link Database}; what differs is its strategy. */
export class SluiceDatabase<G extends Registry> implements Database<G> {
  readonly api: Api<G>;
  readonly decision: Decision;
  readonly #strategy: Strategy;
  readonly #limits: DatabaseLimits;
  readonly #ports = new GivenPorts();
  /** Serves the ports, where no other thread does. */
  #switchboard: Switchboard | undefined;
  readonly #closing: Closing;
  readonly #streams: StreamHost;

  /** @param leave takes the file out of the registry of open files */
  constructor(strategy: Strategy, decision: Decision, leave: () => void, limits: DatabaseLimits) {
    this.#limits = limits;
    this.#strategy = strategy;
    this.decision = decision;
    const { file } = decision.facts;
    this.#closing = new Closing({
      strategy,
      file,
      timeout: limits.timeout,
      refuse: () => this.#switchboard?.refuse(file),
      accept: () => this.#switchboard?.accept(),
      ended: () => {
        this.#switchboard?.close();
        this.#ports.close();
        forgetUnclosed(this);
        leave();
      },
    });
    this.api = this.#bind(undefined);
    this.#streams = {
      pinned: new PinnedStreams(),
      scopeAt: this.#scopeAt.bind(this),
      call: this.#call.bind(this),
      advance: this.#advance.bind(this),
      snapshot: async (hold, context, holding) => {
        this.refuseIfClosed(holding.label);
        return strategy.snapshot(hold, context, holding);
      },
    };
  }

  async transaction<T>(run: (api: Api<G>) => Promise<T> | T): Promise<T> {
    const context = currentContext();
    const inside = (scope: Scope): Promise<T> => this.#enter(scope, run);
    const outer = scopeOf(context, this.#strategy.owner);
    if (outer !== undefined) return outer.transaction(inside, context);
    this.refuseIfClosed('transaction');
    return explained(this.#strategy.transaction(inside, context), context);
  }

  async snapshot<T>(run: (api: ReadApi<G>) => Promise<T> | T): Promise<T> {
    const context = currentContext();
    const outer = scopeOf(context, this.#strategy.owner);
    const inside = (scope: Scope): Promise<T> => this.#enter(scope, run);
    if (outer !== undefined) return outer.snapshot(inside, context);
    this.refuseIfClosed('snapshot');
    return explained(this.#strategy.snapshot(inside, context), context);
  }

  context<T>(options: ContextOptions, run: () => T): T {
    return runInContext(options, run);
  }

  detached<T>(run: () => T): T {
    return runDetached(this.#strategy.owner, run);
  }

  async checkpoint(): Promise<CheckpointReport> {
    const context = currentContext();
    const scope = scopeOf(context, this.#strategy.owner);
    if (scope !== undefined) throw insideScope('checkpoint', scope, 'which would be in its way; call it afterwards');
    this.refuseIfClosed('checkpoint');
    return explained(this.#strategy.checkpoint(context), context);
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
    const { timeout, maxQueue, readers } = this.#limits;
    const { methods, exchanges } = this.#strategy;
    const description = { decision: this.decision, methods: describeMethods(methods), timeout, maxQueue, readers };
    if (exchanges !== undefined) return this.#ports.give(description, exchanges, undefined);
    this.#switchboard ??= new Switchboard(this.#strategy, this.#limits.errors);
    return this.#ports.give(description, [this.#switchboard], threadId);
  }

  /** @throws {ClosedError} after `close` was called */
  protected refuseIfClosed(label: string): void {
    const refusal = this.#closing.refusal(label);
    if (refusal !== undefined) throw refusal;
  }

  close(options: CloseOptions = {}): Promise<CloseReport> {
    return this.#closing.close(options, currentContext());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
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
    const refusal = this.#refusal(method, context, scope);
    if (refusal !== undefined) return Promise.reject(refusal);
    const lane = scope ?? this.#strategy;
    const called = callChannel.hasSubscribers
      ? this.#traced(method, context, () => lane.call(method, args, context))
      : lane.call(method, args, context);
    return scope === undefined ? explained(called, context) : called;
  }

  #advance(
    cursor: Cursor,
    how: 'pull' | 'end',
    context: Ambient | undefined,
    scope: Scope | undefined,
  ): Promise<Pulled> {
    const { method } = cursor;
    const refusal = this.#refusal(method, context, scope);
    if (refusal !== undefined) return Promise.reject(refusal);
    const lane = scope ?? this.#strategy;
    const pulled = callChannel.hasSubscribers
      ? this.#traced(method, context, () => lane.advance(cursor, how, context))
      : lane.advance(cursor, how, context);
    return scope === undefined ? explained(pulled, context) : pulled;
  }

  /** Why a call may not begin. */
  #refusal({ label, access }: Method, context: Ambient | undefined, scope: Scope | undefined): Error | undefined {
    const closed = scope === undefined ? this.#closing.refusal(label) : undefined;
    if (closed !== undefined) return closed;
    if (context?.signal?.aborted === true) return aborted(labelOf(context, label), access, context.signal);
    return undefined;
  }

  #traced<T>(method: Method, context: Ambient | undefined, run: () => Promise<T>): Promise<T> {
    const { label: call, access } = method;
    const { file } = this.decision.facts;
    return callChannel.tracePromise(run, { call, access, file, context: context?.label });
  }
}

function explained<T>(wait: Promise<T>, context: Ambient | undefined): Promise<T> {
  return context?.left === undefined ? wait : explainWait(wait, context);
}

function aborted(label: string, access: 'read' | 'write', signal: AbortSignal): Error {
  const error = abortError(label, signal);
  if (access === 'write') error.outcome = 'not-started';
  return error;
}
