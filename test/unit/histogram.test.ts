import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Histogram } from '../../src/observe/histogram.ts';

const LARGEST = 2 ** 31 - 1;

/** The value that `share` of all values do not exceed. */
function exact(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

function recorded(values: readonly number[]): Histogram {
  const histogram = new Histogram();
  for (const value of values) histogram.record(value);
  return histogram;
}

function expectNear(values: readonly number[]): void {
  const { p50, p90, p99, max, mean, count } = recorded(values).read();
  for (const [share, read] of [
    [0.5, p50],
    [0.9, p90],
    [0.99, p99],
  ] as const) {
    const due = exact(values, share);
    expect(read, `percentile ${share} is never too small`).toBeGreaterThanOrEqual(due);
    expect(read, `percentile ${share} is at most 1/16 too large`).toBeLessThanOrEqual(due + due / 16);
  }
  expect(max).toBe(exact(values, 1));
  expect(count).toBe(values.length);
  expect(mean).toBeCloseTo(values.reduce((sum, value) => sum + value, 0) / values.length, 3);
}

describe('a histogram', () => {
  test('without a value says nothing but zeros', () => {
    expect(new Histogram().read()).toEqual({ count: 0, mean: 0, p50: 0, p90: 0, p99: 0, max: 0 });
  });

  test('takes what is out of bounds: below zero counts as the least, beyond 2^31 as the largest bucket', () => {
    expect(recorded([-5]).read()).toMatchObject({ count: 1, p50: 0, p99: 0, max: 0 });
    const { count, p50, p99, max } = recorded([1e12, Infinity]).read();
    expect({ count, p50, p99 }).toEqual({ count: 2, p50: LARGEST, p99: LARGEST });
    expect(max).toBe(LARGEST);
  });

  test.for([0, 1, 15, 16, 17, 31, 32, 33, 1023, 1024, 1025, 65_535, 65_536, LARGEST - 1, LARGEST])(
    'of one value (%d) has it for every percentile',
    (value) => {
      const { mean, p50, p90, p99, max } = recorded([value]).read();
      expect({ mean, p50, p90, p99, max }).toEqual({ mean: value, p50: value, p90: value, p99: value, max: value });
    },
  );

  test('knows values below 32 exactly', () => {
    for (let value = 0; value < 32; value++) {
      const { p50 } = recorded([value, value, LARGEST]).read();
      expect(p50).toBe(value);
    }
  });

  test('knows every boundary between two buckets to 1 part in 16', () => {
    for (let power = 4; power < 31; power++) {
      for (let at = 0; at < 16; at++) {
        const first = 2 ** power + at * 2 ** (power - 4);
        for (const value of [first - 1, first]) {
          const { p50 } = recorded([value, value, LARGEST]).read();
          expect(p50).toBeGreaterThanOrEqual(value);
          expect(p50).toBeLessThanOrEqual(value + value / 16);
        }
      }
    }
  });

  test('of any values is within 1/16 of their exact percentiles', () => {
    const value = fc.oneof(
      fc.integer({ min: 0, max: 40 }),
      fc.integer({ min: 0, max: 100_000 }),
      fc.integer({ min: 0, max: LARGEST }),
    );
    fc.assert(fc.property(fc.array(value, { minLength: 1, maxLength: 300 }), expectNear), { numRuns: 300 });
  });

  test('of a long tail is within 1/16 of its exact percentiles', () => {
    expectNear(Array.from({ length: 20_000 }, (_, at) => Math.floor(1.0009 ** at)));
  });

  test('scales every figure but the count', () => {
    const histogram = recorded([1000, 3000]);
    const { count, mean, p50, p90, max } = histogram.read(1e-3);
    expect({ count, mean, max }).toEqual({ count: 2, mean: 2, max: 3 });
    const unscaled = histogram.read();
    expect([p50, p90]).toEqual([unscaled.p50 * 1e-3, unscaled.p90 * 1e-3]);
  });

  test('goes on counting after it was read', () => {
    const histogram = recorded([1]);
    const before = histogram.read();
    histogram.record(5);
    expect(before.count).toBe(1);
    expect(histogram.read()).toMatchObject({ count: 2, max: 5, mean: 3 });
  });
});
