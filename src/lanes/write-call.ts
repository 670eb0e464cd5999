import { AsyncResource } from 'node:async_hooks';
import { type Ambient, labelOf, runForeign } from '../context/context.ts';
import { Tenant } from '../context/holders.ts';
import { type Connection, type Effect } from '../connection/connection.ts';
import { type Method } from '../repository/methods.ts';
import { type Outcome } from '../errors.ts';
import { withOutcome } from '../outcome.ts';
import { runEffects } from './effects.ts';
import { type Seat } from './seat.ts';

/** A handler's run that returned; it counts once the batch has committed. */
export class Succeeded {
  readonly value: unknown;
  readonly effects: readonly Effect[];

  constructor(value: unknown, effects: readonly Effect[]) {
    this.value = value;
    this.effects = effects;
  }
}

/** One that threw, or may not begin any more. */
export class Failed {
  readonly error: unknown;
  readonly outcome: Outcome;

  constructor(error: unknown, outcome: Outcome = 'rolled-back') {
    this.error = error;
    this.outcome = outcome;
  }
}

/**
 * What a handler's run came to. Instances, and no literals, as all that is made for each call: of literals of which many were
 * alive at a collection V8 makes the next ones among the old objects, where the dead keep alive what they point at until the next
 * major one. A tenth of a busy thread's time went into that.
 */
export type CallResult = Succeeded | Failed;

/** One write that waits in the lane, or runs in a batch. Small, because ten thousand of them may wait. */
export class WriteCall {
  readonly kind = 'call';
  readonly seat: Seat;
  readonly method: Method;
  readonly args: readonly unknown[];
  readonly deadline: number;
  readonly since: number;
  readonly context: Ambient | undefined;
  /** The caller's async context, once the call has to wait. */
  #resource: AsyncResource | undefined;
  #tenant: Tenant | undefined;
  gone = false;
  /** It has run, was undone, and is to run again; what it failed with, if it did. */
  undone: { readonly error: unknown } | undefined;
  readonly promise: Promise<unknown>;
  #ends: (() => void)[] | undefined;
  /** The batch ends after this call: it runs again after a batch that was undone. */
  last = false;
  #resolve!: (value: unknown) => void;
  #reject!: (error: unknown) => void;

  constructor(seat: Seat, method: Method, args: readonly unknown[], context: Ambient | undefined, timeout: number) {
    this.seat = seat;
    this.method = method;
    this.args = args;
    this.since = performance.now();
    this.deadline = context?.deadline ?? this.since + timeout;
    this.context = context;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** As whom an asynchronous handler holds the lane while it waits; a synchronous one is over within its tick. */
  get tenant(): Tenant {
    return (this.#tenant ??= new Tenant(this.label));
  }

  /** Calls a function when it is settled. Not by the promise: a rejection that the caller does not handle must be seen. */
  onEnd(end: () => void): void {
    (this.#ends ??= []).push(end);
  }

  #end(): void {
    if (this.#ends !== undefined) for (const end of this.#ends) end();
  }

  /** Remembers the caller's async context, for a call that does not run at once. */
  wait(): void {
    this.#resource = new AsyncResource('SluiceWrite');
  }

  /** Runs a function in the caller's async context: handler and effects belong there, not to whoever happened to come first. */
  inContext<A extends unknown[], R>(run: (...args: A) => R, ...args: A): R {
    return this.#resource === undefined ? run(...args) : this.#resource.runInAsyncScope(run, undefined, ...args);
  }

  /** Runs its synchronous handler. */
  run(connection: Connection): unknown {
    const { context, method, args } = this;
    if (context?.progress === undefined) return connection.write(method, args);
    return runForeign(context, writeOn, connection, method, args);
  }

  get label(): string {
    return labelOf(this.context, this.method.label);
  }

  /** Settles the promise after the commit: first the effects, once, then the caller. */
  settle(result: CallResult): void {
    if ('error' in result) {
      this.reject(result.error, result.outcome);
      return;
    }
    if (result.effects.length > 0) this.inContext(runEffects, result.effects, this.label);
    this.#end();
    this.#resolve(result.value);
  }

  /** Rejects, saying what became of the write. */
  reject(error: unknown, outcome: Outcome): void {
    this.#end();
    const ran = outcome === 'not-started' && this.undone !== undefined;
    this.#reject(withOutcome(error, ran ? 'rolled-back' : outcome));
  }
}

function writeOn(connection: Connection, method: Method, args: readonly unknown[]): unknown {
  return connection.write(method, args);
}
