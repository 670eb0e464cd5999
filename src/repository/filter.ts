/**
 * Filters and orders as plain data, compiled to SQL by shape.
 *
 * A filter is walked once for each call. The walk yields the text that is its shape (columns, operators, structure, never
 * a value) and the values in the order of their placeholders; the shape is the key under which the compiled statement is
 * kept, so that a second filter of the same shape compiles nothing.
 */
import { OptionError } from '../errors.ts';
import { describe, isPlain } from '../plain.ts';
import { type ColumnShape, encode, type TableShape } from './table-shape.ts';

/** Conditions on one column; all that are given must hold. */
export interface Operators<V> {
  readonly eq?: V;
  /** As in SQL, a row whose column is NULL matches no `ne`. */
  readonly ne?: V;
  readonly gt?: NonNullable<V>;
  readonly gte?: NonNullable<V>;
  readonly lt?: NonNullable<V>;
  readonly lte?: NonNullable<V>;
  /** An empty list matches nothing. */
  readonly in?: readonly NonNullable<V>[];
  /** An empty list matches everything; as in SQL, NULL matches no other list. */
  readonly notIn?: readonly NonNullable<V>[];
  /** SQLite's LIKE: `%` any text, `_` any character, ASCII letters of either case. */
  readonly like?: string;
  readonly isNull?: boolean;
}

/** A value compared as it is; a JSON column's object would be read as operators, so it is written `{ eq: value }`. */
type Direct<V> = V extends string | number | bigint | boolean | Date | Uint8Array | null ? V : never;

/** Which rows: columns with a value or operators, joined by AND; `and`, `or`, `not` nest. */
export type Filter<R> = { readonly [C in keyof R]?: Direct<R[C]> | Operators<R[C]> } & {
  readonly and?: readonly Filter<R>[];
  readonly or?: readonly Filter<R>[];
  readonly not?: Filter<R>;
};

/** A direction. NULL sorts before every value. */
export type Direction = 'asc' | 'desc';
type ColumnOrder<R> = (keyof R & string) | { readonly [C in keyof R]?: Direction };
/** `'column'`, `{ column: 'asc' | 'desc' }` or an array of these, the most significant first. */
export type OrderBy<R> = ColumnOrder<R> | readonly ColumnOrder<R>[];

/** SQL text with the values of its placeholders, in order. */
export interface Fragment {
  readonly sql: string;
  readonly params: unknown[];
}

const COMPARISONS = new Map([
  ['gt', '>'],
  ['gte', '>='],
  ['lt', '<'],
  ['lte', '<='],
]);

/** Nesting beyond this is a mistake or an attack. */
const MAX_DEPTH = 100;
/** Conditions and listed values in one filter: SQLite takes 32 766 variables, and a statement has others beside these. */
const MAX_CONDITIONS = 30_000;
/** Operands that are chained before they are nested: SQLite refuses an expression more than 1000 deep. */
const MAX_CHAIN = 50;
const LONE_SURROGATE = /\p{Surrogate}/u;
/** SQLite's own limit for a LIKE pattern, in bytes. */
const MAX_PATTERN = 50_000;

/** One walk over a filter. */
interface Walk {
  readonly shape: TableShape;
  /** Names the call in errors. */
  readonly call: string;
  readonly params: unknown[];
  conditions: number;
}

/** Compiles a filter. `call` names the call in errors. @throws {OptionError} for what is not a filter of this table. */
export function compileFilter(shape: TableShape, filter: unknown, call: string): Fragment {
  const params: unknown[] = [];
  return { sql: conjunction({ shape, call, params, conditions: 0 }, filter, 0), params };
}

function conjunction(walk: Walk, filter: unknown, depth: number): string {
  if (filter === undefined) return '';
  const { shape, call } = walk;
  if (!isPlain(filter)) throw new OptionError(`${call}: a filter is a plain object, not ${describe(filter)}`);
  if (depth > MAX_DEPTH) throw new OptionError(`${call}: the filter nests more than ${MAX_DEPTH} levels deep`);
  countIn(walk, 1);
  const parts: string[] = [];
  for (const name in filter) {
    const condition = filter[name];
    const column = shape.columns.get(name);
    if (column !== undefined) {
      conditions(walk, column, condition, `${call}: ${name}`, parts);
    } else if (name === 'and' || name === 'or') {
      if (!Array.isArray(condition)) throw new OptionError(`${call}: "${name}" takes an array of filters`);
      // Unlike map, this does not pass over holes.
      const inner = Array.from(condition as unknown[], (part) => {
        if (part === undefined) throw new OptionError(`${call}: "${name}" has undefined in its array`);
        return conjunction(walk, part, depth + 1) || '1';
      });
      if (inner.length === 0) parts.push(name === 'and' ? '1' : '0');
      else parts.push(`(${chain(inner, name === 'and' ? ' AND ' : ' OR ')})`);
    } else if (name === 'not') {
      if (condition === undefined) throw new OptionError(`${call}: "not" takes a filter, not undefined`);
      parts.push(`NOT (${conjunction(walk, condition, depth + 1) || '1'})`);
    } else {
      throw new OptionError(`${call}: table "${shape.name}" has no column "${name}"${shape.nearMiss(name)}`);
    }
  }
  return chain(parts, ' AND ');
}

/** Joins operands, many of them as a balanced tree. */
function chain(parts: readonly string[], word: string): string {
  if (parts.length <= MAX_CHAIN) return parts.join(word);
  const middle = parts.length >> 1;
  return `(${chain(parts.slice(0, middle), word)})${word}(${chain(parts.slice(middle), word)})`;
}

function countIn(walk: Walk, conditions: number): void {
  walk.conditions += conditions;
  if (walk.conditions > MAX_CONDITIONS) {
    throw new OptionError(`${walk.call}: the filter has more than ${MAX_CONDITIONS} conditions; split it`);
  }
}

function conditions(walk: Walk, column: ColumnShape, condition: unknown, where: string, parts: string[]): void {
  if (condition === undefined) {
    throw new OptionError(`${where} is undefined; leave the column out, or write null for "is null"`);
  }
  countIn(walk, 1);
  if (!isPlain(condition)) {
    parts.push(equality(column, condition, where, walk.params));
    return;
  }
  let any = false;
  for (const operator in condition) {
    any = true;
    const value = condition[operator];
    if (value === undefined) throw new OptionError(`${where}.${operator} is undefined; leave the operator out`);
    if (Array.isArray(value)) countIn(walk, value.length);
    parts.push(comparison(column, operator, value, `${where}.${operator}`, walk.params));
  }
  if (!any) throw new OptionError(`${where} has no operator; write a value or, for example, { eq: value }`);
}

function equality(column: ColumnShape, value: unknown, where: string, params: unknown[]): string {
  if (value === null) return `${column.sql} IS NULL`;
  params.push(encode(column, value, where));
  return `${column.sql} = ?`;
}

function comparison(column: ColumnShape, operator: string, value: unknown, where: string, params: unknown[]): string {
  switch (operator) {
    case 'eq':
      return equality(column, value, where, params);
    case 'ne':
      if (value === null) return `${column.sql} IS NOT NULL`;
      params.push(encode(column, value, where));
      return `${column.sql} <> ?`;
    case 'like':
      if (typeof value !== 'string') throw new OptionError(`${where} takes a string, not ${describe(value)}`);
      if (Buffer.byteLength(value) > MAX_PATTERN) throw new OptionError(`${where} is longer than ${MAX_PATTERN} bytes`);
      params.push(value);
      return `${column.sql} LIKE ?`;
    case 'isNull':
      if (typeof value !== 'boolean') throw new OptionError(`${where} takes true or false, not ${describe(value)}`);
      return value ? `${column.sql} IS NULL` : `${column.sql} IS NOT NULL`;
    case 'in':
    case 'notIn':
      return membership(column, operator, value, where, params);
    default: {
      const symbol = COMPARISONS.get(operator);
      if (symbol === undefined) {
        throw new OptionError(
          `${where}: there is no operator "${operator}"; use eq, ne, gt, gte, lt, lte, in, notIn, like or isNull`,
        );
      }
      if (value === null) throw new OptionError(`${where} compares with null, which is never true; use isNull`);
      if (column.column.columnType === 'SQLiteBigInt') throw unordered(column, where);
      params.push(encode(column, value, where));
      return `${column.sql} ${symbol} ?`;
    }
  }
}

/** One shape for lists of every length: the values travel as one JSON array wherever JSON can carry them exactly. */
function membership(
  column: ColumnShape,
  operator: 'in' | 'notIn',
  list: unknown,
  where: string,
  params: unknown[],
): string {
  if (!Array.isArray(list)) throw new OptionError(`${where} takes an array, not ${describe(list)}`);
  const values = Array.from(list as unknown[], (value) => {
    if (value === null || value === undefined) {
      throw new OptionError(`${where} has ${String(value)} in its list, which equals nothing; use isNull beside it`);
    }
    return encode(column, value, where);
  });
  const negation = operator === 'in' ? '' : 'NOT ';
  // A lone surrogate is bound as U+FFFD, but JSON would carry it as it is.
  if (values.every((value) => (typeof value === 'string' ? !LONE_SURROGATE.test(value) : Number.isFinite(value)))) {
    params.push(JSON.stringify(values));
    return `${column.sql} ${negation}IN (SELECT value FROM json_each(?))`;
  }
  params.push(...values);
  return `${column.sql} ${negation}IN (${values.map(() => '?').join(', ')})`;
}

/** Drizzle stores `blob({ mode: 'bigint' })` as the digits' bytes, where 10 comes before 9. */
function unordered(column: ColumnShape, where: string): OptionError {
  return new OptionError(
    `${where}: column "${column.name}" stores its numbers as text, which has another order; use numeric({ mode: 'bigint' })`,
  );
}

/** One column of an order. */
export interface OrderTerm {
  readonly column: ColumnShape;
  readonly direction: Direction;
}

/** Reads an `orderBy`. @throws {OptionError} for an unknown column or direction. */
export function parseOrder(shape: TableShape, orderBy: unknown, where: string): OrderTerm[] {
  if (orderBy === undefined) return [];
  const terms: OrderTerm[] = [];
  for (const part of Array.isArray(orderBy) ? (orderBy as unknown[]) : [orderBy]) {
    if (typeof part === 'string') addTerm(shape, terms, part, 'asc', where);
    else if (isPlain(part)) for (const name in part) addTerm(shape, terms, name, part[name], where);
    else
      throw new OptionError(
        `${where}: orderBy takes a column's name or { column: 'asc' | 'desc' }, not ${describe(part)}`,
      );
  }
  return terms;
}

function addTerm(shape: TableShape, terms: OrderTerm[], name: string, direction: unknown, where: string): void {
  const column = shape.columns.get(name);
  if (column === undefined) {
    throw new OptionError(`${where}: orderBy: table "${shape.name}" has no column "${name}"${shape.nearMiss(name)}`);
  }
  if (direction !== 'asc' && direction !== 'desc') {
    throw new OptionError(
      `${where}: orderBy: the direction of "${name}" is ${describe(direction)}; use 'asc' or 'desc'`,
    );
  }
  if (column.column.columnType === 'SQLiteBigInt') throw unordered(column, `${where}: orderBy`);
  // A column named twice adds nothing: the first mention has already decided.
  if (!terms.some((term) => term.column === column)) terms.push({ column, direction });
}
