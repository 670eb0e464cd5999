/** Keeps the process alive while somebody waits, for several who share what does so. */
export class KeepAlive {
  readonly #keep: (alive: boolean) => void;
  #waiting = 0;

  /** @param keep has something keep the process alive, or not any more */
  constructor(keep: (alive: boolean) => void) {
    this.#keep = keep;
  }

  /** Whether somebody waits. */
  get wanted(): boolean {
    return this.#waiting > 0;
  }

  ref(): void {
    if (this.#waiting++ === 0) this.#keep(true);
  }

  unref(): void {
    if (--this.#waiting === 0) this.#keep(false);
  }
}
