/** The writes that every table's repository has, on one connection: compiled and kept as its reads are. */
import { ConstraintError, OptionError, StaleRowError } from '../errors.ts';
import { describe, isPlain } from '../plain.ts';
import { compileFilter, type Fragment } from './filter.ts';
import { type BoundStatement, type HandlerSet } from './handlers.ts';
import { StatementCache } from './statement-cache.ts';
import { callOptions, decode, keyCondition, once, type Prepare, type Stored } from './table-method-parts.ts';
import { type ColumnShape, encode, keyValues, ownValue, tableShape, type TableShape } from './table-shape.ts';
import { type AnyRepository } from './types.ts';

/** SQLite's limit on placeholders in one statement. */
const MAX_VARIABLES = 32_766;
/** Rows in one INSERT, largest first: few sizes, so that few statements are compiled. */
const CHUNKS = [256, 16, 1];

/** `insert`, `insertMany`, `update`, `updateMany`, `upsert`, `remove`, `removeMany`. */
export function tableWrites(repository: AnyRepository, prepare: Prepare): HandlerSet {
  const shape = tableShape(repository.table);
  const statements = new StatementCache(prepare);
  const returning = ` RETURNING ${shape.selection}`;
  const version = typeof repository.version === 'string' ? shape.columns.get(repository.version) : undefined;
  const byKey = once(() => prepare(`SELECT ${shape.selection} FROM ${shape.sql} WHERE ${keyCondition(shape)}`));
  const removal = once(() => prepare(`DELETE FROM ${shape.sql} WHERE ${keyCondition(shape)}`));

  // RETURNING is read with all(), never get(): a statement that is reset before it is done skips the automatic checkpoint.
  const stored = (statement: BoundStatement, params: unknown[]): unknown => {
    const [row] = statement.all(...params);
    return row === undefined ? undefined : decode(shape, row);
  };

  const kept = (row: unknown, call: string): unknown => {
    if (row !== undefined) return row;
    const ignored = `${call}: a trigger of "${shape.name}" kept the row out with RAISE(IGNORE); give values that it accepts`;
    throw new ConstraintError(ignored, { kind: 'check', table: shape.name });
  };

  const assignments = (
    patch: unknown,
    call: string,
    bump: ColumnShape | undefined,
  ): { sql: string; params: unknown[] } => {
    if (!isPlain(patch)) throw new OptionError(`${call}: a patch is a plain object, not ${describe(patch)}`);
    const parts: string[] = [];
    const params: unknown[] = [];
    // A column's own $onUpdate speaks where the patch is silent, but a patch that says nothing at all updates nothing.
    if (!namesColumn(shape, patch, call)) return { sql: '', params };
    for (const column of shape.columns.values()) {
      if (column === bump) continue;
      let value = ownValue(patch, column.name);
      if (value === undefined) value = column.column.onUpdateFn?.();
      if (value === undefined) continue;
      parts.push(`${column.sql} = ?`);
      params.push(encode(column, value, `${call}: ${column.name}`));
    }
    if (bump !== undefined) parts.push(`${bump.sql} = ${bump.sql} + 1`);
    return { sql: parts.join(', '), params };
  };

  const insertSql = (columns: readonly ColumnShape[], rows: number): string => {
    if (columns.length === 0) return `INSERT INTO ${shape.sql} DEFAULT VALUES`;
    const tuple = `(${columns.map(() => '?').join(', ')})`;
    const values = rows === 1 ? tuple : Array.from({ length: rows }, () => tuple).join(', ');
    return `INSERT INTO ${shape.sql} (${columns.map(({ sql }) => sql).join(', ')}) VALUES ${values}`;
  };

  return {
    insert(row) {
      const call = `${shape.name}.insert`;
      const { columns, values } = insertion(shape, row, call);
      return kept(stored(statements.get(insertSql(columns, 1) + returning), values), call);
    },
    insertMany(rows) {
      const call = `${shape.name}.insertMany`;
      if (!Array.isArray(rows)) throw new OptionError(`${call}: takes an array of rows, not ${describe(rows)}`);
      // Unlike map, this does not pass over holes.
      const prepared = Array.from(rows as unknown[], (row, index) => insertion(shape, row, `${call}[${index}]`));
      let inserted = 0;
      for (const run of runsOfOneShape(prepared)) {
        const width = run.columns.length;
        let at = 0;
        while (at < run.values.length) {
          const left = run.values.length - at;
          const size = CHUNKS.find((chunk) => chunk <= left && chunk * width <= MAX_VARIABLES && width > 0) ?? 1;
          const chunk = run.values.slice(at, at + size).flat();
          inserted += statements.get(insertSql(run.columns, size)).run(...chunk).changes;
          at += size;
        }
      }
      return inserted;
    },
    update(key, patch) {
      const call = `${shape.name}.update`;
      const identity = keyValues(shape, key, call);
      const { sql, params } = assignments(patch, call, version);
      const read = (): unknown => byKey().get(...identity);
      if (version === undefined) {
        if (sql === '') {
          const row = read();
          return row === undefined ? undefined : decode(shape, row);
        }
        const statement = statements.get(`UPDATE ${shape.sql} SET ${sql} WHERE ${keyCondition(shape)}${returning}`);
        return stored(statement, [...params, ...identity]);
      }
      const expected = ownValue(patch as Stored, version.name);
      if (!Number.isSafeInteger(expected)) {
        throw new OptionError(
          `${call}: the patch must name the version that was read: { ${version.name}: row.${version.name}, … }`,
        );
      }
      const row = stored(
        statements.get(
          `UPDATE ${shape.sql} SET ${sql} WHERE ${keyCondition(shape)} AND ${version.sql} = ?${returning}`,
        ),
        [...params, ...identity, expected],
      );
      if (row !== undefined) return row;
      const current = read() as Stored | undefined;
      if (current === undefined) return undefined;
      const actual = current[version.name];
      if (actual === expected) return kept(undefined, call);
      throw new StaleRowError(
        `${call}: the row has version ${String(actual)}, not ${String(expected)}: somebody changed it since it was read; ` +
          'read it again and decide anew',
        { table: shape.name, key, expected, actual },
      );
    },
    updateMany(filter, patch) {
      const call = `${shape.name}.updateMany`;
      const { sql, params } = assignments(patch, call, version);
      const condition = required(shape, filter, call);
      if (sql === '') throw new OptionError(`${call}: the patch names no column`);
      return statements.get(`UPDATE ${shape.sql} SET ${sql} WHERE ${condition.sql}`).run(...params, ...condition.params)
        .changes;
    },
    upsert(row, options) {
      const call = `${shape.name}.upsert`;
      const given = callOptions(options, ['target', 'set'], call);
      const { columns, values } = insertion(shape, row, call);
      const target = conflictTarget(shape, given.target, call);
      // SQLite has no conflict clause for DEFAULT VALUES, and a row that names nothing has nothing to put in the way.
      if (columns.length === 0) return kept(stored(statements.get(insertSql(columns, 1) + returning), values), call);
      let set: { sql: string; params: unknown[] };
      if (given.set === undefined) {
        // What only $defaultFn gave is for a new row: the one that is there keeps its id and the time it was made.
        const rest = columns.filter(
          (column) =>
            !target.includes(column) &&
            column !== version &&
            (ownValue(row as Stored, column.name) !== undefined || column.column.onUpdateFn !== undefined),
        );
        const says = rest.some((column) => ownValue(row as Stored, column.name) !== undefined);
        const parts = says ? rest.map(({ sql }) => `${sql} = excluded.${sql}`) : [];
        if (says && version !== undefined) parts.push(`${version.sql} = ${shape.sql}.${version.sql} + 1`);
        set = { sql: parts.join(', '), params: [] };
      } else {
        set = assignments(given.set, `${call}: set`, version);
      }
      // Without anything to set, setting a target column to itself still makes RETURNING give the row that is there.
      const [first] = target;
      if (set.sql === '' && first !== undefined) set.sql = `${first.sql} = ${shape.sql}.${first.sql}`;
      const conflict = ` ON CONFLICT (${target.map(({ sql }) => sql).join(', ')}) DO UPDATE SET ${set.sql}`;
      let statement: BoundStatement;
      try {
        statement = statements.get(insertSql(columns, 1) + conflict + returning);
      } catch (cause) {
        if (!(cause instanceof Error && cause.message.startsWith('ON CONFLICT clause does not match'))) throw cause;
        const names = target.map(({ name }) => name).join(', ');
        throw new OptionError(
          `${call}: "target": no primary key, unique constraint or unique index without a WHERE covers just (${names})`,
          { cause },
        );
      }
      return kept(stored(statement, [...values, ...set.params]), call);
    },
    remove(key) {
      const identity = keyValues(shape, key, `${shape.name}.remove`);
      return removal().run(...identity).changes > 0;
    },
    removeMany(filter) {
      const { sql, params } = required(shape, filter, `${shape.name}.removeMany`);
      return statements.get(`DELETE FROM ${shape.sql} WHERE ${sql}`).run(...params).changes;
    },
  };
}

interface Insertion {
  readonly columns: readonly ColumnShape[];
  readonly values: unknown[];
}

function insertion(shape: TableShape, row: unknown, call: string): Insertion {
  if (!isPlain(row)) throw new OptionError(`${call}: a row is a plain object, not ${describe(row)}`);
  namesColumn(shape, row, call);
  const columns: ColumnShape[] = [];
  const values: unknown[] = [];
  for (const column of shape.columns.values()) {
    let value = ownValue(row, column.name);
    if (value === undefined) value = (column.column.defaultFn ?? column.column.onUpdateFn)?.();
    // What is still missing is left to the table: its DEFAULT, NULL, or the error of a NOT NULL column.
    if (value === undefined) continue;
    columns.push(column);
    values.push(encode(column, value, `${call}: ${column.name}`));
  }
  return { columns, values };
}

/** Neighbours with the same columns go into one statement; the order of the rows is kept. */
function runsOfOneShape(rows: readonly Insertion[]): { columns: readonly ColumnShape[]; values: unknown[][] }[] {
  const runs: { columns: readonly ColumnShape[]; values: unknown[][] }[] = [];
  for (const { columns, values } of rows) {
    const last = runs.at(-1);
    const same = last?.columns.length === columns.length && last.columns.every((column, at) => column === columns[at]);
    if (last !== undefined && same) last.values.push(values);
    else runs.push({ columns, values: [values] });
  }
  return runs;
}

function conflictTarget(shape: TableShape, target: unknown, call: string): readonly ColumnShape[] {
  if (target === undefined) {
    if (shape.key.length > 0) return shape.key;
    throw new OptionError(`${call}: table "${shape.name}" has no primary key; name the "target" columns`);
  }
  const names: unknown[] = Array.isArray(target) ? target : [target];
  if (names.length === 0) throw new OptionError(`${call}: "target" names no column`);
  return Array.from(names, (name) => {
    const column = typeof name === 'string' ? shape.columns.get(name) : undefined;
    if (column === undefined)
      throw new OptionError(`${call}: "target": table "${shape.name}" has no column ${describe(name)}`);
    return column;
  });
}

/** A filter that must say something: a forgotten one would hit every row. */
function required(shape: TableShape, filter: unknown, call: string): Fragment {
  const fragment = compileFilter(shape, filter, call);
  if (fragment.sql === '') {
    throw new OptionError(`${call}: the filter is empty and would match every row; if you mean all, say { and: [] }`);
  }
  return fragment;
}

/** Whether values are given for a column. @throws {OptionError} for an unknown or a generated one. */
function namesColumn(shape: TableShape, values: Stored, call: string): boolean {
  let any = false;
  for (const name in values) {
    const column = shape.columns.get(name);
    if (column === undefined) {
      throw new OptionError(`${call}: table "${shape.name}" has no column "${name}"${shape.nearMiss(name)}`);
    }
    if (values[name] === undefined) continue;
    if (column.column.generated !== undefined) {
      throw new OptionError(`${call}: column "${name}" is generated by the database; leave it out`);
    }
    any = true;
  }
  return any;
}
