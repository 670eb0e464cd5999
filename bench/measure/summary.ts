/** The middle of several figures and the quartiles around it: on a shared machine a single figure says little. */
export interface Summary {
  readonly median: number;
  /** A quarter of the figures lie below. */
  readonly low: number;
  /** A quarter of the figures lie above. */
  readonly high: number;
}

/** @param figures at least one */
export function summarize(figures: readonly number[]): Summary {
  return { median: quantile(figures, 0.5), low: quantile(figures, 0.25), high: quantile(figures, 0.75) };
}

/** The ratio of two sides, taken within each round and only then summarized. */
export function ratio(ours: readonly number[], theirs: readonly number[]): Summary {
  return summarize(ours.map((figure, round) => figure / (theirs[round] ?? NaN)));
}

/** The difference of two sides, taken within each round. */
export function difference(ours: readonly number[], theirs: readonly number[]): Summary {
  return summarize(ours.map((figure, round) => figure - (theirs[round] ?? NaN)));
}

/** Interpolated between neighbours. */
export function quantile(figures: ArrayLike<number>, q: number): number {
  const sorted = Float64Array.from(figures).sort();
  if (sorted.length === 0) return NaN;
  const at = (sorted.length - 1) * q;
  const below = sorted[Math.floor(at)] ?? NaN;
  const above = sorted[Math.ceil(at)] ?? NaN;
  return below + (above - below) * (at - Math.floor(at));
}
