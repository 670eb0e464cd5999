import { abortError, type Ambient, deadlineOf, tenantsOf, timerDelay } from '../context/context.ts';
import { type Tenancy, type Tenant, waitInside } from '../context/holders.ts';
import { type Site } from '../context/call-site.ts';
import { holderOf } from '../context/lease.ts';
import { describeHolder, type Holder, TimeoutError } from '../errors.ts';
import { withOutcome } from '../outcome.ts';

/** What takes a turn inside a scope. */
export interface InnerCall {
  /** As whom it has its turn, and waits for it. */
  readonly tenant: Tenant;
  /** Where it was called from, for what has its turn across ticks by its nature. */
  readonly site: Site | undefined;
  readonly context: Ambient | undefined;
  /** Milliseconds that it may take where the context sets no deadline. */
  readonly timeout: number;
}

/** The turns inside one transaction or snapshot: what spans ticks there runs one after another, in order of arrival. */
export class ScopeTurns implements Tenancy {
  /** What these are the turns of. */
  readonly #of: string;
  /** What has its turn now, and since when. */
  #holder: { readonly call: InnerCall; readonly since: number } | undefined;
  /** The last one that spans ticks, or one that waits for it. */
  #last: Promise<void> | undefined;

  constructor(of: string) {
    this.#of = of;
  }

  get name(): string {
    return `a turn inside ${this.#of}`;
  }

  get tenants(): readonly Tenant[] {
    return this.#holder === undefined ? [] : [this.#holder.call.tenant];
  }

  /** Whether something has a turn, or waits for one. */
  get taken(): boolean {
    return this.#last !== undefined;
  }

  /** Resolves when everything that has come so far has ended; `undefined` where nothing has to. */
  ended(): Promise<void> | undefined {
    return this.#last;
  }

  /** Runs something that spans ticks after what is running now, and before what comes later. */
  take<T>(call: InnerCall, run: () => Promise<T>): Promise<T> {
    const before = this.#last;
    // The place is taken before anything runs: what is called meanwhile, in the very first step, comes later.
    let leave: () => void = () => undefined;
    const done = new Promise<void>((resolve) => (leave = resolve));
    this.#last = done;
    void done.then(() => {
      if (this.#last === done) this.#last = undefined;
    });
    const result = (async () => {
      if (before !== undefined) await this.#untilDeadline(before, call);
      this.#holder = { call, since: performance.now() };
      try {
        return await run();
      } finally {
        this.#holder = undefined;
      }
    })();
    // Whoever gave up waiting leaves the place, but what it waited for is still before the next one.
    void Promise.allSettled([before, result]).then(leave);
    // The caller gets a promise that nobody here listens to: a rejection that it does not handle must be seen.
    return result.finally(() => undefined);
  }

  /**
   * @throws {DeadlockError} at once, when what has its turn waits for the caller; {@link TimeoutError} at the deadline;
   * {@link AbortError} when the signal aborts
   */
  async #untilDeadline(before: Promise<void>, { tenant, context, timeout }: InnerCall): Promise<void> {
    const { label } = tenant;
    const since = performance.now();
    const deadline = deadlineOf(context, timeout);
    const signal = context?.signal;
    const endWait = waitInside(tenantsOf(context), this, label);
    let stop: () => void = () => undefined;
    const givenUp = new Promise<never>((_, reject) => {
      const late = (): void => {
        reject(this.#late(label, performance.now() - since));
      };
      // A timer would keep the process alive for what may wait for ever.
      const timer = deadline === Infinity ? undefined : setTimeout(late, timerDelay(deadline - since));
      const abort = (): void => {
        if (signal !== undefined) reject(abortError(label, signal));
      };
      signal?.addEventListener('abort', abort, { once: true });
      stop = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
      };
    });
    try {
      await Promise.race([before, givenUp]);
    } catch (error) {
      throw withOutcome(error, 'not-started');
    } finally {
      stop();
      endWait();
    }
  }

  #late(label: string, waited: number): TimeoutError {
    const holder = this.#who();
    const before = holder === undefined ? 'what came before it' : describeHolder(holder);
    return new TimeoutError(
      `${label}: waited ${Math.round(waited)} ms inside ${this.#of} and did not start; its turn is held by ${before}; calls ` +
        'inside a transaction take turns: make that shorter, call what belongs to a nested one through the api that its ' +
        'callback is given, or raise the option "timeout"',
      { wait: 'turn', holder },
    );
  }

  #who(): Holder | undefined {
    if (this.#holder === undefined) return undefined;
    const { call, since } = this.#holder;
    return holderOf({ label: call.tenant.label, since, site: call.site });
  }
}
