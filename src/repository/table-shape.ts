import type { Column } from 'drizzle-orm/column';
import { getTableConfig } from 'drizzle-orm/sqlite-core/utils';
import { type SQLiteTable } from 'drizzle-orm/sqlite-core/table';
import { OptionError } from '../errors.ts';
import { nearMiss } from '../near-miss.ts';
import { describe, isPlain } from '../plain.ts';
import { columnDecoder, type Decode } from './column-decoder.ts';

/** One column, looked up once. */
export interface ColumnShape {
  /** The property's name in rows. */
  readonly name: string;
  /** The quoted name in SQL. */
  readonly sql: string;
  /** With its table: in ORDER BY a bare name would mean the result's column of that name, which may be another one. */
  readonly qualified: string;
  readonly column: Column;
  /** What `typeof` says of a value that fits; `undefined` where the column's codec decides. */
  readonly type: 'string' | 'number' | 'bigint' | 'boolean' | 'object' | undefined;
  /** Turns what the driver gives into what the row holds; `undefined` where they are the same. */
  readonly decode: Decode | undefined;
}

/** What the table methods need to know of a table, read from Drizzle once. */
export interface TableShape {
  readonly name: string;
  /** The quoted name in SQL. */
  readonly sql: string;
  readonly columns: ReadonlyMap<string, ColumnShape>;
  /** The columns of the primary key, in its order; empty where the table has none. */
  readonly key: readonly ColumnShape[];
  /** `"a", "b" AS "c"`: every column under its property's name. */
  readonly selection: string;
  readonly decoded: readonly ColumnShape[];
  nearMiss(name: string): string;
}

const shapes = new WeakMap<SQLiteTable, TableShape>();

/** The shape of a table. */
export function tableShape(table: SQLiteTable): TableShape {
  let shape = shapes.get(table);
  if (shape === undefined) shapes.set(table, (shape = readShape(table)));
  return shape;
}

/** Quotes an identifier for SQLite. */
export function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function readShape(table: SQLiteTable): TableShape {
  const config = getTableConfig(table);
  const columns = new Map<string, ColumnShape>();
  // Found by identity and not by class: a schema loaded through require has classes of its own.
  for (const name of Object.keys(table)) {
    const column = config.columns.find((candidate) => candidate === Reflect.get(table, name));
    if (column === undefined) continue;
    if (COMBINATORS.has(name)) throw unusable(config.name, name, `"${name}" joins filters`);
    const sql = quote(column.name);
    const qualified = `${quote(config.name)}.${sql}`;
    columns.set(name, { name, sql, qualified, column, type: typeOf(column), decode: columnDecoder(column) });
  }
  const all = [...columns.values()];
  const lost = config.columns.find((candidate) => !all.some(({ column }) => column === candidate));
  if (lost !== undefined) throw unusable(config.name, lost.name, 'a row cannot have it');
  const composite = config.primaryKeys[0]?.columns.map((part) => all.find(({ column }) => column.name === part.name));
  const key = composite ?? all.filter(({ column }) => column.primary);
  return {
    name: config.name,
    sql: quote(config.name),
    columns,
    key: key.filter((part) => part !== undefined),
    selection: all.map(selected).join(', '),
    decoded: all.filter(({ decode }) => decode !== undefined),
    nearMiss: (name) => nearMiss(name, [...columns.keys()]),
  };
}

/** The words that join filters; a column of this name could not be told from them. */
const COMBINATORS = new Set(['and', 'or', 'not']);

function unusable(table: string, name: string, why: string): OptionError {
  return new OptionError(
    `table "${table}": a column's property cannot be called "${name}", because ${why}; ` +
      `give it another one and keep the column's name: ${name.replaceAll('_', '')}Column: text('${name}')`,
  );
}

function selected({ sql, name, column }: ColumnShape): string {
  // The driver gives integers as doubles. These columns hold what a double cannot, and their codec reads text.
  if (column.columnType === 'SQLiteNumericBigInt' || column.columnType === 'SQLiteNumeric') {
    return `CASE typeof(${sql}) WHEN 'integer' THEN CAST(${sql} AS TEXT) ELSE ${sql} END AS ${quote(name)}`;
  }
  return sql === quote(name) ? sql : `${sql} AS ${quote(name)}`;
}

function typeOf({ dataType }: Column): ColumnShape['type'] {
  switch (dataType) {
    case 'string':
    case 'number':
    case 'bigint':
    case 'boolean':
      return dataType;
    case 'date':
    case 'buffer':
      return 'object';
    default:
      return undefined;
  }
}

/** What the driver binds for a row's value. @throws {OptionError} where the column cannot store it. */
export function encode({ name, column, type }: ColumnShape, value: unknown, where: string): unknown {
  if (value === null) return null;
  const refuse = (cause?: unknown): OptionError =>
    new OptionError(`${where}: ${describe(value)} does not fit column "${name}" (${column.columnType})`, { cause });
  // Drizzle's codecs take what they get: 'false' would be stored as true, and 'ten' as text in an INTEGER column.
  if (type !== undefined && typeof value !== type && !(type === 'number' && typeof value === 'bigint')) throw refuse();
  let encoded: unknown;
  try {
    encoded = column.mapToDriverValue(value);
  } catch (cause) {
    throw refuse(cause);
  }
  switch (typeof encoded) {
    case 'string':
      return encoded;
    case 'number':
      // SQLite has no NaN, and would store NULL.
      if (Number.isNaN(encoded)) throw refuse();
      return encoded;
    case 'bigint':
      if (BigInt.asIntN(64, encoded) !== encoded) throw refuse();
      return encoded;
    default:
      if (encoded === null || encoded instanceof Uint8Array) return encoded;
      if (ArrayBuffer.isView(encoded)) return Buffer.from(encoded.buffer, encoded.byteOffset, encoded.byteLength);
      throw refuse();
  }
}

/** A property that an object has itself: a column may be called `constructor`, which every object inherits. */
export function ownValue(values: Readonly<Record<string, unknown>>, name: string): unknown {
  return Object.hasOwn(values, name) ? values[name] : undefined;
}

/** The composite or single key as an array in the key's order. @throws {OptionError} where it does not fit the table. */
export function keyValues(shape: TableShape, key: unknown, where: string): unknown[] {
  const { key: columns } = shape;
  const [first] = columns;
  if (first === undefined) {
    throw new OptionError(`${where}: table "${shape.name}" has no primary key; use find, updateMany or removeMany`);
  }
  if (columns.length === 1 && !isPlain(key)) return [encodeKey(first, key, where)];
  if (!isPlain(key)) {
    throw new OptionError(
      `${where}: the key of "${shape.name}" is an object of ${columns.map(({ name }) => name).join(', ')}`,
    );
  }
  for (const name of Object.keys(key)) {
    if (!columns.some((column) => column.name === name)) {
      throw new OptionError(`${where}: "${name}" is not part of the key of "${shape.name}"`);
    }
  }
  return columns.map((column) => encodeKey(column, ownValue(key, column.name), where));
}

function encodeKey(column: ColumnShape, value: unknown, where: string): unknown {
  if (value === undefined || value === null) {
    throw new OptionError(`${where}: the key's column "${column.name}" is ${String(value)}; give its value`);
  }
  return encode(column, value, where);
}
