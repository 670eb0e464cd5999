import type { Column } from 'drizzle-orm/column';

/** Turns what the driver gives into what a row holds. */
export type Decode = (value: unknown) => unknown;

/** How a column's values are decoded; `undefined` where the driver's value stays as it is, so that rows need no pass over it. */
export function columnDecoder(column: Column): Decode | undefined {
  if (column.mapFromDriverValue === Reflect.get(rootOf(column), 'mapFromDriverValue')) return undefined;
  return (value) => (value === null ? null : column.mapFromDriverValue(value));
}

/** The prototype of Drizzle's `Column`: found from the column, whose Drizzle may be another copy than the one imported here. */
function rootOf(column: Column): object {
  let root: object = column;
  for (;;) {
    const next: unknown = Object.getPrototypeOf(root);
    if (typeof next !== 'object' || next === null || next === Object.prototype) return root;
    root = next;
  }
}
