/**
 * Turns what SQLite and Drizzle throw into the errors of `errors.ts`.
 *
 * Drizzle 0.45 throws the driver's error bare from builders and wrapped in a `DrizzleError` from `db.run(sql…)`; v1 wraps
 * every one in a `DrizzleQueryError`, whose message holds the bound parameters. Only these wrappers are opened: an
 * exception that a handler made itself is its own, whatever its `cause`.
 */
import type Database from 'better-sqlite3';
import { BusyError, ConstraintError, CorruptError, ReadOnlyError, SluiceError, StorageError } from '../errors.ts';
import {
  type ConstraintSource,
  findCheck,
  findColumn,
  findIndex,
  findTrigger,
  findUnique,
  parseColumns,
} from './constraint-source.ts';
import { type ForeignKey } from './foreign-keys.ts';

type Handle = Database.Database;

/** better-sqlite3's error, by its shape: an application may have two copies of the package, hence two classes. */
interface DriverError extends Error {
  readonly name: 'SqliteError';
  /** SQLite's extended result code by name, such as `SQLITE_CONSTRAINT_UNIQUE`. */
  readonly code: string;
}

/** Where an error came from, and what may be asked to explain it. */
export interface ErrorSource {
  /** Begins the message: `accounts.credit`, `transaction`, `open ledger.db`. */
  readonly operation: string;
  /** Asked for the names of tables, columns and constraints, if it is given and free. */
  readonly handle?: Handle | undefined;
  /** The foreign keys that failed, found while the transaction was open; asked only when one did. */
  readonly foreignKeys?: (() => readonly ForeignKey[]) | undefined;
}

/**
 * The error that the caller should see: a {@link SluiceError} is given back as it is, an error of SQLite becomes the
 * class that the contract names, and everything else is the handler's own exception and given back unchanged. An SQL
 * mistake (syntax, no such table, datatype mismatch) counts as the handler's own; it comes back as better-sqlite3's
 * error without Drizzle's wrapper.
 *
 * The `cause` of a translated error is better-sqlite3's, whose stack names the handler. Drizzle's wrapper is left behind,
 * since its message shows parameters. Never throws.
 */
export function translateError(error: unknown, where: ErrorSource): unknown {
  const found = unwrap(error);
  return isDriverError(found) ? (translate(found, where) ?? found) : found;
}

/** Whether a foreign key failed, so that its name is worth looking for while the transaction is still open. */
export function isForeignKeyFailure(error: unknown): boolean {
  const found = unwrap(error);
  return isDriverError(found) && isForeignKeyError(found);
}

/** Whether another connection holds the lock that the driver was refused. */
export function isBusy(error: unknown): boolean {
  return isDriverError(error) && isOf(error.code, 'SQLITE_BUSY');
}

/** The first SqliteError or SluiceError under Drizzle's wrappers; the error itself if there is none. */
function unwrap(error: unknown): unknown {
  const seen = new Set<unknown>();
  for (let at = error; !seen.has(at); at = at.cause) {
    seen.add(at);
    if (at instanceof SluiceError || isDriverError(at)) return at;
    if (!isDrizzleWrapper(at)) break;
  }
  return error;
}

function isDriverError(error: unknown): error is DriverError {
  if (!(error instanceof Error)) return false;
  return error.name === 'SqliteError' && 'code' in error && /^SQLITE_[A-Z]/.test(String(error.code));
}

/** By shape again, and not by the name of the class, which a bundler may have shortened. */
function isDrizzleWrapper(error: unknown): error is Error {
  if (!(error instanceof Error)) return false;
  if (error.name === 'DrizzleError' || error.name === 'DrizzleQueryError') return true;
  return 'query' in error && 'params' in error && error.message.startsWith('Failed query: ');
}

function translate(error: DriverError, where: ErrorSource): SluiceError | undefined {
  const { code } = error;
  const say = (what: string, advice: string): string => `${where.operation}: ${what} (${code}); ${advice}`;
  const options = { cause: error };

  if (isOf(code, 'SQLITE_CONSTRAINT')) return constraintError(error, where);
  if (code === 'SQLITE_BUSY_SNAPSHOT') {
    const what = 'another connection has written since this transaction began to read';
    return new BusyError(say(what, 'begin with BEGIN IMMEDIATE what is going to write'), { kind: 'snapshot' }, options);
  }
  if (code === 'SQLITE_BUSY_RECOVERY') {
    const what = 'another connection is putting the WAL in order after a crash';
    return new BusyError(say(what, 'try again in a moment'), { kind: 'recovery' }, options);
  }
  if (isOf(code, 'SQLITE_BUSY')) {
    const what = 'another connection holds the database';
    return new BusyError(say(what, 'try again, or wait longer'), { kind: 'busy' }, options);
  }
  if (isOf(code, 'SQLITE_LOCKED')) {
    const advice = 'let its statements finish (an open iterate() is one) before this one runs';
    return new BusyError(say('a statement of the same connection is in the way', advice), { kind: 'locked' }, options);
  }
  if (code === 'SQLITE_READONLY') {
    const advice = 'write in a write handler, in a database that is open for writing';
    return new ReadOnlyError(say('a write where only reads are possible', advice), options);
  }
  if (code === 'SQLITE_READONLY_DBMOVED') {
    const advice = 'put it back, or close the database and open the file that is there now';
    return new StorageError(say('the database file was moved or removed while it was open', advice), options);
  }
  if (isOf(code, 'SQLITE_READONLY')) {
    const advice = 'see that this process may write the database file, its folder and its -wal and -shm files';
    return new StorageError(say(error.message, advice), options);
  }
  if (code === 'SQLITE_FULL') {
    const advice = 'free space, or raise the limit, and try again';
    return new StorageError(say('the disk is full, or the database has reached max_page_count', advice), options);
  }
  if (isOf(code, 'SQLITE_CANTOPEN')) {
    return new StorageError(say(error.message, 'see that its folder exists and may be written'), options);
  }
  if (code === 'SQLITE_NOTADB') {
    const advice = 'name another file; an encrypted database looks like this too';
    return new CorruptError(say('the file is not an SQLite database', advice), options);
  }
  if (isOf(code, 'SQLITE_CORRUPT')) {
    const advice = 'write no more to it, keep a copy with its -wal file, and restore a backup';
    return new CorruptError(say(error.message, advice), options);
  }
  if (STORAGE_CODES.some((storage) => isOf(code, storage))) {
    return new StorageError(say(error.message, 'look at the disk and its mount before you try again'), options);
  }
  return undefined;
}

const STORAGE_CODES = ['SQLITE_IOERR', 'SQLITE_PROTOCOL', 'SQLITE_PERM', 'SQLITE_NOLFS'];

/** Whether `code` is this result code or one of its extended ones. */
function isOf(code: string, primary: string): boolean {
  return code === primary || code.startsWith(`${primary}_`);
}

/** ON DELETE RESTRICT and ON UPDATE RESTRICT are triggers inside SQLite: their code is a trigger's. */
function isForeignKeyError({ code, message }: DriverError): boolean {
  return (
    code === 'SQLITE_CONSTRAINT_FOREIGNKEY' ||
    (code === 'SQLITE_CONSTRAINT_TRIGGER' && message === 'FOREIGN KEY constraint failed')
  );
}

function constraintError(error: DriverError, { operation, handle, foreignKeys }: ErrorSource): ConstraintError {
  const make = (kind: ConstraintError['kind'], source: ConstraintSource, what: string, advice: string) =>
    new ConstraintError(`${operation}: ${what}; ${advice}`, { kind, ...source }, { cause: error });
  const look = (find: (handle: Handle, text: string) => ConstraintSource | undefined, text: string) =>
    handle && attempt(() => find(handle, text));
  if (isForeignKeyError(error)) return foreignKeyError(error, operation, attempt(() => foreignKeys?.()) ?? []);

  // Every message below is 'what failed: which one', the one about datatypes and a trigger's own excepted.
  const subject = error.message.slice(error.message.indexOf(': ') + 2);
  switch (error.code) {
    case 'SQLITE_CONSTRAINT_UNIQUE': {
      const index = /^index '(.*)'$/s.exec(subject)?.[1];
      const source =
        index === undefined
          ? (look(findUnique, subject) ?? parseColumns(subject))
          : (look(findIndex, index) ?? { table: undefined, columns: [], constraint: index });
      const by = source.constraint === undefined ? '' : ` (unique index "${source.constraint}")`;
      const what = `a row with the same ${index === undefined ? subject : 'value'} exists already${by}`;
      return make('unique', source, what, 'give another value, or upsert');
    }
    case 'SQLITE_CONSTRAINT_PRIMARYKEY':
    case 'SQLITE_CONSTRAINT_ROWID': {
      const source = look(findUnique, subject) ?? look(findColumn, subject) ?? parseColumns(subject);
      const what = `a row with the same primary key ${subject} exists already`;
      return make('primary-key', source, what, 'give another key, update the row, or upsert');
    }
    case 'SQLITE_CONSTRAINT_NOTNULL': {
      const source = look(findColumn, subject) ?? parseColumns(subject);
      return make('not-null', source, `${subject} must not be null`, 'give it a value, or the column a default');
    }
    case 'SQLITE_CONSTRAINT_DATATYPE': {
      const [, given, wanted, column] = DATATYPE.exec(error.message) ?? [];
      if (column === undefined) break;
      const source = look(findColumn, column) ?? parseColumns(column);
      const what = `${column} of a STRICT table holds ${wanted ?? ''} and was given ${given ?? ''}`;
      return make('datatype', source, what, 'convert the value first');
    }
    case 'SQLITE_CONSTRAINT_CHECK': {
      const source = look(findCheck, subject) ?? unknownCheck(subject);
      const of = source.table === undefined ? '' : ` of ${source.table}`;
      return make('check', source, `the check "${subject}"${of} refused the row`, 'give values that satisfy it');
    }
    case 'SQLITE_CONSTRAINT_TRIGGER': {
      // RAISE(): a check that had to be written as a trigger. Its text is the schema's own, so it may be shown.
      const source = look(findTrigger, error.message) ?? NOWHERE;
      const by = source.constraint === undefined ? 'a trigger' : `the trigger "${source.constraint}"`;
      return make('check', source, `${by} refused the row: ${error.message}`, 'give values that it accepts');
    }
  }
  // A virtual table's own rule (SQLITE_CONSTRAINT_VTAB) and the like: refused by a condition that SQLite does not name.
  return make('check', NOWHERE, `${error.message} (${error.code})`, 'give values that satisfy it');
}

const NOWHERE: ConstraintSource = { table: undefined, columns: [], constraint: undefined };

const DATATYPE = /^cannot store (\w+) value in (\w+) column (.*)$/s;

/** Without the schema a name cannot be told from an expression but by its looks. */
function unknownCheck(text: string): ConstraintSource {
  return { ...NOWHERE, constraint: /^[A-Za-z_]\w*$/.test(text) ? text : undefined };
}

function foreignKeyError(cause: DriverError, operation: string, keys: readonly ForeignKey[]): ConstraintError {
  const first = keys[0];
  const advice = 'insert the parent row first, and keep it while rows refer to it';
  const what =
    first === undefined
      ? 'a foreign key refers to a row that does not exist'
      : `${keys.map(describeKey).join(', and ')} does not exist`;
  return new ConstraintError(
    `${operation}: ${what}; ${advice}`,
    { kind: 'foreign-key', table: first?.table, columns: first?.columns ?? [] },
    { cause },
  );
}

function describeKey({ table, columns, parent, parentColumns }: ForeignKey): string {
  const to = parentColumns.length === 0 ? '' : ` (${parentColumns.join(', ')})`;
  return `the ${parent} row${to} that ${table} (${columns.join(', ')}) refers to`;
}

/** An explanation that fails must not replace the error that it was to explain. */
function attempt<T>(find: () => T): T | undefined {
  try {
    return find();
  } catch {
    return undefined;
  }
}
