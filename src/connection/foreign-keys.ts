/**
 * Which foreign key failed: SQLite itself only says 'FOREIGN KEY constraint failed'.
 *
 * 1. A *deferred* key fails at COMMIT, and the rows that violate it are still there: {@link violatedForeignKeys} reads
 *    them, before the ROLLBACK. Called again after it, what is still there was there before: {@link newViolations}.
 * 2. An *immediate* key fails with its statement, whose changes are already undone. {@link explainForeignKey} runs the
 *    statement once more in a savepoint with every key deferred ("If the defer_foreign_keys pragma is on, then
 *    enforcement of all foreign key constraints is delayed until the outermost transaction is committed",
 *    https://sqlite.org/pragma.html#pragma_defer_foreign_keys, RESTRICT included), looks, and rolls back.
 *
 * `foreign_key_check` scans whole tables. An error must not be the expensive path of a call, so no more than
 * {@link SCANNED_ROWS} rows are looked at and tables that do not fit are left out: better no name than a slow one.
 */
import type Database from 'better-sqlite3';

type Handle = Database.Database;

/** How many rows one look at the foreign keys may scan, over all tables. */
const SCANNED_ROWS = 50_000;
/** How many violations are read of one table. */
const READ_VIOLATIONS = 1_000;

/** A foreign key as the schema declares it. SQLite keeps no names of foreign keys. */
export interface ForeignKey {
  /** The table that declares the key. */
  readonly table: string;
  readonly columns: readonly string[];
  /** The table that the key refers to. */
  readonly parent: string;
  readonly parentColumns: readonly string[];
}

/** A row that refers to a parent which does not exist. */
export interface ForeignKeyViolation extends ForeignKey {
  /** `undefined` in a WITHOUT ROWID table. */
  readonly rowid: number | bigint | undefined;
}

/** What a second run of a failed statement showed. */
export interface ForeignKeyExplanation {
  /** The keys that the statement violates; empty where they could not be found. */
  readonly keys: readonly ForeignKey[];
  /**
   * `'kept'`: the transaction is as it was. `'lost'`: the second run ended it, by `RAISE(ROLLBACK)` or a failure of
   * the storage, and nothing that was done in it exists any more: do not COMMIT, discard what is left.
   */
  readonly transaction: 'kept' | 'lost';
}

/**
 * The rows of the main schema that violate a foreign key now, deferred keys of the open transaction included.
 *
 * For a failed COMMIT: call it before ROLLBACK. It never throws, since it must not replace the error being explained:
 * a table that cannot be checked, or has too many rows to check cheaply, is left out.
 *
 * @param options.tables the only tables to look at; by default every table that declares a foreign key
 */
export function violatedForeignKeys(
  handle: Handle,
  options: { readonly tables?: readonly string[] } = {},
): ForeignKeyViolation[] {
  const violations: ForeignKeyViolation[] = [];
  try {
    let budget = SCANNED_ROWS;
    for (const table of options.tables ?? tablesWithForeignKeys(handle)) {
      const rows = countRows(handle, table, budget);
      if (rows === undefined) continue;
      budget -= rows;
      violations.push(...violationsOf(handle, table));
    }
  } catch {
    // The handle is closed, or busy with an open iterator. What was found so far is true.
  }
  return violations;
}

/**
 * What violates a foreign key in `after` and did not in `before`, so that rows which were orphaned while foreign keys
 * were off are not blamed on today's statement.
 */
export function newViolations(
  before: readonly ForeignKeyViolation[],
  after: readonly ForeignKeyViolation[],
): ForeignKeyViolation[] {
  // Counted, because the rows of a WITHOUT ROWID table cannot be told apart.
  const known = new Map<string, number>();
  const perTable = new Map<string, number>();
  for (const violation of before) {
    const identity = identityOf(violation, violation.rowid);
    known.set(identity, (known.get(identity) ?? 0) + 1);
    perTable.set(violation.table, (perTable.get(violation.table) ?? 0) + 1);
  }
  return after.filter((violation) => {
    // `before` was cut off for this table: a row missing from it may be an old one.
    if ((perTable.get(violation.table) ?? 0) >= READ_VIOLATIONS) return false;
    const identity = identityOf(violation, violation.rowid);
    const left = known.get(identity) ?? 0;
    if (left > 0) known.set(identity, left - 1);
    return left === 0;
  });
}

/** The different keys among `violations`, in the order in which they appear. */
export function distinctKeys(violations: readonly ForeignKeyViolation[]): ForeignKey[] {
  const keys = new Map<string, ForeignKey>();
  for (const { table, columns, parent, parentColumns } of violations) {
    const key = { table, columns, parent, parentColumns };
    keys.set(identityOf(key, undefined), key);
  }
  return [...keys.values()];
}

/**
 * Runs a statement that failed on an immediate foreign key once more, to see which key it was, and undoes it.
 *
 * Inside the open transaction, or in one of its own (`BEGIN IMMEDIATE`, which waits as long as `busy_timeout` says).
 * It never throws and changes no row; look at {@link ForeignKeyExplanation.transaction} afterwards. It does move
 * `last_insert_rowid()`, fires triggers and user functions again, and makes SQLite compile this connection's prepared
 * statements anew when they are next used, as every `PRAGMA` that sets a flag does.
 *
 * @param rerun the failed statement with its parameters, rather than the whole handler: it must not end the
 *   transaction, and what it does after a `RAISE(ROLLBACK)` that it catches would be committed at once. It may throw.
 */
export function explainForeignKey(handle: Handle, rerun: () => void): ForeignKeyExplanation {
  const joined = handle.inTransaction;
  let begun = false;
  try {
    if (!joined) handle.exec('BEGIN IMMEDIATE');
    const savepoint = `"sluice ${crypto.randomUUID()}"`;
    handle.exec(`SAVEPOINT ${savepoint}`);
    begun = true;
    const violations = rehearse(handle, savepoint, rerun);
    return { keys: distinctKeys(violations), transaction: 'kept' };
  } catch {
    // Before the savepoint nothing has happened yet; after it, an error means that it could not be rolled back to.
    return { keys: [], transaction: begun && joined ? 'lost' : 'kept' };
  } finally {
    if (!joined) rollBackOwn(handle);
  }
}

/** Throws only when the savepoint could not be restored: then the transaction is gone. */
function rehearse(handle: Handle, savepoint: string, rerun: () => void): ForeignKeyViolation[] {
  const deferredBefore = Number(handle.pragma('defer_foreign_keys', { simple: true })) === 1;
  let after: ForeignKeyViolation[] = [];
  try {
    if (!deferredBefore) handle.pragma('defer_foreign_keys = ON');
    rerun();
  } catch {
    // A later statement of `rerun` may fail; what its earlier ones violated is there to be seen.
  }
  if (handle.inTransaction) after = violatedForeignKeys(handle);
  // In this order: OFF makes SQLite forget every violation it has counted for COMMIT, those of the caller's earlier
  // statements too, and ROLLBACK TO gives it back the count of the savepoint. The other way round COMMIT would pass.
  if (!deferredBefore) handle.pragma('defer_foreign_keys = OFF');
  handle.exec(`ROLLBACK TO ${savepoint}`);
  handle.exec(`RELEASE ${savepoint}`);
  if (after.length === 0) return after;
  const tables = [...new Set(after.map((violation) => violation.table))];
  return newViolations(violatedForeignKeys(handle, { tables }), after);
}

function rollBackOwn(handle: Handle): void {
  try {
    if (handle.inTransaction) handle.exec('ROLLBACK');
  } catch {
    // The caller sees `inTransaction` and discards the connection; the error being explained comes first.
  }
}

function tablesWithForeignKeys(handle: Handle): string[] {
  return handle
    .prepare<[], string>(
      `SELECT DISTINCT m.name FROM sqlite_schema AS m, pragma_foreign_key_list(m.name) WHERE m.type = 'table'`,
    )
    .pluck()
    .all();
}

/** How many rows the table has, found by looking at no more than `limit`; `undefined` when there are more. */
function countRows(handle: Handle, table: string, limit: number): number | undefined {
  try {
    const quoted = `"${table.replaceAll('"', '""')}"`;
    const count = handle.prepare<[number]>(`SELECT count(*) FROM (SELECT 1 FROM main.${quoted} LIMIT ?)`).pluck();
    const rows = Number(count.get(limit + 1));
    return rows > limit ? undefined : rows;
  } catch {
    return undefined;
  }
}

function violationsOf(handle: Handle, table: string): ForeignKeyViolation[] {
  try {
    const keys = foreignKeysOf(handle, table);
    const rows = handle
      .prepare<[string, number], { rowid: bigint | null; fkid: bigint }>(
        'SELECT rowid, fkid FROM pragma_foreign_key_check(?) LIMIT ?',
      )
      .safeIntegers()
      .all(table, READ_VIOLATIONS);
    return rows.flatMap(({ rowid, fkid }) => {
      const key = keys.get(Number(fkid));
      return key === undefined ? [] : [{ ...key, rowid: rowid === null ? undefined : narrowest(rowid) }];
    });
  } catch {
    // 'foreign key mismatch': a key of this table refers to columns that are not unique, so it cannot be checked.
    return [];
  }
}

/** The table's keys by the id that `foreign_key_check` gives them. */
function foreignKeysOf(handle: Handle, table: string): Map<number, ForeignKey> {
  const rows = handle
    .prepare<[string], { id: number | bigint; parent: string; from: string; to: string | null }>(
      'SELECT id, "table" AS parent, "from", "to" FROM pragma_foreign_key_list(?) ORDER BY id, seq',
    )
    .all(table);
  const keys = new Map<number, ForeignKey & { columns: string[]; parentColumns: string[] }>();
  for (const { id, parent, from, to } of rows) {
    const key = keys.get(Number(id)) ?? { table, columns: [], parent, parentColumns: [] };
    key.columns.push(from);
    if (to !== null) key.parentColumns.push(to);
    keys.set(Number(id), key);
  }
  for (const key of keys.values()) {
    // `REFERENCES parent` without columns means its primary key.
    if (key.parentColumns.length === 0) key.parentColumns.push(...primaryKeyOf(handle, key.parent));
  }
  return keys;
}

function primaryKeyOf(handle: Handle, table: string): string[] {
  return handle
    .prepare<[string], string>('SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk')
    .pluck()
    .all(table);
}

function identityOf(key: ForeignKey, rowid: number | bigint | undefined): string {
  return JSON.stringify([key.table, key.columns, key.parent, key.parentColumns, rowid?.toString()]);
}

function narrowest(rowid: bigint): number | bigint {
  const number = Number(rowid);
  return Number.isSafeInteger(number) ? number : rowid;
}
