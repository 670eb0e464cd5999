/**
 * One iteration of a stream: items out of batches, one pull at a time.
 *
 * 1. A pull that finds an item of the batch at hand takes it. Only one that finds none reads the next batch: nothing is read
 *    ahead, so that a consumer who is slow, or stops, is not outrun.
 * 2. Pulls made at once are served in order.
 * 3. Each pull looks at the signal and the deadline of the context that the stream was made in, and of the one it is pulled
 *    in, before it gives anything: also where rows are at hand.
 * 4. When the pulls of a loop have taken a time slice the event loop turns, so that timers, I/O and the write lane run
 *    beside a loop that awaits nothing else.
 * 5. The end, a failure, `return` and `throw` each end it for good: what the batches hold is given back before the promise
 *    settles, and every later pull says that it is done.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { abortError, type Ambient, combinedContext, currentContext, isOver, labelOf } from '../context/context.ts';
import { TimeoutError } from '../errors.ts';
import { type Batches } from './batches.ts';

/** Milliseconds of pulling after which the event loop turns. */
const SLICE = 5;

/** The iterator. */
export class StreamIterator<T> implements AsyncIterableIterator<T, undefined> {
  readonly #label: string;
  readonly #made: Ambient | undefined;
  readonly #batches: Batches<T>;
  readonly #since = performance.now();
  #items: readonly T[] = [];
  #at = 0;
  #last = false;
  #failure: { readonly error: unknown } | undefined;
  #over = false;
  /** The pull that runs, or the last one that waits for it. */
  #running: Promise<void> | undefined;
  #turnedAt = performance.now();
  #pulledIn: Ambient | undefined;
  #context: Ambient | undefined;

  /**
   * @param label for messages
   * @param made what surrounded the call that made the stream
   */
  constructor(label: string, made: Ambient | undefined, batches: Batches<T>) {
    this.#label = label;
    this.#made = made;
    this.#pulledIn = made;
    this.#context = made;
    this.#batches = batches;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    const context = this.#contextNow();
    const atHand = this.#running === undefined && this.#at < this.#items.length;
    if (atHand && performance.now() - this.#turnedAt < SLICE && !isOver(context)) {
      return Promise.resolve({ done: false, value: this.#items[this.#at++] as T });
    }
    return this.#inTurn(() => this.#pull(context));
  }

  return(): Promise<IteratorReturnResult<undefined>> {
    const context = this.#contextNow();
    return this.#inTurn(async () => {
      await this.#end(context);
      return { done: true, value: undefined };
    });
  }

  throw(error?: unknown): Promise<never> {
    const context = this.#contextNow();
    return this.#inTurn(async () => {
      await this.#end(context);
      throw error;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  async #pull(context: Ambient | undefined): Promise<IteratorResult<T, undefined>> {
    if (this.#over) return { done: true, value: undefined };
    try {
      if (performance.now() - this.#turnedAt >= SLICE) {
        await turn();
        this.#turnedAt = performance.now();
      }
      this.#refuseOver(context);
      while (this.#at >= this.#items.length) {
        if (this.#failure !== undefined) throw this.#failure.error;
        if (this.#last) {
          await this.#end(context);
          return { done: true, value: undefined };
        }
        const { items, last, failure } = await this.#batches.next(context);
        this.#items = items;
        this.#at = 0;
        this.#last = last;
        this.#failure = failure;
      }
      return { done: false, value: this.#items[this.#at++] as T };
    } catch (error) {
      // What went wrong first is what the caller learns.
      await this.#end(context).catch(() => undefined);
      throw error;
    }
  }

  async #end(context: Ambient | undefined): Promise<void> {
    if (this.#over) return;
    this.#over = true;
    this.#items = [];
    await this.#batches.end(context);
  }

  async #inTurn<R>(run: () => Promise<R>): Promise<R> {
    const before = this.#running;
    let over: (() => void) | undefined;
    const mine = new Promise<void>((resolve) => {
      over = resolve;
    });
    this.#running = mine;
    try {
      if (before !== undefined) await before;
      return await run();
    } finally {
      if (this.#running === mine) this.#running = undefined;
      over?.();
    }
  }

  /** What counts for a pull that is made now. Looked up for each item, so kept for as long as it stays the same. */
  #contextNow(): Ambient | undefined {
    const now = currentContext();
    if (now !== this.#pulledIn) {
      this.#pulledIn = now;
      this.#context = combinedContext(this.#made, now);
    }
    return this.#context;
  }

  #refuseOver(context: Ambient | undefined): void {
    if (context?.signal?.aborted === true) throw abortError(labelOf(context, this.#label), context.signal);
    if (!isOver(context)) return;
    const label = labelOf(context, this.#label);
    const since = performance.now() - this.#since;
    throw new TimeoutError(
      `${label}: had not come to its end at the deadline of its context, ${Math.round(since)} ms after it was begun; ` +
        'stream less, do less for each item, or give the context more time',
      { wait: 'stream' },
    );
  }
}
