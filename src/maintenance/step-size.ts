/**
 * How many bytes one step of checkpointing moves: it follows the disk, so that a step takes about {@link STEP_TIME}
 * milliseconds. It grows only where steps take a noticeable part of the time: a longer WAL is slower to write for as long as
 * the file grows.
 */

const MIB = 1024 * 1024;
/** Milliseconds that a step may hold the event loop. */
const STEP_TIME = 8;
/** Bytes of a step. With fewer the fsync would cost more than the pages; with more, pages that are written again and again are moved once. */
export const STEP = { least: MIB, first: 4 * MIB, most: 12 * MIB } as const;
/** The part of the time that steps take, from which on they are made longer, and so fewer. */
const WORTH_A_LONGER_STEP = 0.02;

/** The size of a step, learned from those before it. */
export class StepSize {
  #bytes: number = STEP.first;
  #most: number = STEP.most;
  #steppedAt = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** Bytes that a step never passes. */
  get most(): number {
    return this.#most;
  }

  /** A step is to be this long at most. */
  limit(most: number): void {
    this.#most = Math.min(STEP.most, most);
    this.#bytes = Math.min(this.#bytes, this.#most);
  }

  /** Towards the bytes that this disk moves in the time of a step. @param backlog bytes that it had to move */
  learn(backlog: number, { duration, complete }: { readonly duration: number; readonly complete: boolean }): void {
    const now = performance.now();
    const share = duration / (now - this.#steppedAt);
    this.#steppedAt = now;
    if (!complete || backlog < STEP.least) return;
    const fitting = (backlog * STEP_TIME) / Math.max(duration, 1);
    if (fitting > this.#bytes && share < WORTH_A_LONGER_STEP) return;
    this.#bytes = Math.min(this.#most, Math.max(STEP.least, (this.#bytes + fitting) / 2));
  }
}
