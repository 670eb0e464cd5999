/**
 * The reads that every table's repository has, on one connection.
 *
 * Statements are compiled once for each shape (which columns, which operators) and kept, the most recently used ones; a
 * call binds values and runs. SQL is written here and not by Drizzle's builders because building costs ten times what
 * running does; what a column means (its codec, its defaults) stays Drizzle's.
 */
import { isGivenUp } from '../context/context.ts';
import { AbortError, OptionError } from '../errors.ts';
import { describe } from '../plain.ts';
import { compileFilter, type Fragment, parseOrder } from './filter.ts';
import { type HandlerSet } from './handlers.ts';
import { type KeysetPage, page, rowCount, totalOrder } from './page.ts';
import { StatementCache } from './statement-cache.ts';
import { callOptions, decode, keyCondition, once, type Prepare } from './table-method-parts.ts';
import { keyValues, tableShape, type TableShape } from './table-shape.ts';
import { type AnyRepository } from './types.ts';

/** Rows of a stream that are read, and held, at once. More save little time and cost memory. */
const DEFAULT_BATCH = 100;
/** What `stream` takes inside a handler, where the call decides what is seen, and what it takes outside. */
const HANDLER_STREAM_OPTIONS = ['batch', 'orderBy'];
const API_STREAM_OPTIONS = [...HANDLER_STREAM_OPTIONS, 'consistent'];

/** A table's reads on one connection. */
export interface TableReadHandlers {
  /** `get`, `find`, `first`, `page`, `stream`, `count`, `exists`, as handlers use them. */
  readonly handlers: HandlerSet;
  /** One batch of `stream`: a read of its own, from plain data to plain data, whoever makes it and wherever it runs. */
  readonly batch: (filter: unknown, options: unknown, after: unknown) => KeysetPage;
}

/** Makes them. */
export function tableReads(repository: AnyRepository, prepare: Prepare): TableReadHandlers {
  const shape = tableShape(repository.table);
  const statements = new StatementCache(prepare);
  const select = `SELECT ${shape.selection} FROM ${shape.sql}`;
  const byKey = once(() => prepare(`${select} WHERE ${keyCondition(shape)}`));

  const where = (filter: unknown, call: string): Fragment => {
    const fragment = compileFilter(shape, filter, `${shape.name}.${call}`);
    return { sql: fragment.sql === '' ? '' : ` WHERE ${fragment.sql}`, params: fragment.params };
  };

  const batch = (filter: unknown, options: unknown, after: unknown): KeysetPage => {
    const call = `${shape.name}.stream`;
    const { limit, orderBy } = streamArguments(options, API_STREAM_OPTIONS, call);
    return page(shape, statements, { filter, orderBy, limit, after }, call);
  };

  const handlers: HandlerSet = {
    get(key) {
      const identity = keyValues(shape, key, `${shape.name}.get`);
      const row = byKey().get(...identity);
      return row === undefined ? undefined : decode(shape, row);
    },
    find(filter, options) {
      const call = `${shape.name}.find`;
      const given = callOptions(options, ['orderBy', 'limit', 'offset'], call);
      const { sql, params } = where(filter, 'find');
      const order = orderSql(shape, given.orderBy, call);
      let text = `${select}${sql}${order}`;
      if (given.limit !== undefined || given.offset !== undefined) {
        text += ' LIMIT ? OFFSET ?';
        params.push(given.limit === undefined ? -1 : count(given.limit, 'limit', call));
        params.push(given.offset === undefined ? 0 : count(given.offset, 'offset', call));
      }
      const rows = statements.get(text).all(...params);
      if (shape.decoded.length > 0) for (const row of rows) decode(shape, row);
      return rows;
    },
    first(filter, options) {
      const call = `${shape.name}.first`;
      const given = callOptions(options, ['orderBy'], call);
      const { sql, params } = where(filter, 'first');
      const row = statements.get(`${select}${sql}${orderSql(shape, given.orderBy, call)} LIMIT 1`).get(...params);
      return row === undefined ? undefined : decode(shape, row);
    },
    page: (options) =>
      page(
        shape,
        statements,
        callOptions(options, ['after', 'limit', 'orderBy', 'filter'], `${shape.name}.page`),
        `${shape.name}.page`,
      ),
    stream(filter, options) {
      checkStream(shape, filter, options, HANDLER_STREAM_OPTIONS);
      return pages(`${shape.name}.stream`, (after) => batch(filter, options, after));
    },
    count(filter) {
      const { sql, params } = where(filter, 'count');
      return scalar(statements.get(`SELECT count(*) AS value FROM ${shape.sql}${sql}`).get(...params));
    },
    exists(filter) {
      const { sql, params } = where(filter, 'exists');
      return scalar(statements.get(`SELECT EXISTS (SELECT 1 FROM ${shape.sql}${sql}) AS value`).get(...params)) === 1;
    },
  };
  return { handlers, batch };
}

/**
 * Refuses what the batches of an api's stream would refuse, before anybody waits for a connection to run them on.
 *
 * @throws {OptionError}
 */
export function checkApiStream(repository: AnyRepository, filter: unknown, options: unknown): void {
  checkStream(tableShape(repository.table), filter, options, API_STREAM_OPTIONS);
}

function checkStream(shape: TableShape, filter: unknown, options: unknown, known: readonly string[]): void {
  const call = `${shape.name}.stream`;
  totalOrder(shape, streamArguments(options, known, call).orderBy, call);
  compileFilter(shape, filter, call);
}

function streamArguments(
  options: unknown,
  known: readonly string[],
  call: string,
): { readonly limit: number; readonly orderBy: unknown } {
  const { batch = DEFAULT_BATCH, orderBy, consistent = false } = callOptions(options, known, call);
  if (typeof consistent !== 'boolean') {
    throw new OptionError(`${call}: "consistent" is ${describe(consistent)}; give true or false`);
  }
  return { limit: rowCount(batch, '"batch"', call), orderBy };
}

/** Page after page, each read when the rows before it are used up. Between two rows it ends when nobody waits for them. */
function* pages(label: string, read: (after: string | undefined) => KeysetPage): Generator<unknown, undefined> {
  let after: string | undefined;
  do {
    const { rows, next } = read(after);
    for (const row of rows) {
      if (isGivenUp()) throw new AbortError(`${label}: the call that walks it was given up by its caller`);
      yield row;
    }
    after = next;
  } while (after !== undefined);
}

function count(value: unknown, name: string, call: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw new OptionError(`${call}: ${name} is ${describe(value)}; give a whole number from 0`);
}

function orderSql(shape: TableShape, orderBy: unknown, call: string): string {
  const terms = parseOrder(shape, orderBy, call);
  if (terms.length === 0) return '';
  return ` ORDER BY ${terms.map(({ column, direction }) => `${column.qualified} ${direction}`).join(', ')}`;
}

function scalar(row: unknown): number {
  return Number((row as { value: number | bigint }).value);
}
