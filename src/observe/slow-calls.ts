/** A call that runs longer, in ms, holds up whoever else needs its thread. */
const HELD_UP = 20;
/** More than one in so many ms is worth a word. */
const WITHIN = 60_000;
/**
 * An executor takes short queries only where after {@link MANY} calls those that ran for longer, in ms, are one in {@link RARE} at
 * most: the first call of a thread runs cold, and a collection may come in the middle of any.
 */
const SHORT = 1;
const MANY = 1000;
const RARE = 500;

interface Slow {
  /** When the last one ended, on `performance.now()`'s clock. */
  last: number;
  /** Two of them came within a minute. */
  often: boolean;
  count: number;
  longest: number;
}

/** How long handlers ran, as far as it says whether another strategy would serve better. */
export class SlowCalls {
  #calls = 0;
  #longer = 0;
  readonly #slow = new Map<string, Slow>();

  /** Notes a call that has just ended. @param took in ms */
  note(label: string, took: number): void {
    this.#calls += 1;
    if (took >= SHORT) this.#longer += 1;
    if (took > HELD_UP) this.#noteSlow(label, took, performance.now());
  }

  /** @param where whose event loop the handlers hold up: their callers', or that of a thread which does nothing else */
  advice(where: 'event loop' | 'thread of its own'): string[] {
    if (where === 'thread of its own') return this.#adviceForThread();
    return [...this.#slow]
      .filter(([, { often }]) => often)
      .map(
        ([label, { count, longest }]) =>
          `${label} held up the event loop for more than ${HELD_UP} ms, ${count} times so far and ${Math.round(longest)} ms at ` +
          "the longest: open the database with 'heavy: true', and a thread of its own runs it.",
      );
  }

  #adviceForThread(): string[] {
    if (this.#calls < MANY || this.#longer * RARE > this.#calls) return [];
    return [
      `The executor has run ${this.#calls} calls, ${this.#longer} of them for ${SHORT} ms or longer: a call to another thread costs more than that ` +
        "saves. Where all callers are in one thread, 'per-context' is faster.",
    ];
  }

  #noteSlow(label: string, took: number, now: number): void {
    const seen = this.#slow.get(label);
    if (seen === undefined) {
      this.#slow.set(label, { last: now, often: false, count: 1, longest: took });
      return;
    }
    seen.often ||= now - seen.last < WITHIN;
    seen.last = now;
    seen.count += 1;
    seen.longest = Math.max(seen.longest, took);
  }
}
