/** What the reads and the writes of a table have in common: their options, the condition on the key, and rows as they leave. */
import { OptionError } from '../errors.ts';
import { describe, isPlain } from '../plain.ts';
import { type BoundStatement } from './handlers.ts';
import { type TableShape } from './table-shape.ts';

/** Compiles a statement on a connection. */
export type Prepare = (source: string) => BoundStatement;
/** A row or a set of options by name, before anything is known of its values. */
export type Stored = Record<string, unknown>;

/** The options of a call. @throws {OptionError} for one that it does not know */
export function callOptions(options: unknown, known: readonly string[], call: string): Stored {
  if (options === undefined) return {};
  if (!isPlain(options)) throw new OptionError(`${call}: options are a plain object, not ${describe(options)}`);
  for (const name in options) {
    if (!known.includes(name)) throw new OptionError(`${call}: unknown option "${name}"; use ${known.join(', ')}`);
  }
  return options;
}

/** `"a" = ? AND "b" = ?`, in the key's order. */
export function keyCondition(shape: TableShape): string {
  return shape.key.map(({ sql }) => `${sql} = ?`).join(' AND ');
}

/** Turns what the driver gave into what the row holds, in place. */
export function decode(shape: TableShape, row: unknown): unknown {
  const stored = row as Stored;
  for (const { name, decode: decodeValue } of shape.decoded) stored[name] = decodeValue?.(stored[name]);
  return stored;
}

/** Makes a value at its first use. */
export function once<T>(make: () => T): () => T {
  let value: T | undefined;
  return () => (value ??= make());
}
