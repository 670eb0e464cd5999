import { timerDelay } from '../context/context.ts';
import { type Holder } from '../errors.ts';
import { outcomeOf, overdueError } from './client-errors.ts';
import { type InFlight } from './in-flight.ts';
import { type Link } from './link.ts';
import { type Pending } from './pending.ts';
import { RUNNING } from './words.ts';

/** Milliseconds that a commit may take beyond its caller's deadline before it is left to itself. */
const COMMIT_GRACE = 1000;

/** Releases the callers of requests whose deadline, or signal, has passed without an answer. */
export class Overdue {
  readonly #link: Link;
  readonly #inFlight: InFlight;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Infinity;

  constructor(link: Link) {
    this.#link = link;
    this.#inFlight = link.inFlight;
  }

  /** Sees to it that somebody looks at the requests at this time. */
  watch(at: number): void {
    if (at >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(this.look, timerDelay(at - performance.now()) + 1);
    // A request in flight keeps the process alive by its port.
    this.#timer.unref();
  }

  /** Looks at the requests now. */
  readonly look = (): void => {
    this.#timerAt = Infinity;
    // What this thread has been too busy to hear.
    this.#link.receive();
    const now = performance.now();
    let next = Infinity;
    for (const pending of this.#inFlight.all()) {
      if (pending.settled) continue;
      const waits = pending.giveUpAt > now || this.#waitsOn(pending, now);
      if (waits) next = Math.min(next, pending.giveUpAt);
    }
    if (next < Infinity) this.watch(next);
  };

  /** Looks at them if it is time to. */
  lookIfDue(): void {
    if (performance.now() >= this.#timerAt) this.look();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  /** Its time has come, and the server has not said so: it is busy, or not there. Whether it waits on. */
  #waitsOn(pending: Pending, now: number): boolean {
    const { bounded, scope, deadline } = pending.parts;
    const { givingUp } = pending;
    const inFlight = this.#inFlight;
    // Inside a transaction what runs is kept or undone with it: it is the transaction that is given up.
    const goesOn = scope !== 0 || (!bounded && givingUp === undefined);
    if (inFlight.stateOf(pending) === RUNNING && goesOn) {
      pending.giveUpAt = Infinity;
      return true;
    }
    let outcome = inFlight.giveUp(pending);
    if (outcome === undefined) {
      if (now < deadline + COMMIT_GRACE) {
        pending.giveUpAt = deadline + COMMIT_GRACE;
        return true;
      }
      outcome = outcomeOf(inFlight.stateOf(pending));
    }
    const error = givingUp?.() ?? overdueError(pending.parts, now, outcome, this.#blame(pending, now));
    inFlight.release(pending, error, outcome);
    this.#link.gaveUp(pending);
    return false;
  }

  /**
   * Why a request did not start, and heard nothing of it: the one that keeps the thread busy, or the thread itself.
   */
  #blame(except: Pending, now: number): Holder | 'starting' | undefined {
    if (!this.#link.attached) return 'starting';
    const busy = this.#inFlight.busyWith(except);
    return busy && { label: busy.label, heldFor: now - busy.since };
  }
}
