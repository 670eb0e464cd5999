/**
 * Finds in the schema what SQLite's message about a constraint speaks of.
 *
 * The messages are not meant to be parsed: names stand in them unquoted ('UNIQUE constraint failed: a.b.c' may be column
 * `b.c` of `a` or `c` of `a.b`), and the index is named only when it has an expression. So the schema is asked which of
 * its constraints would have caused exactly this text, and an answer counts only if it is the only one.
 */
import type Database from 'better-sqlite3';

type Handle = Database.Database;

/** Where a constraint is declared, as far as it is known. */
export interface ConstraintSource {
  readonly table: string | undefined;
  readonly columns: readonly string[];
  /** The name that somebody gave the constraint or index; SQLite's own `sqlite_autoindex_…` is none. */
  readonly constraint: string | undefined;
}

/** The unique index whose columns SQLite renders as `text`: 'a.x, a.y'. */
export function findUnique(handle: Handle, text: string): ConstraintSource | undefined {
  const candidates = handle
    .prepare<[string], { table: string; index: string; origin: string }>(
      `SELECT m.name AS "table", i.name AS "index", i.origin
         FROM sqlite_schema AS m, pragma_index_list(m.name) AS i
        WHERE m.type = 'table' AND i."unique" AND instr(?, m.name || '.') = 1`,
    )
    .all(text);
  const found = candidates.flatMap(({ table, index, origin }) => {
    const columns = columnsOf(handle, index);
    const rendered = columns.map((column) => `${table}.${column ?? ''}`).join(', ');
    return rendered === text ? [{ table, columns: columns.filter((c) => c !== null), index, origin }] : [];
  });
  const first = found[0];
  if (first === undefined || found.some((other) => other.table !== first.table)) return undefined;
  // A partial index may stand beside a full one on the same columns: then the columns are known and the name is not.
  const named = found.length === 1 && first.origin === 'c';
  return { table: first.table, columns: first.columns, constraint: named ? first.index : undefined };
}

/** The index with an expression that SQLite names itself; its expressions are not among the columns. */
export function findIndex(handle: Handle, name: string): ConstraintSource | undefined {
  const table = handle
    .prepare<[string], string>(`SELECT tbl_name FROM sqlite_schema WHERE type = 'index' AND name = ?`)
    .pluck()
    .get(name);
  if (table === undefined) return undefined;
  return { table, columns: columnsOf(handle, name).filter((column) => column !== null), constraint: name };
}

/** The column that SQLite renders as `text`: 'a.x'. */
export function findColumn(handle: Handle, text: string): ConstraintSource | undefined {
  const found = handle
    .prepare<[string, string], { table: string; column: string }>(
      `SELECT m.name AS "table", c.name AS "column"
         FROM sqlite_schema AS m, pragma_table_xinfo(m.name) AS c
        WHERE m.type = 'table' AND instr(?, m.name || '.') = 1 AND m.name || '.' || c.name = ?`,
    )
    .all(text, text);
  const only = found.length === 1 ? found[0] : undefined;
  return only && { table: only.table, columns: [only.column], constraint: undefined };
}

/** The check that SQLite calls `text`: its name, or its expression when nobody named it. */
export function findCheck(handle: Handle, text: string): ConstraintSource | undefined {
  const tables = handle
    .prepare<[string], { name: string; sql: string }>(
      `SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND instr(sql, ?) > 0`,
    )
    .all(text);
  const literal = text.replaceAll(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
  // SQLite drops the quotes of a quoted name, and those of an expression that begins with one.
  const named = new RegExp(`\\bCONSTRAINT\\s*["'\`[]?${literal}["'\`\\]]?\\s*CHECK\\b`, 'i');
  const unnamed = new RegExp(`\\bCHECK\\s*\\(\\s*["'\`[]?${literal}`, 'i');
  for (const [pattern, constraint] of [
    [named, text],
    [unnamed, undefined],
  ] as const) {
    const found = tables.filter(({ sql }) => pattern.test(sql));
    if (found.length === 1) return { table: found[0]?.name, columns: [], constraint };
    if (found.length > 1) return { table: undefined, columns: [], constraint };
  }
  return undefined;
}

/** The trigger that says `RAISE(…, 'text')`. */
export function findTrigger(handle: Handle, text: string): ConstraintSource | undefined {
  const found = handle
    .prepare<[string], { name: string; table: string }>(
      `SELECT name, tbl_name AS "table" FROM sqlite_schema WHERE type = 'trigger' AND instr(sql, ?) > 0`,
    )
    .all(`'${text.replaceAll("'", "''")}'`);
  const only = found.length === 1 ? found[0] : undefined;
  return only && { table: only.table, columns: [], constraint: only.name };
}

/** What can be told from the text alone, when there is no schema to ask: 'a.x, a.y'. */
export function parseColumns(text: string): ConstraintSource {
  const parts = text.split(', ');
  const first = parts[0] ?? text;
  const table = first.slice(0, Math.max(0, first.lastIndexOf('.')));
  const columns = parts.map((part) => (part.startsWith(`${table}.`) ? part.slice(table.length + 1) : part));
  return { table: table === '' ? undefined : table, columns, constraint: undefined };
}

/** `null` stands for an expression. */
function columnsOf(handle: Handle, index: string): (string | null)[] {
  return handle
    .prepare<[string], string | null>('SELECT name FROM pragma_index_info(?) ORDER BY seqno')
    .pluck()
    .all(index);
}
