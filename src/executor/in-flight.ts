import { type Outcome } from '../errors.ts';
import { withOutcome } from '../outcome.ts';
import { appendFrames } from './client-errors.ts';
import { Failure, type Outgoing, type Pending } from './pending.ts';
import { isBegin } from './requests.ts';
import { GIVEN_UP, newPage, type Page, QUEUED, RUNNING, Words } from './words.ts';

/** Milliseconds after which a thread that has something to do and does not answer is taken to be busy with something long. */
const SILENCE = 2;

/**
 * What one client has in flight: its requests, by their words.
 *
 * In an array: a `Map` that grows and shrinks with every batch leaves tables behind, each of which points at the next one, and
 * a major collection makes the first of them old. What was in any of them then stays until the next one.
 */
export class InFlight {
  readonly pages: Page[];
  readonly #words: Words;
  readonly #pending: (Pending | undefined)[] = [];
  #size = 0;
  /** Told when somebody waits, and nobody any more: what keeps the process alive. */
  readonly #busy: (busy: boolean) => void;
  #waiting = 0;
  #load = 0;
  /** Requests that the thread works on: a scope whose callback runs here may be silent for long. */
  #working = 0;
  /** When the thread was last heard of, or had nothing to say. */
  #heard = 0;
  #idle: (() => void)[] = [];

  constructor(page: Page, busy: (busy: boolean) => void) {
    this.pages = [page];
    this.#words = new Words(this.pages);
    this.#busy = busy;
  }

  /** Requests that have no answer, whether or not somebody still waits for it. */
  get size(): number {
    return this.#size;
  }

  /** Requests that somebody waits for. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Milliseconds that they are expected to keep the thread busy; and, where it is silent, have already. */
  get load(): number {
    if (this.#working === 0) return this.#load;
    const silent = performance.now() - this.#heard;
    return silent < SILENCE ? this.#load : this.#load + silent;
  }

  /** The thread has answered something. */
  heard(): void {
    this.#heard = performance.now();
  }

  /** In the order of their numbers. */
  all(): Pending[] {
    return this.#pending.filter((pending) => pending !== undefined).sort((a, b) => a.parts.id - b.parts.id);
  }

  /** The one that has this word. */
  get(word: number): Pending | undefined {
    return this.#pending[word];
  }

  /** A word for a request. @param added sends a page that had to be added */
  word(added: (page: Page) => void): number {
    const word = this.#words.take();
    if (word !== undefined) return word;
    const page = newPage();
    this.pages.push(page);
    this.#words.add(page);
    added(page);
    return this.word(added);
  }

  add(pending: Pending): void {
    if (!isBegin(pending.parts.what) && this.#working++ === 0) this.#heard = pending.parts.since;
    this.#pending[pending.parts.word] = pending;
    this.#size += 1;
    this.#load += pending.parts.cost;
    if (pending.parts.awaited && this.#waiting++ === 0) this.#busy(true);
  }

  /** How far it has come. */
  stateOf({ parts: { word } }: Pending): number {
    return this.#words.read(word);
  }

  /** Gives its caller an answer. Its word stays taken until {@link forget}. */
  settle(pending: Pending, answer: unknown): void {
    if (pending.settled) return;
    pending.settle(answer);
    if (!pending.parts.awaited || --this.#waiting > 0) return;
    this.#busy(false);
    if (this.#idle.length > 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** Rejects its caller. */
  release(pending: Pending, error: Error, outcome: Outcome): void {
    if (pending.settled) return;
    const write = pending.parts.access === 'write';
    const failure = new Failure((caller) => {
      appendFrames(error, caller);
      return write ? withOutcome(error, outcome) : error;
    });
    this.settle(pending, failure);
  }

  /**
   * Its server will say no more of it: rejects its caller, who still waits. Not that of a transaction that is committed, for
   * what its callback came to is here.
   */
  lose(pending: Pending, reason: (label: string) => Error, outcome: Outcome): void {
    if (isBegin(pending.parts.what) && outcome === 'committed') this.settle(pending, undefined);
    else if (!pending.settled) this.release(pending, reason(pending.parts.label), outcome);
    this.forget(pending);
  }

  /** Its answer has come, or never will. */
  forget(pending: Pending): void {
    const { word, cost, what } = pending.parts;
    if (this.#pending[word] !== pending) return;
    this.#pending[word] = undefined;
    this.#size -= 1;
    if (!isBegin(what)) this.#working -= 1;
    this.#words.give(word);
    this.#load = this.#size === 0 ? 0 : this.#load - cost;
  }

  /** Takes a request back if that can be done; what became of it then. */
  giveUp(pending: Pending): Outcome | undefined {
    const { word } = pending.parts;
    if (this.#words.change(word, QUEUED, GIVEN_UP)) {
      pending.neverRan = true;
      return 'not-started';
    }
    if (this.#words.change(word, RUNNING, GIVEN_UP)) return 'rolled-back';
    return undefined;
  }

  /** What has begun and has not ended, by name; where nothing has that somebody waits for, what keeps the thread busy. */
  running(): readonly string[] {
    const begun = this.all().filter((pending) => !pending.settled && this.stateOf(pending) !== QUEUED);
    const labels = begun.filter(({ parts }) => parts.scope === 0).map(({ parts }) => parts.label);
    const busy = labels.length === 0 ? this.busyWith() : undefined;
    return busy === undefined ? labels : [busy.label];
  }

  /** The oldest request that keeps the thread busy. A transaction or snapshot, whose callback runs here, keeps none. */
  busyWith(except?: Pending): Outgoing | undefined {
    const busy = this.all().find(
      (pending) =>
        pending !== except && !pending.neverRan && !isBegin(pending.parts.what) && this.stateOf(pending) !== QUEUED,
    );
    return busy?.parts;
  }

  /** Resolves when nobody waits for anything. Whoever can give something back early is asked to. */
  idle(): Promise<void> {
    if (this.#waiting === 0) return Promise.resolve();
    for (const pending of this.all()) pending.wanted?.();
    return new Promise((resolve) => {
      this.#idle.push(resolve);
    });
  }
}
