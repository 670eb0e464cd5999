/**
 * Keyset pagination, stable for any order.
 *
 * 1. The primary key is appended to the order, so that no two rows are equal in it.
 * 2. The cursor holds the last row's values of the order's columns as the database stores them.
 * 3. The next page is every row after these values. NULL sorts before every value, and no comparison with it is ever
 *    true, so each column's turn is written out:
 *    `(c1 > v1) OR (c1 IS v1 AND c2 > v2) OR …`, where "after NULL" is `IS NOT NULL` and "after v, descending" includes NULL.
 *
 * @see https://www.sqlite.org/rowvalue.html#scrolling_window_queries for the window without NULLs
 */
import { OptionError } from '../errors.ts';
import { compileFilter, type OrderTerm, parseOrder } from './filter.ts';
import { type StatementCache } from './statement-cache.ts';
import { describe, type TableShape } from './table-shape.ts';

const DEFAULT_LIMIT = 50;

interface PageArguments {
  readonly after?: unknown;
  readonly limit?: unknown;
  readonly orderBy?: unknown;
  readonly filter?: unknown;
}

/** One page. @throws {OptionError} for a limit below 1, or a cursor that belongs to another order or was tampered with. */
export function page(
  shape: TableShape,
  statements: StatementCache,
  given: PageArguments,
): { rows: unknown[]; next: string | undefined } {
  const call = `${shape.name}.page`;
  const limit = given.limit ?? DEFAULT_LIMIT;
  if (typeof limit !== 'number' || !Number.isSafeInteger(limit) || limit < 1) {
    throw new OptionError(`${call}: limit is ${describe(limit)}; give a whole number from 1`);
  }
  const order = totalOrder(shape, given.orderBy, call);
  const conditions: string[] = [];
  const filter = compileFilter(shape, given.filter, call);
  if (filter.sql !== '') conditions.push(filter.sql);
  const { params } = filter;
  if (given.after !== undefined) {
    const values = readCursor(given.after, order, call);
    conditions.push(after(order, values, params));
  }
  const where = conditions.length === 0 ? '' : ` WHERE ${conditions.join(' AND ')}`;
  const orderBy = order.map(({ column, direction }) => `${column.sql} ${direction}`).join(', ');
  params.push(limit + 1);
  const rows = statements
    .get(`SELECT ${shape.selection} FROM ${shape.sql}${where} ORDER BY ${orderBy} LIMIT ?`)
    .all(...params) as Record<string, unknown>[];
  let next: string | undefined;
  if (rows.length > limit) {
    rows.pop();
    const last = rows.at(-1);
    if (last !== undefined)
      next = writeCursor(
        order,
        order.map(({ column }) => last[column.name]),
      );
  }
  if (shape.decoded.length > 0) {
    for (const row of rows) for (const { name, decode } of shape.decoded) row[name] = decode?.(row[name]);
  }
  return { rows, next };
}

function totalOrder(shape: TableShape, orderBy: unknown, call: string): OrderTerm[] {
  const order = parseOrder(shape, orderBy, call);
  if (shape.key.length === 0) {
    throw new OptionError(`${call}: table "${shape.name}" has no primary key to break ties with; use find`);
  }
  const direction = order.at(-1)?.direction ?? 'asc';
  for (const column of shape.key) {
    if (!order.some((term) => term.column === column)) order.push({ column, direction });
  }
  return order;
}

function after(order: readonly OrderTerm[], values: readonly unknown[], params: unknown[]): string {
  const turns: string[] = [];
  for (const [index, { column, direction }] of order.entries()) {
    const value = values[index];
    if (value === null && direction === 'desc') continue;
    const conditions: string[] = [];
    for (const [before, term] of order.slice(0, index).entries()) {
      conditions.push(`${term.column.sql} IS ?`);
      params.push(values[before]);
    }
    if (value === null) conditions.push(`${column.sql} IS NOT NULL`);
    else {
      params.push(value);
      if (direction === 'asc') conditions.push(`${column.sql} > ?`);
      else
        conditions.push(column.column.notNull ? `${column.sql} < ?` : `(${column.sql} < ? OR ${column.sql} IS NULL)`);
    }
    turns.push(conditions.length === 1 ? conditions.join('') : `(${conditions.join(' AND ')})`);
  }
  if (turns.length === 0) return '0';
  const expanded = `(${turns.join(' OR ')})`;
  // A bound on the leading column, which the OR hides from the query planner, keeps the page an index range scan.
  const [lead] = order;
  if (order.length === 1 || lead === undefined || values[0] === null) return expanded;
  if (lead.direction === 'desc' && !lead.column.column.notNull) return expanded;
  params.push(values[0]);
  return `${expanded} AND ${lead.column.sql} ${lead.direction === 'asc' ? '>=' : '<='} ?`;
}

/** The order and the values, so that a cursor of another order is recognised. */
function writeCursor(order: readonly OrderTerm[], values: readonly unknown[]): string {
  const portable = values.map((value) => {
    if (typeof value === 'bigint') return { bigint: value.toString() };
    if (ArrayBuffer.isView(value))
      return { blob: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') };
    if (typeof value === 'number' && !Number.isFinite(value)) return { number: String(value) };
    return value;
  });
  return Buffer.from(JSON.stringify([signature(order), ...portable])).toString('base64url');
}

function readCursor(cursor: unknown, order: readonly OrderTerm[], call: string): unknown[] {
  const refuse = (why: string): OptionError =>
    new OptionError(`${call}: "after" ${why}; give the "next" of the page before, with the same orderBy`);
  if (typeof cursor !== 'string') throw refuse(`is ${describe(cursor)}`);
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(cursor, 'base64url').toString());
  } catch {
    throw refuse('is not a cursor');
  }
  if (!Array.isArray(parsed) || typeof parsed[0] !== 'string') throw refuse('is not a cursor');
  if (parsed[0] !== signature(order)) throw refuse(`is a cursor of the order (${parsed[0].slice(0, 80)})`);
  const values: unknown[] = parsed.slice(1).map(readValue);
  if (values.length !== order.length || values.includes(undefined)) throw refuse('is not a cursor');
  return values;
}

function readValue(value: unknown): unknown {
  if (value === null || typeof value === 'string' || typeof value === 'number') return value;
  if (typeof value !== 'object') return undefined;
  if ('bigint' in value && typeof value.bigint === 'string' && /^-?\d{1,19}$/.test(value.bigint))
    return BigInt(value.bigint);
  if ('blob' in value && typeof value.blob === 'string') return Buffer.from(value.blob, 'base64');
  if ('number' in value && typeof value.number === 'string') return Number(value.number);
  return undefined;
}

function signature(order: readonly OrderTerm[]): string {
  return order.map(({ column, direction }) => `${column.name} ${direction}`).join(', ');
}
