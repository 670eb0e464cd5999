/**
 * When a lane looks for SQLite's write lock while other processes want it too, and when it leaves the lock to them.
 *
 * SQLite keeps no queue, and none is kept here: each process decides alone, by what it has seen. Waits that double are
 * unfair, since who has waited longest looks least often, and who has just committed looks first.
 *
 * 1. *Expecting.* A lane that was refused sleeps for most of what a wait has usually taken, and then looks every
 *    millisecond. So those who look often are those who have waited longest, and turns come round nearly in order; and of
 *    many processes few are awake.
 * 2. *Giving way.* A lane that has waited may commit for its part of a round ({@link ROUND}, less the usual wait), because
 *    to hand the lock over costs more than a commit. It then leaves the lock alone for a moment, in which somebody else
 *    finds it. Many processes thus take turns with every commit, and two with every few.
 * 3. *One long holder.* While nobody commits there is nothing to be in time for: looks become rare, up to
 *    {@link LONGEST} ms apart. The first commit of another ends that.
 */

/** Milliseconds in which everybody should have a turn. */
const ROUND = 12;
/** The part of the usual wait that is slept through. Above 1 waits would feed on themselves. */
const SLEPT = 0.75;
/** Milliseconds between two looks, and for which a lane gives way. Timers know nothing shorter. */
const LOOK = 1;
/** Milliseconds without a commit from which on one holder is taken to keep the lock, and the longest pause then. */
const QUIET = 20;
const LONGEST = 25;
/** Milliseconds since the last refusal after which nobody else is taken to want the lock. */
const RECENT = 100;
/** Of how many waits the usual one is the average, about. */
const WEIGHT = 8;

/** What one lane knows of the others who want the lock of its file. */
export class FileLock {
  /** Milliseconds; an average that follows the last waits. */
  #usual = 0;
  /** Since when the lane has been waiting for the lock. */
  #waiting: number | undefined;
  /** When the lane was last refused. */
  #refusedAt = -Infinity;
  /** Changes with every commit of another connection; and when it was seen to. */
  #version: number | undefined;
  #movedAt = 0;
  /** Since when the lane has been served without giving way. */
  #servedSince: number | undefined;
  #pauseUntil = 0;

  /** Another holds the lock. @param version the connection's data version @returns milliseconds until the next look */
  refused(version: number | undefined): number {
    const now = performance.now();
    // Whoever waited then has given up.
    if (now - this.#refusedAt > RECENT) this.#waiting = undefined;
    this.#waiting ??= this.#movedAt = now;
    this.#refusedAt = now;
    this.#servedSince = undefined;
    if (version !== undefined && version !== this.#version) {
      this.#version = version;
      this.#movedAt = now;
    }
    const quiet = now - this.#movedAt;
    // Never the same for two lanes, so that they do not meet again and again.
    if (quiet > QUIET) return Math.min(LONGEST, quiet / 8) * (0.5 + Math.random() / 2);
    const left = this.#usual * SLEPT - (now - this.#waiting);
    return Math.max(LOOK, left * (0.8 + Math.random() * 0.2));
  }

  /** The lane has the lock. */
  taken(): void {
    if (!this.#isContended) return;
    const now = performance.now();
    if (this.#waiting !== undefined) {
      this.#usual += (Math.min(now - this.#waiting, LONGEST) - this.#usual) / WEIGHT;
      this.#waiting = undefined;
    }
    this.#servedSince ??= now;
  }

  /** The lane has let the lock go. */
  released(): void {
    if (!this.#isContended) return;
    const now = performance.now();
    if (now - this.#refusedAt > RECENT) {
      this.#refusedAt = -Infinity;
      this.#servedSince = undefined;
      this.#usual = 0;
    } else if (now - (this.#servedSince ?? now) >= ROUND - this.#usual) {
      this.#servedSince = undefined;
      this.#pauseUntil = now + LOOK;
    }
  }

  /** Milliseconds for which the lane still gives way to others. */
  get pause(): number {
    return this.#isContended ? Math.max(0, this.#pauseUntil - performance.now()) : 0;
  }

  get #isContended(): boolean {
    return this.#refusedAt > -Infinity;
  }
}
