/** Something that runs across ticks, and that a close may give up on. */
export interface Running {
  readonly label: string;
  /** Ends it: whoever waits for it gets `error`, after it was undone. */
  abandon(error: Error): void;
}

/**
 * What runs across ticks. To give up on it is a state: what was on its way when a close gave up, and has run only since, is
 * given up as soon as it is added.
 */
export class RunningSet {
  readonly #running = new Set<Running>();
  #reason: ((label: string) => Error) | undefined;

  get labels(): readonly string[] {
    return [...this.#running].map(({ label }) => label);
  }

  get givenUp(): boolean {
    return this.#reason !== undefined;
  }

  add(running: Running): void {
    this.#running.add(running);
    if (this.#reason !== undefined) running.abandon(this.#reason(running.label));
  }

  delete(running: Running): void {
    this.#running.delete(running);
  }

  /** Gives up on everything in the set, and on what is added later. Once is enough. */
  giveUp(reason: (label: string) => Error): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    for (const running of [...this.#running]) running.abandon(reason(running.label));
  }

  /** Why something may not begin any more; `undefined` while it may. */
  refusal(label: string): Error | undefined {
    return this.#reason?.(label);
  }

  /** The close that gave up has failed: what comes now may run. */
  resume(): void {
    this.#reason = undefined;
  }
}
