/**
 * Keyset pagination, stable for any order.
 *
 * 1. The primary key is appended to the order, so that no two rows are equal in it.
 * 2. The cursor holds the last row's values of the order's columns as the database stores them.
 * 3. The next page is every row after these values: those that are equal in all columns but the last and come after in
 *    that one, then those that are equal in all but the last two and come after in the last but one, and so on. Each of
 *    these is one range of an index on the order, read from where it begins; a column that may be NULL has a second range
 *    where NULLs come last. They follow each other in the order, so they are read one by one until the page is full.
 *
 * One condition for all of it (`c > ? OR (c = ? AND id > ?)`, or a row value) would read every row of equal `c` again.
 *
 * @see https://www.sqlite.org/rowvalue.html#scrolling_window_queries
 */
import { OptionError } from '../errors.ts';
import { describe } from '../plain.ts';
import { compileFilter, type Fragment, type OrderTerm, parseOrder } from './filter.ts';
import { type StatementCache } from './statement-cache.ts';
import { type TableShape } from './table-shape.ts';

const DEFAULT_LIMIT = 50;

type Stored = Record<string, unknown>;

/** What a page is asked for with, before anything is known of it. */
export interface PageArguments {
  readonly after?: unknown;
  readonly limit?: unknown;
  readonly orderBy?: unknown;
  readonly filter?: unknown;
}

/** Rows that follow each other, and where the next ones begin; `undefined` after the last. */
export interface KeysetPage {
  readonly rows: unknown[];
  readonly next: string | undefined;
}

/**
 * One page.
 *
 * @param call for messages: `accounts.page`
 * @throws {OptionError} for a limit below 1, or a cursor that belongs to another order or was tampered with
 */
export function page(shape: TableShape, statements: StatementCache, given: PageArguments, call: string): KeysetPage {
  const limit = rowCount(given.limit ?? DEFAULT_LIMIT, 'limit', call);
  const order = totalOrder(shape, given.orderBy, call);
  const filter = compileFilter(shape, given.filter, call);
  const ranges: Fragment[] =
    given.after === undefined
      ? [{ sql: '', params: [] }]
      : rangesAfter(order, readCursor(given.after, shape, order, call));
  const orderBy = order.map(({ column, direction }) => `${column.qualified} ${direction}`).join(', ');
  const rows: Stored[] = [];
  for (const range of ranges) {
    const conditions = [filter.sql, range.sql].filter((sql) => sql !== '').join(' AND ');
    const where = conditions === '' ? '' : ` WHERE ${conditions}`;
    const found = statements
      .get(`SELECT ${shape.selection} FROM ${shape.sql}${where} ORDER BY ${orderBy} LIMIT ?`)
      .all(...filter.params, ...range.params, limit + 1 - rows.length) as Stored[];
    for (const row of found) rows.push(row);
    if (rows.length > limit) break;
  }
  let next: string | undefined;
  if (rows.length > limit) {
    const beyond = rows.pop();
    const last = rows.at(-1);
    if (last !== undefined && beyond !== undefined) {
      refuseTwins(shape, last, beyond, call);
      next = writeCursor(
        shape,
        order,
        order.map(({ column }) => last[column.name]),
      );
    }
  }
  if (shape.decoded.length > 0) {
    for (const row of rows) for (const { name, decode } of shape.decoded) row[name] = decode?.(row[name]);
  }
  return { rows, next };
}

/** How many rows to read at once. @throws {OptionError} for anything but a whole number from 1 */
export function rowCount(value: unknown, name: string, call: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 1) return value;
  throw new OptionError(`${call}: ${name} is ${describe(value)}; give a whole number from 1`);
}

/** SQLite lets the columns of a composite key be NULL, and NULLs repeat: then a row's key does not say where it stands. */
function refuseTwins(shape: TableShape, last: Stored, beyond: Stored, call: string): void {
  if (!shape.key.some(({ name }) => last[name] === null)) return;
  if (
    JSON.stringify(shape.key.map(({ name }) => last[name])) !==
    JSON.stringify(shape.key.map(({ name }) => beyond[name]))
  )
    return;
  throw new OptionError(
    `${call}: several rows of "${shape.name}" have one primary key, with NULL in it, and no order tells them apart; ` +
      'make the columns of the key notNull()',
  );
}

/** The order that was asked for, with the primary key after it (1). @throws {OptionError} */
export function totalOrder(shape: TableShape, orderBy: unknown, call: string): OrderTerm[] {
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

/** What comes after `values`, as ranges in the order's own order (3). */
function rangesAfter(order: readonly OrderTerm[], values: readonly unknown[]): Fragment[] {
  const ranges: Fragment[] = [];
  for (let at = order.length - 1; at >= 0; at--) {
    const term = order[at];
    if (term === undefined) continue;
    const { column, direction } = term;
    const equal = order.slice(0, at).map(({ column: before }) => `${before.sql} IS ?`);
    const params = values.slice(0, at);
    const add = (condition: string, ...bound: unknown[]): void => {
      ranges.push({ sql: [...equal, condition].join(' AND '), params: [...params, ...bound] });
    };
    const value = values[at];
    // NULL sorts before every value, and no comparison with it is ever true.
    if (direction === 'asc') {
      if (value === null) add(`${column.sql} IS NOT NULL`);
      else add(`${column.sql} > ?`, value);
    } else if (value !== null) {
      add(`${column.sql} < ?`, value);
      if (!column.column.notNull) add(`${column.sql} IS NULL`);
    }
  }
  return ranges;
}

/** The order and the values, with a checksum: what was cut, edited or made for another order is recognised. */
function writeCursor(shape: TableShape, order: readonly OrderTerm[], values: readonly unknown[]): string {
  const portable = values.map((value) => {
    if (typeof value === 'bigint') return { bigint: value.toString() };
    if (ArrayBuffer.isView(value))
      return { blob: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') };
    if (typeof value === 'number' && !Number.isFinite(value)) return { number: String(value) };
    return value;
  });
  const text = JSON.stringify([signature(shape, order), ...portable]);
  return Buffer.from(checksum(text) + text).toString('base64url');
}

function readCursor(cursor: unknown, shape: TableShape, order: readonly OrderTerm[], call: string): unknown[] {
  const refuse = (why: string): OptionError =>
    new OptionError(`${call}: "after" ${why}; give the "next" of the page before, with the same orderBy`);
  if (typeof cursor !== 'string') throw refuse(`is ${describe(cursor)}`);
  const bytes = Buffer.from(cursor, 'base64url');
  const text = bytes.toString('utf8', CHECKSUM_LENGTH);
  // Decoding skips what is not base64url, so the way back must lead to the same string.
  if (bytes.toString('base64url') !== cursor || bytes.toString('utf8', 0, CHECKSUM_LENGTH) !== checksum(text)) {
    throw refuse('is not a cursor');
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw refuse('is not a cursor');
  }
  if (!Array.isArray(parsed) || typeof parsed[0] !== 'string') throw refuse('is not a cursor');
  if (parsed[0] !== signature(shape, order)) throw refuse(`is a cursor of ${parsed[0].slice(0, 80)}`);
  const values: unknown[] = parsed.slice(1).map(readValue);
  if (values.length !== order.length || values.includes(undefined)) throw refuse('is not a cursor');
  return values;
}

function readValue(value: unknown): unknown {
  if (value === null || typeof value === 'string' || typeof value === 'number') return value;
  if (typeof value !== 'object') return undefined;
  if ('bigint' in value && typeof value.bigint === 'string' && /^-?\d{1,19}$/.test(value.bigint)) {
    const integer = BigInt(value.bigint);
    return BigInt.asIntN(64, integer) === integer ? integer : undefined;
  }
  if ('blob' in value && typeof value.blob === 'string') return Buffer.from(value.blob, 'base64');
  if ('number' in value && (value.number === 'Infinity' || value.number === '-Infinity')) return Number(value.number);
  return undefined;
}

function signature(shape: TableShape, order: readonly OrderTerm[]): string {
  return `${shape.name} by ${order.map(({ column, direction }) => `${column.name} ${direction}`).join(', ')}`;
}

const CHECKSUM_LENGTH = 8;

/** FNV-1a. It tells accidents, not attacks: a forged cursor is only another place to begin, in rows that may be read. */
function checksum(text: string): string {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return (hash >>> 0).toString(16).padStart(CHECKSUM_LENGTH, '0');
}
