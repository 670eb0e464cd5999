/**
 * The reads that every table's repository has, on one connection.
 *
 * Statements are compiled once for each shape (which columns, which operators) and kept, the most recently used ones; a
 * call binds values and runs. SQL is written here and not by Drizzle's builders because building costs ten times what
 * running does; what a column means (its codec, its defaults) stays Drizzle's.
 */
import { OptionError } from '../errors.ts';
import { describe } from '../plain.ts';
import { compileFilter, type Fragment, parseOrder } from './filter.ts';
import { type HandlerSet } from './handlers.ts';
import { page } from './page.ts';
import { StatementCache } from './statement-cache.ts';
import { callOptions, decode, keyCondition, once, type Prepare } from './table-method-parts.ts';
import { keyValues, tableShape, type TableShape } from './table-shape.ts';
import { type AnyRepository } from './types.ts';

/** `get`, `find`, `first`, `page`, `count`, `exists`. */
export function tableReads(repository: AnyRepository, prepare: Prepare): HandlerSet {
  const shape = tableShape(repository.table);
  const statements = new StatementCache(prepare);
  const select = `SELECT ${shape.selection} FROM ${shape.sql}`;
  const byKey = once(() => prepare(`${select} WHERE ${keyCondition(shape)}`));

  const where = (filter: unknown, call: string): Fragment => {
    const fragment = compileFilter(shape, filter, `${shape.name}.${call}`);
    return { sql: fragment.sql === '' ? '' : ` WHERE ${fragment.sql}`, params: fragment.params };
  };

  return {
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
      page(shape, statements, callOptions(options, ['after', 'limit', 'orderBy', 'filter'], `${shape.name}.page`)),
    count(filter) {
      const { sql, params } = where(filter, 'count');
      return scalar(statements.get(`SELECT count(*) AS value FROM ${shape.sql}${sql}`).get(...params));
    },
    exists(filter) {
      const { sql, params } = where(filter, 'exists');
      return scalar(statements.get(`SELECT EXISTS (SELECT 1 FROM ${shape.sql}${sql}) AS value`).get(...params)) === 1;
    },
  };
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
