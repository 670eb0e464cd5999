import { abortError, type Ambient, deadlineOf, timerDelay } from '../context/context.ts';
import { TimeoutError } from '../errors.ts';
import { withOutcome } from '../outcome.ts';

/** A wait for a turn inside a scope. */
export interface InnerWait {
  readonly label: string;
  /** What it is inside. */
  readonly of: string;
  /** What it waits for. */
  readonly blocked: string;
  readonly context: Ambient | undefined;
  /** Milliseconds that it may take where the context sets no deadline. */
  readonly timeout: number;
}

/** The turns inside one transaction or snapshot: what spans ticks there runs one after another, in order of arrival. */
export class ScopeTurns {
  /** The last one that spans ticks, or one that waits for it. */
  #last: Promise<void> | undefined;

  /** Whether something has a turn, or waits for one. */
  get taken(): boolean {
    return this.#last !== undefined;
  }

  /** Resolves when everything that has come so far has ended; `undefined` where nothing has to. */
  ended(): Promise<void> | undefined {
    return this.#last;
  }

  /** Runs something that spans ticks after what is running now, and before what comes later. */
  take<T>(wait: InnerWait, run: () => Promise<T>): Promise<T> {
    const before = this.#last;
    // The place is taken before anything runs: what is called meanwhile, in the very first step, comes later.
    let leave: () => void = () => undefined;
    const done = new Promise<void>((resolve) => (leave = resolve));
    this.#last = done;
    void done.then(() => {
      if (this.#last === done) this.#last = undefined;
    });
    const result = (async () => {
      if (before !== undefined) await untilDeadline(before, wait);
      return run();
    })();
    // Whoever gave up waiting leaves the place, but what it waited for is still before the next one.
    void Promise.allSettled([before, result]).then(leave);
    // The caller gets a promise that nobody here listens to: a rejection that it does not handle must be seen.
    return result.finally(() => undefined);
  }
}

/** Waits for its turn inside a scope. @throws {TimeoutError} at the deadline, {@link AbortError} when the signal aborts */
async function untilDeadline(
  before: Promise<void>,
  { label, of, blocked, context, timeout }: InnerWait,
): Promise<void> {
  const since = performance.now();
  const signal = context?.signal;
  let stop: () => void = () => undefined;
  const givenUp = new Promise<never>((_, reject) => {
    const late = (): void => {
      const heldFor = performance.now() - since;
      const error = new TimeoutError(
        `${label}: waited ${Math.round(heldFor)} ms inside ${of} for ${blocked} to end and did not start; a call of the outer ` +
          'api waits for a nested transaction: use the api that the callback is given, or raise the option "timeout"',
        { wait: 'turn', holder: { label: blocked, heldFor } },
      );
      reject(error);
    };
    const timer = setTimeout(late, timerDelay(deadlineOf(context, timeout) - since));
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
  }
}
