/** What one more message costs, in ms, both ends taken together. */
const MESSAGE = 0.03;
/** What it takes to wake the thread at either end of a port, in ms. */
const WAKE = 0.05;
/** Requests of one turn that are too few to be worth two messages. */
const FEW = 16;
/** The part of a turn's requests that goes ahead of the others. */
const AHEAD = 4;

/**
 * When requests leave before their turn of the event loop is over.
 *
 * Callers who all wait for one batch make their next calls together, and while they do, the thread that serves them has nothing
 * to do; then they wait, and it works. Half of two cores is idle by turns. So the first quarter of a turn's requests goes ahead
 * where the thread is idle: from then on there are two crowds, of which one is served while the other is answered.
 *
 * For writes that is a second commit. It pays only where a commit takes less time than the thread would be idle.
 */
export class Pace {
  #since = 0;
  #sent = 0;
  /** Requests of the last turns, and milliseconds that each took to be made: falls and rises slowly. */
  #usual = 0;
  #each = 0;

  /** The first request of a batch was made. */
  began(now: number): void {
    if (this.#sent === 0) this.#since = now;
  }

  /**
   * Whether the requests that were made so far in this turn should go ahead.
   *
   * @param count of them
   * @param commit milliseconds that their commit would take, 0 where there is none
   */
  isDue(count: number, commit: number): boolean {
    if (this.#usual < FEW || count * AHEAD < this.#usual) return false;
    return this.#usual * this.#each + WAKE > MESSAGE + commit;
  }

  /** So many requests have left. */
  left(count: number, when: 'ahead' | 'end of the turn'): void {
    this.#sent += count;
    if (when === 'ahead') return;
    if (this.#sent >= FEW) {
      this.#each += ((performance.now() - this.#since) / this.#sent - this.#each) / 8;
    }
    this.#usual += (this.#sent - this.#usual) / 8;
    this.#sent = 0;
  }
}
