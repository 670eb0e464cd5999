import { type Site } from '../context/call-site.ts';
import { timerDelay } from '../context/context.ts';
import { type Tenant } from '../context/holders.ts';
import { type Outcome } from '../errors.ts';
import { Fifo } from './fifo.ts';
import { type Seat } from './seat.ts';
import { type WriteCall } from './write-call.ts';

/** A place in the queue that ends with the lane being held, or with a task run. */
export interface Turn {
  /** `close` holds nothing when its turn has come, and may always wait: it is what ends the queue. */
  readonly kind: 'turn' | 'task' | 'close';
  readonly seat: Seat;
  readonly label: string;
  /** When it was queued, on `performance.now()`'s clock. */
  readonly since: number;
  readonly deadline: number;
  /** Where it was asked for, if it will hold the lane. */
  readonly site: Site | undefined;
  /** As whom it will hold the lane, if its calls may wait for other lanes. */
  readonly tenant: Tenant | undefined;
  /** Others wait for it to give the lane back: called when it holds the lane, any number of times. */
  readonly wanted: (() => void) | undefined;
  /** It has left the queue before its turn. */
  gone: boolean;
  /** Called when it reaches the head. A task is over when this returns. */
  readonly start: () => void;
  reject(error: unknown, outcome: Outcome): void;
}

/** What may stand in the queue. */
export type LaneEntry = WriteCall | Turn;

/**
 * What waits for a lane, in order of arrival, and until when. One timer serves all deadlines, and only those that somebody asks
 * it to watch: an entry that is about to run needs none.
 *
 * Invariant: an entry is `gone` when it is not here any more, and its seat counts those that are.
 */
export class LaneQueue {
  readonly #entries = new Fifo<LaneEntry>();
  /** Given those whose deadline has passed, taken out. */
  readonly #late: (entries: readonly LaneEntry[]) => void;
  /** Entries that have left before their turn and were not taken out. */
  #gone = 0;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Infinity;

  constructor(late: (entries: readonly LaneEntry[]) => void) {
    this.#late = late;
  }

  /** Entries that wait. */
  get length(): number {
    return this.#entries.length - this.#gone;
  }

  push(entry: LaneEntry): void {
    entry.seat.queued += 1;
    this.#entries.push(entry);
  }

  /** Puts entries that have left back to the front, in their order. */
  putBack(entries: readonly LaneEntry[]): void {
    if (entries.length === 0) return;
    for (const entry of entries) {
      entry.gone = false;
      entry.seat.queued += 1;
    }
    this.#entries.unshift(entries);
  }

  peek(): LaneEntry | undefined {
    let entry = this.#entries.peek();
    while (entry?.gone === true) {
      this.#entries.shift();
      this.#gone -= 1;
      entry = this.#entries.peek();
    }
    return entry;
  }

  take(): LaneEntry | undefined {
    const entry = this.peek();
    if (entry === undefined) return undefined;
    this.#entries.shift();
    leave(entry);
    return entry;
  }

  /** Takes one entry out, wherever it stands; whether it was still waiting. */
  drop(entry: LaneEntry): boolean {
    if (entry.gone) return false;
    // Left where it is and skipped when it is reached, for a signal may abort thousands at once; but the dead never outnumber
    // the living, and what was aborted is not kept in memory for as long as the lane is held.
    leave(entry);
    this.#gone += 1;
    if (this.#gone > 100 && this.#gone * 2 > this.#entries.length) {
      this.#entries.extract(({ gone }) => gone);
      this.#gone = 0;
    }
    if (this.length === 0) this.watchAll();
    return true;
  }

  /** Takes out every entry that matches. */
  extract(matches: (entry: LaneEntry) => boolean): LaneEntry[] {
    const entries = this.#entries.extract((entry) => !entry.gone && matches(entry));
    for (const entry of entries) leave(entry);
    return entries;
  }

  /** Sees to it that somebody looks at the queue when this deadline has passed. */
  watch(deadline: number): void {
    if (deadline >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = deadline;
    this.#timer = setTimeout(this.#expire, timerDelay(deadline - performance.now()) + 1);
  }

  /** Watches the deadlines of all that wait. When nobody does, a timer left behind would keep the process alive. */
  watchAll(): void {
    if (this.length === 0) {
      clearTimeout(this.#timer);
      this.#timerAt = Infinity;
      return;
    }
    for (const { deadline, gone } of this.#entries) if (!gone) this.watch(deadline);
  }

  readonly #expire = (): void => {
    this.#timerAt = Infinity;
    this.#timer = undefined;
    const now = performance.now();
    this.#late(this.extract(({ deadline }) => deadline <= now));
  };
}

function leave(entry: LaneEntry): void {
  entry.gone = true;
  entry.seat.queued -= 1;
}
