/** Something that runs across ticks, and that a close may give up on. */
export interface Running {
  readonly label: string;
  /** Ends it: whoever waits for it gets `error`, after it was undone. */
  abandon(error: Error): void;
}

/** Gives up on everything in the set; its labels. */
export function abandonAll(running: ReadonlySet<Running>, reason: (label: string) => Error): string[] {
  const all = [...running];
  for (const each of all) each.abandon(reason(each.label));
  return all.map(({ label }) => label);
}
