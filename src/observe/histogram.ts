/** What a histogram says: counts, and values in the unit that was recorded. */
export interface Distribution {
  readonly count: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** Buckets in each power of two: values are known to 1 part in 16. */
const STEPS = 16;

/**
 * A histogram in the manner of HdrHistogram: buckets grow with the value, so that any range fits in a fixed 4 KB with a
 * bounded relative error. Node's own records through a native call that costs as much as a point read's bookkeeping; this
 * one is two shifts and an addition.
 *
 * @see http://hdrhistogram.org
 */
export class Histogram {
  readonly #buckets = new Float64Array(32 * STEPS);
  #count = 0;
  #sum = 0;
  #max = 0;

  /** @param value a whole number from 0 to 2^31 - 1; others are rounded and clamped */
  record(value: number): void {
    // Written so that what is not a number counts as 0.
    const whole = value > 0 ? Math.min(Math.round(value), 0x7fffffff) : 0;
    this.#count += 1;
    this.#sum += whole;
    if (whole > this.#max) this.#max = whole;
    const at = bucketOf(whole);
    this.#buckets[at] = (this.#buckets[at] ?? 0) + 1;
  }

  /** What was recorded so far; every figure multiplied by `scale`. */
  read(scale = 1): Distribution {
    return {
      count: this.#count,
      mean: this.#count === 0 ? 0 : (this.#sum / this.#count) * scale,
      p50: this.#percentile(0.5) * scale,
      p90: this.#percentile(0.9) * scale,
      p99: this.#percentile(0.99) * scale,
      max: this.#max * scale,
    };
  }

  #percentile(share: number): number {
    let left = Math.ceil(this.#count * share);
    if (left === 0) return 0;
    for (const [at, count] of this.#buckets.entries()) {
      left -= count;
      if (left <= 0) return Math.min(this.#max, ceilingOf(at));
    }
    return this.#max;
  }
}

/** Values below 16 have a bucket each; above, the power of two picks the row and the next four bits the step. */
function bucketOf(value: number): number {
  if (value < STEPS) return value;
  const power = 31 - Math.clz32(value);
  return (power - 3) * STEPS + ((value >>> (power - 4)) & (STEPS - 1));
}

/** The largest value of a bucket. */
function ceilingOf(bucket: number): number {
  if (bucket < STEPS) return bucket;
  const power = Math.floor(bucket / STEPS) + 3;
  const step = bucket % STEPS;
  return (STEPS + step + 1) * 2 ** (power - 4) - 1;
}
