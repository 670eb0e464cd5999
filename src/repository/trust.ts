/** So many successes in a row, and a method is trusted for the first time. */
const FIRST = 64;

/**
 * Whether a method is taken to succeed. A call that is trusted runs without a savepoint, which costs as much as a statement
 * or two; when it fails after all, whoever ran it undoes and replays more than that call. So trust is earned by successes in a
 * row, and each time it is disappointed it takes twice as many to earn it again.
 */
export class Trust {
  #needed = FIRST;
  #successes = 0;

  get holds(): boolean {
    return this.#successes >= this.#needed;
  }

  succeeded(): void {
    this.#successes += 1;
  }

  failed(): void {
    if (this.holds) this.#needed *= 2;
    this.#successes = 0;
  }
}
