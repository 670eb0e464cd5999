import { Column } from 'drizzle-orm/column';
import { is } from 'drizzle-orm/entity';
import { noopDecoder, SQL } from 'drizzle-orm/sql/sql';
import { type SelectedFieldsOrdered } from 'drizzle-orm/sqlite-core/query-builders/select.types';
import { getTableName } from 'drizzle-orm/table';
import { columnDecoder, type Decode } from '../repository/column-decoder.ts';

/** Which tables of a join always have a row, by name. Drizzle keeps it beside a query. */
export type JoinedTables = Readonly<Record<string, boolean>>;

/** Turns the rows of one query into what its caller asked for. */
export interface RowReader {
  /** What it takes: rows as the driver names their columns, or arrays of values. */
  readonly takes: 'object' | 'array';
  /** Whether {@link read} gives what it takes. */
  readonly asIs: boolean;
  readonly read: (row: unknown) => unknown;
}

interface Field {
  /** The objects of the row that its value stands in, from the outermost one; none where the row itself has it. */
  readonly parents: readonly string[];
  readonly key: string;
  readonly decode: Decode | undefined;
  /** The table of a column; `undefined` for an expression. */
  readonly table: string | undefined;
}

/**
 * Looks at the fields of a query once, so that little is left to do for each row. Where the driver's own names are the
 * names asked for, its object is the row, and only what has a codec is touched.
 *
 * @param names the columns of the statement, in order
 */
export function rowReader(
  selected: SelectedFieldsOrdered,
  names: readonly string[],
  joined: JoinedTables | undefined,
): RowReader {
  const fields = selected.map(({ path, field }): Field => {
    const table = is(field, Column) ? getTableName(field.table) : undefined;
    return { parents: path.slice(0, -1), key: path.at(-1) ?? '', decode: decoderOf(field), table };
  });
  if (isNamed(fields, names)) {
    const decoded = fields.flatMap(({ key, decode }) => (decode === undefined ? [] : [{ key, decode }]));
    return { takes: 'object', asIs: decoded.length === 0, read: (row) => decodeInPlace(row, decoded) };
  }
  const nullable = joined === undefined ? [] : nullableObjects(fields, joined);
  return { takes: 'array', asIs: false, read: (row) => assemble(row as readonly unknown[], fields, nullable) };
}

function isNamed(fields: readonly Field[], names: readonly string[]): boolean {
  return (
    fields.length === names.length &&
    new Set(names).size === names.length &&
    fields.every(({ parents, key }, at) => parents.length === 0 && key === names[at])
  );
}

function decodeInPlace(row: unknown, decoded: readonly { key: string; decode: Decode }[]): unknown {
  const stored = row as Record<string, unknown>;
  for (const { key, decode } of decoded) stored[key] = decode(stored[key]);
  return stored;
}

/** The object of a table that an outer join may leave without a row: `null` when each of its columns is. */
interface NullableObject {
  readonly key: string;
  readonly at: readonly number[];
}

/**
 * An object of the row whose fields are columns of one table, which the join may leave out. Of what an expression gives nobody
 * knows whose it is, so it does not count. Drizzle's own driver looks at the first column only, and so loses the rows in which
 * that one is NULL.
 */
function nullableObjects(fields: readonly Field[], joined: JoinedTables): NullableObject[] {
  const objects = new Map<string, { table: string | undefined; at: number[] }>();
  for (const [at, { parents, table }] of fields.entries()) {
    const [key] = parents;
    if (key === undefined || parents.length !== 1 || table === undefined) continue;
    const object = objects.get(key);
    if (object === undefined) objects.set(key, { table, at: [at] });
    else {
      object.at.push(at);
      if (object.table !== table) object.table = undefined;
    }
  }
  return [...objects].flatMap(([key, { table, at }]) =>
    table === undefined || joined[table] === true ? [] : { key, at },
  );
}

function assemble(
  values: readonly unknown[],
  fields: readonly Field[],
  nullable: readonly NullableObject[],
): Record<string, unknown> {
  const row: Record<string, unknown> = {};
  let at = 0;
  for (const { parents, key, decode } of fields) {
    const value = values[at++];
    let object = row;
    for (const parent of parents) object = (object[parent] ??= {}) as Record<string, unknown>;
    object[key] = decode === undefined ? value : decode(value);
  }
  for (const { key, at } of nullable) if (at.every((index) => values[index] === null)) row[key] = null;
  return row;
}

function decoderOf(field: SelectedFieldsOrdered[number]['field']): Decode | undefined {
  if (is(field, Column)) return columnDecoder(field);
  // What an expression is decoded with is Drizzle's own affair: an SQL has it, and whatever has a name has an SQL.
  const sql: unknown = is(field, SQL)
    ? field
    : (Reflect.get(field, 'sql') ?? Reflect.get(Reflect.get(field, '_'), 'sql'));
  const decoder: unknown = Reflect.get(sql as object, 'decoder');
  if (decoder === noopDecoder) return undefined;
  const { mapFromDriverValue } = decoder as { readonly mapFromDriverValue: Decode };
  return (value) => (value === null ? null : mapFromDriverValue.call(decoder, value));
}
