import { type Samples } from '../measure/rounds.ts';
import { ratio, summarize, type Summary } from '../measure/summary.ts';
import { type Cell, type Requirement, type Row } from './case.ts';

/** A row of a table: each side's median, and its ratio to the base side in the same round, where that is not nothing. */
export function row<S extends string>(label: string, samples: Samples<S>, base: S): Row {
  const sides: Record<string, Cell> = {};
  for (const [side, figures] of Object.entries<readonly number[]>(samples)) {
    sides[side] = {
      value: summarize(figures).median,
      ratio: side === base || samples[base].includes(0) ? undefined : ratio(figures, samples[base]),
    };
  }
  return { label, sides };
}

/** A requirement that is met from below. */
export function atMost(what: string, found: Summary, limit: number, unit = '×'): Requirement {
  return { what, found, sense: 'at most', limit, unit, pass: found.median <= limit };
}

/** A requirement that is met from above. */
export function atLeast(what: string, found: Summary, limit: number, unit = '×'): Requirement {
  return { what, found, sense: 'at least', limit, unit, pass: found.median >= limit };
}
