import { Column } from 'drizzle-orm/column';
import { getTableConfig } from 'drizzle-orm/sqlite-core/utils';
import { type SQLiteTable } from 'drizzle-orm/sqlite-core/table';
import { OptionError } from '../errors.ts';
import { nearMiss } from '../near-miss.ts';

/** One column, looked up once. */
export interface ColumnShape {
  /** The property's name in rows. */
  readonly name: string;
  /** The quoted name in SQL. */
  readonly sql: string;
  readonly column: Column;
  /** Turns what the driver gives into what the row holds; `undefined` where they are the same. */
  readonly decode: ((value: unknown) => unknown) | undefined;
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
    if (column !== undefined) columns.set(name, { name, sql: quote(column.name), column, decode: decoder(column) });
  }
  const all = [...columns.values()];
  const composite = config.primaryKeys[0]?.columns.map((part) => all.find(({ column }) => column.name === part.name));
  const key = composite ?? all.filter(({ column }) => column.primary);
  return {
    name: config.name,
    sql: quote(config.name),
    columns,
    key: key.filter((part) => part !== undefined),
    selection: all.map(({ sql, name }) => (sql === quote(name) ? sql : `${sql} AS ${quote(name)}`)).join(', '),
    decoded: all.filter(({ decode }) => decode !== undefined),
    nearMiss: (name) => nearMiss(name, [...columns.keys()]),
  };
}

function decoder(column: Column): ((value: unknown) => unknown) | undefined {
  // Where the driver's value stays as it is, rows need no pass over this column at all.
  if (column.mapFromDriverValue === Column.prototype.mapFromDriverValue) return undefined;
  return (value) => (value === null ? null : column.mapFromDriverValue(value));
}

/** What the driver binds for a row's value. @throws {OptionError} where the column cannot store it. */
export function encode({ name, column }: ColumnShape, value: unknown, where: string): unknown {
  if (value === null) return null;
  let encoded: unknown;
  try {
    encoded = column.mapToDriverValue(value);
  } catch (cause) {
    throw new OptionError(`${where}: ${describe(value)} does not fit column "${name}" (${column.columnType})`, {
      cause,
    });
  }
  switch (typeof encoded) {
    case 'number':
    case 'string':
    case 'bigint':
      return encoded;
    default:
      if (encoded === null || ArrayBuffer.isView(encoded)) return encoded;
      throw new OptionError(`${where}: ${describe(value)} does not fit column "${name}" (${column.columnType})`);
  }
}

/** A value's kind for a message: never a whole value, which may be long or private. */
export function describe(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value.length > 40 ? `${value.slice(0, 39)}…` : value);
    case 'number':
    case 'boolean':
    case 'bigint':
    case 'undefined':
      return String(value);
    case 'object': {
      if (value === null) return 'null';
      if (Array.isArray(value)) return 'an array';
      const prototype: unknown = Object.getPrototypeOf(value);
      if (prototype === null || prototype === Object.prototype) return 'an object';
      return `a ${value.constructor.name}`;
    }
    default:
      return `a ${typeof value}`;
  }
}

/** The composite or single key as an array in the key's order. @throws {OptionError} where it does not fit the table. */
export function keyValues(shape: TableShape, key: unknown, where: string): unknown[] {
  const { key: columns } = shape;
  const [first] = columns;
  if (first === undefined) {
    throw new OptionError(`${where}: table "${shape.name}" has no primary key; use find, updateMany or removeMany`);
  }
  if (columns.length === 1 && !isKeyObject(key)) return [encodeKey(first, key, where)];
  if (!isKeyObject(key)) {
    throw new OptionError(
      `${where}: the key of "${shape.name}" is an object of ${columns.map(({ name }) => name).join(', ')}`,
    );
  }
  for (const name of Object.keys(key)) {
    if (!columns.some((column) => column.name === name)) {
      throw new OptionError(`${where}: "${name}" is not part of the key of "${shape.name}"`);
    }
  }
  return columns.map((column) => encodeKey(column, key[column.name], where));
}

function encodeKey(column: ColumnShape, value: unknown, where: string): unknown {
  if (value === undefined || value === null) {
    throw new OptionError(`${where}: the key's column "${column.name}" is ${String(value)}; give its value`);
  }
  return encode(column, value, where);
}

function isKeyObject(key: unknown): key is Record<string, unknown> {
  return typeof key === 'object' && key !== null && Object.getPrototypeOf(key) === Object.prototype;
}
