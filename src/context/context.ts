import { AsyncLocalStorage } from 'node:async_hooks';
import { AbortError, OptionError, TimeoutError } from '../errors.ts';
import { nearMiss } from '../near-miss.ts';
import { describe, isPlain } from '../plain.ts';
import { CallSite, type FarSite, type Site } from './call-site.ts';
import { type Tenant } from './holders.ts';
import { holderOf } from './lease.ts';
import { type Progress } from './progress.ts';
import { type Scope } from './scope.ts';

/** What `db.context` puts around the calls inside it. */
export interface ContextOptions {
  /**
   * Milliseconds from now until which calls inside may wait for their turn; replaces the option of `open`. A transaction or
   * snapshot that has not ended by then is undone, and a stream is over.
   */
  readonly timeout?: number;
  /** Takes calls that have not started out of the queue, and ends transactions, snapshots and streams, when it aborts. */
  readonly signal?: AbortSignal;
  /** Who is calling, for errors and traces, for example `GET /accounts`. */
  readonly label?: string;
}

/** What surrounds a call. */
export interface Ambient {
  /** On `performance.now()`'s clock; `undefined` where the option of `open` applies. */
  readonly deadline: number | undefined;
  readonly signal: AbortSignal | undefined;
  readonly label: string | undefined;
  /** The transaction or snapshot that the caller is in, for each database by its token. */
  readonly scopes: ReadonlyMap<object, Scope | undefined>;
  /** Those that `detached` took the caller out of. */
  readonly left?: readonly Scope[] | undefined;
  /** Where a transaction or snapshot was called from that another thread begins. */
  readonly site?: FarSite;
  /** Set for a call that came from another thread, which its strategy moves on. Handlers and effects have {@link caller}. */
  readonly progress?: Progress;
  /** The other thread's call that this is inside of. What is called here is another one, and has no part in its progress. */
  readonly caller?: Pick<Progress, 'givenUp'>;
}

/** For an {@link Ambient} that is in no scope. */
export const NO_SCOPES: ReadonlyMap<object, Scope | undefined> = new Map();

const NOTHING: Ambient = { deadline: undefined, signal: undefined, label: undefined, scopes: NO_SCOPES };

const ambient = new AsyncLocalStorage<Ambient>();

/** What surrounds the caller; `undefined` outside every context. */
export function currentContext(): Ambient | undefined {
  return ambient.getStore();
}

/** What surrounds the synchronous handler that runs now, if its call came from another thread. */
let running: Ambient | undefined;

/**
 * Runs the synchronous handler of a call that came from another thread, which has no async context here: one of its own would cost
 * a twentieth of such a call.
 */
export function runForeign<A extends unknown[], T>(around: Ambient, run: (...args: A) => T, ...args: A): T {
  const outer = running;
  running = around;
  try {
    return run(...args);
  } finally {
    running = outer;
  }
}

/** Runs a call that came from another thread in that thread's context. */
export function runWithAmbient<T>({ deadline, signal, label, scopes, progress }: Ambient, run: () => T): T {
  return ambient.run({ deadline, signal, label, scopes, ...(progress === undefined ? {} : { caller: progress }) }, run);
}

/** Whether the call that is running has been given up: its signal aborted, its deadline passed, or nobody waits for it. */
export function isCancelled(): boolean {
  const around = running ?? ambient.getStore();
  if (around === undefined) return false;
  if (around.signal?.aborted === true || callerOf(around)?.givenUp === true) return true;
  return around.deadline !== undefined && performance.now() >= around.deadline;
}

/** Whether the call that is running came from another thread, and nobody there waits for it any more. */
export function isGivenUp(): boolean {
  return callerOf(running ?? ambient.getStore())?.givenUp === true;
}

function callerOf(around: Ambient | undefined): Ambient['caller'] {
  return around?.progress ?? around?.caller;
}

/** Runs a function inside a context. A nested one has the sooner deadline, either signal, and its own label. */
export function runInContext<T>(options: ContextOptions, run: () => T): T {
  validate(options);
  const outer = ambient.getStore();
  const deadline = options.timeout === undefined ? undefined : performance.now() + options.timeout;
  return ambient.run(
    {
      deadline: sooner(outer?.deadline, deadline),
      signal: either(outer?.signal, options.signal),
      label: options.label ?? outer?.label,
      scopes: outer?.scopes ?? NO_SCOPES,
      left: outer?.left,
    },
    run,
  );
}

/**
 * What surrounds a call that has to do with two contexts: the sooner deadline, either signal, the label of the first, and
 * the transactions and snapshots of the second.
 */
export function combinedContext(first: Ambient | undefined, second: Ambient | undefined): Ambient | undefined {
  if (first === undefined || first === second) return second;
  return {
    deadline: sooner(first.deadline, second?.deadline),
    signal: either(first.signal, second?.signal),
    label: first.label ?? second?.label,
    scopes: second?.scopes ?? NO_SCOPES,
    left: second?.left,
  };
}

/**
 * Runs a function inside a transaction or snapshot of the database that `owner` stands for. What it holds is whether the
 * scope is open, not that it once was: whoever looks has to ask the scope.
 */
export function runInScope<T>(owner: object, scope: Scope | undefined, run: () => T): T {
  return runInOneMore(ambient.getStore(), owner, scope, run);
}

/** Runs a function outside the transactions and snapshots of the database that `owner` stands for. */
export function runDetached<T>(owner: object, run: () => T): T {
  const outer = ambient.getStore();
  const scope = outer?.scopes.get(owner);
  if (outer === undefined || scope === undefined) return run();
  // Those that are over are forgotten, or a job that begins the next one in `detached` would remember all there ever were.
  return runInOneMore({ ...outer, left: [...leftOpen(outer), scope] }, owner, undefined, run);
}

function runInOneMore<T>(outer: Ambient | undefined, owner: object, scope: Scope | undefined, run: () => T): T {
  const scopes = new Map(outer?.scopes);
  scopes.set(owner, scope);
  const { deadline, signal, label, left } = outer ?? NOTHING;
  return ambient.run({ deadline, signal, label, scopes, left }, run);
}

const NO_TENANTS: readonly Tenant[] = [];

/** What is open around a caller, of whichever database, however nested: it cannot end before what the caller waits for. */
export function tenantsOf(context: Ambient | undefined): readonly Tenant[] {
  if (context === undefined || context.scopes.size === 0) return NO_TENANTS;
  const tenants: Tenant[] = [];
  for (const scope of context.scopes.values()) {
    for (let at = entered(scope); at !== undefined; at = entered(at.enclosing)) tenants.push(at.tenant);
  }
  return tenants;
}

/** The open transaction or snapshot that the caller is in, of the database that `owner` stands for; the innermost. */
export function scopeOf(context: Ambient | undefined, owner: object): Scope | undefined {
  return entered(context?.scopes.get(owner));
}

/** The transactions and snapshots that `detached` took the caller out of and that are still open, the innermost of each. */
export function leftOpen(context: Ambient | undefined): readonly Scope[] {
  return context?.left?.flatMap((scope) => entered(scope) ?? []) ?? [];
}

function entered(scope: Scope | undefined): Scope | undefined {
  let at = scope;
  while (at?.entered === false) at = at.enclosing;
  return at;
}

/** Milliseconds for a timer: one beyond 2^31 would overflow and fire at once, over and over. */
export function timerDelay(milliseconds: number): number {
  return Math.min(Math.max(0, milliseconds), 2 ** 31 - 2);
}

/** When a call that starts to wait now has waited long enough. */
export function deadlineOf(context: Ambient | undefined, timeout: number): number {
  return context?.deadline ?? performance.now() + timeout;
}

/** Whether nothing more can be begun in it: its signal has aborted, or its deadline has passed. */
export function isOver(context: Ambient | undefined): boolean {
  if (context === undefined) return false;
  if (context.signal?.aborted === true) return true;
  return context.deadline !== undefined && performance.now() >= context.deadline;
}

/** For what has to be done although nobody waits for it: it has all the time there is, no signal, and is part of nothing. */
export function unawaited(context: Ambient | undefined): Ambient {
  return { deadline: Infinity, signal: undefined, label: context?.label, scopes: NO_SCOPES };
}

/** Where what begins now was called from. */
export function siteOf(context: Ambient | undefined): Site {
  return context?.site ?? new CallSite();
}

/** A call's name with who is calling: `accounts.get in GET /accounts`. */
export function labelOf(context: Ambient | undefined, label: string): string {
  return context?.label === undefined ? label : `${label} in ${context.label}`;
}

/** The name of a transaction or snapshot inside another one, with who is calling: `nested transaction in POST /transfers`. */
export function nestedLabel(what: 'transaction' | 'snapshot', context: Ambient | undefined): string {
  return labelOf(context, what === 'transaction' ? 'nested transaction' : what);
}

/** What an aborted call rejects with: named as Node's own, its cause the signal's reason. */
export function abortError(label: string, signal: AbortSignal): AbortError {
  return new AbortError(`${label}: aborted`, { cause: signal.reason });
}

/** What a signal or a deadline can end under its callback. */
interface Abandonable {
  readonly label: string;
  /** Where it was called from, if that is known. */
  readonly site?: Site | undefined;
  abandon(error: Error): void;
}

/** Gives up on something when its context's signal aborts. The returned function stops watching. */
export function abandonOnAbort(running: Abandonable, context: Ambient | undefined): () => void {
  const signal = context?.signal;
  if (signal === undefined) return () => undefined;
  const abort = (): void => {
    running.abandon(abortError(running.label, signal));
  };
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  return () => {
    signal.removeEventListener('abort', abort);
  };
}

/**
 * Gives up on a transaction or snapshot that has begun when the deadline of its context passes, also while its callback
 * waits for something that never comes. The returned function stops watching.
 */
export function abandonAtDeadline(running: Abandonable, context: Ambient | undefined): () => void {
  const deadline = context?.deadline;
  if (deadline === undefined) return () => undefined;
  const since = performance.now();
  const timer = setTimeout(
    () => {
      const { label, site } = running;
      const holder = holderOf({ label, since, site });
      running.abandon(
        new TimeoutError(
          `${label}: had not ended at the deadline of its context, after ${Math.round(holder.heldFor)} ms, and was undone; ` +
            'await less inside it, or give the context more time',
          { wait: 'callback', holder },
        ),
      );
    },
    timerDelay(deadline - since),
  );
  return () => {
    clearTimeout(timer);
  };
}

/** Both of these, for what begins at once. */
export function abandonWithContext(running: Abandonable, context: Ambient | undefined): () => void {
  const stops = [abandonOnAbort(running, context), abandonAtDeadline(running, context)];
  return () => {
    for (const stop of stops) stop();
  };
}

function sooner(a: number | undefined, b: number | undefined): number | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return Math.min(a, b);
}

function either(a: AbortSignal | undefined, b: AbortSignal | undefined): AbortSignal | undefined {
  if (a === undefined || b === undefined || a === b) return a ?? b;
  return AbortSignal.any([a, b]);
}

const KNOWN = ['timeout', 'signal', 'label'];

function validate(options: unknown): void {
  if (!isPlain(options)) throw new OptionError(`context: takes an object of options, not ${describe(options)}`);
  for (const name of Object.keys(options)) {
    if (!KNOWN.includes(name)) {
      throw new OptionError(`context: unknown option "${name}"${nearMiss(name, KNOWN) || `; use ${KNOWN.join(', ')}`}`);
    }
  }
  const { timeout, signal, label } = options;
  if (timeout !== undefined && (typeof timeout !== 'number' || !(timeout >= 0) || timeout === Infinity)) {
    throw new OptionError(`context: "timeout" is ${describe(timeout)}; give milliseconds from 0`);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new OptionError(`context: "signal" is ${describe(signal)}; give an AbortSignal`);
  }
  if (label !== undefined && typeof label !== 'string') {
    throw new OptionError(`context: "label" is ${describe(label)}; give a string`);
  }
}
