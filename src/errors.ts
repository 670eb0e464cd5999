/**
 * Every error Sluice raises.
 *
 * Three kinds: *usage* (the caller can fix it, raised at once), *environment* (the file, the disk, another process),
 * and *ours* ({@link InternalError}). `code` is stable across versions; `message` is for people and may be reworded.
 * A handler's own exception is never replaced by one of these.
 */

/** What became of a write whose promise rejected (outcome.ts). `unknown` only where nobody can know. */
export type Outcome = 'not-started' | 'rolled-back' | 'committed' | 'unknown';

/** The base of all errors below. */
export class SluiceError extends Error {
  /** Stable and machine-readable, for example `SLUICE_TIMEOUT`. */
  readonly code: string;
  /** On a failed write: what became of it. */
  outcome?: Outcome;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.name = nameOf(code);
  }
}

/** `SLUICE_QUEUE_FULL` is a `QueueFullError`: from the code and not from the class, which a bundler may rename. */
function nameOf(code: string): string {
  const words = code === 'ABORT_ERR' ? ['ABORT'] : code.split('_').slice(1);
  return `${words.map((word) => word.charAt(0) + word.slice(1).toLowerCase()).join('')}Error`;
}

// ---------------------------------------------------------------------------------------------------------------
// Usage

/** An option or argument that cannot be used as given. Nothing was opened or changed. */
export class OptionError extends SluiceError {
  constructor(message: string, options?: ErrorOptions) {
    super('SLUICE_OPTION', message, options);
  }
}

/** The strategy asked for cannot be safe here. `alternatives` would work. */
export class StrategyError extends SluiceError {
  readonly strategy: string;
  readonly alternatives: readonly string[];

  constructor(message: string, fields: { strategy: string; alternatives: readonly string[] }) {
    super('SLUICE_STRATEGY', message);
    this.strategy = fields.strategy;
    this.alternatives = fields.alternatives;
  }
}

/** The repository has no method of this name, or the registry no repository. */
export class UnknownMethodError extends SluiceError {
  readonly repository: string;
  readonly method: string;

  constructor(message: string, fields: { repository: string; method: string }) {
    super('SLUICE_UNKNOWN_METHOD', message);
    this.repository = fields.repository;
    this.method = fields.method;
  }
}

/**
 * A handler broke its contract: a promise from a synchronous handler, an un-run query, raw BEGIN or COMMIT. Also what a write
 * rejects with that was ended by something thrown that cannot carry its outcome, such as a text: that is its `cause`.
 */
export class HandlerError extends SluiceError {
  constructor(message: string, options?: ErrorOptions) {
    super('SLUICE_HANDLER', message, options);
  }
}

/** A connection or statement was used outside the call it was lent to. */
export class ContextError extends SluiceError {
  constructor(message: string) {
    super('SLUICE_CONTEXT', message);
  }
}

/** A call arrived after its transaction or snapshot had ended. */
export class TransactionEndedError extends SluiceError {
  constructor(message: string, options?: ErrorOptions) {
    super('SLUICE_TRANSACTION_ENDED', message, options);
  }
}

/** The database is closed or closing. */
export class ClosedError extends SluiceError {
  constructor(message: string) {
    super('SLUICE_CLOSED', message);
  }
}

/** A write where only reads are possible: a read handler, a snapshot, a database opened for reading only. */
export class ReadOnlyError extends SluiceError {
  constructor(message: string, options?: ErrorOptions) {
    super('SLUICE_READ_ONLY', message, options);
  }
}

// ---------------------------------------------------------------------------------------------------------------
// Environment

/** Which kind of constraint refused a row. */
export type ConstraintKind = 'unique' | 'primary-key' | 'foreign-key' | 'not-null' | 'check' | 'datatype';

/** A row was refused by a constraint. Nothing of the call was kept. */
export class ConstraintError extends SluiceError {
  readonly kind: ConstraintKind;
  /** The table whose constraint refused the row, where SQLite lets it be found. */
  readonly table: string | undefined;
  /** The columns of the constraint, in its order; empty where SQLite names none. */
  readonly columns: readonly string[];
  /** The constraint's or index's name, where it has one. */
  readonly constraint: string | undefined;

  constructor(
    message: string,
    fields: {
      kind: ConstraintKind;
      table?: string | undefined;
      columns?: readonly string[];
      constraint?: string | undefined;
    },
    options?: ErrorOptions,
  ) {
    super('SLUICE_CONSTRAINT', message, options);
    this.kind = fields.kind;
    this.table = fields.table;
    this.columns = fields.columns ?? [];
    this.constraint = fields.constraint;
  }
}

/** Optimistic locking: somebody else changed the row since it was read. Read it again and decide anew. */
export class StaleRowError extends SluiceError {
  readonly table: string;
  readonly key: unknown;
  /** The version that the caller had. */
  readonly expected: unknown;
  /** The version that is stored. */
  readonly actual: unknown;

  constructor(message: string, fields: { table: string; key: unknown; expected: unknown; actual: unknown }) {
    super('SLUICE_STALE_ROW', message);
    this.table = fields.table;
    this.key = fields.key;
    this.expected = fields.expected;
    this.actual = fields.actual;
  }
}

/** Who holds what somebody waits for. */
export interface Holder {
  /** What the holder is doing, for example `transaction` or the label of its context. */
  readonly label: string;
  /** Milliseconds that it has held so far. */
  readonly heldFor: number;
  /** Where it was called from, for a transaction or snapshot: `at handle (app/server.ts:12:9)`. */
  readonly site?: string | undefined;
}

/** A holder in words, for messages. */
export function describeHolder({ label, heldFor, site }: Holder): string {
  return `${label} for ${Math.round(heldFor)} ms${site === undefined ? '' : `, called ${site}`}`;
}

/** A wait ran out. `wait` says which one, `holder` who was in the way. */
export class TimeoutError extends SluiceError {
  readonly wait: string;
  readonly holder: Holder | undefined;

  constructor(message: string, fields: { wait: string; holder?: Holder | undefined }, options?: ErrorOptions) {
    super('SLUICE_TIMEOUT', message, options);
    this.wait = fields.wait;
    this.holder = fields.holder;
  }
}

/** The call would wait for somebody who waits for the caller. Refused at once; nothing was started. */
export class DeadlockError extends SluiceError {
  /** Who waits for what, and who holds it, from the caller back to the caller. */
  readonly cycle: readonly string[];

  constructor(message: string, fields: { cycle: readonly string[] }) {
    super('SLUICE_DEADLOCK', message);
    this.outcome = 'not-started';
    this.cycle = fields.cycle;
  }
}

/**
 * Which of SQLite's refusals a {@link BusyError} is:
 * `busy` another connection holds the lock; `recovery` another connection is putting the WAL in order after a crash; both pass.
 * `snapshot` another connection has written since this transaction began to read; `locked` a statement of the same connection
 * is in the way; neither passes by waiting.
 *
 * @see https://www.sqlite.org/rescode.html#busy
 */
export type BusyKind = 'busy' | 'recovery' | 'snapshot' | 'locked';

/** Another connection, in this process or another, is in the way, and the wait for it is over. */
export class BusyError extends SluiceError {
  readonly kind: BusyKind;

  constructor(message: string, fields: { kind: BusyKind }, options?: ErrorOptions) {
    super('SLUICE_BUSY', message, options);
    this.kind = fields.kind;
  }

  /** Whether the same step may succeed if it is tried again. */
  get passes(): boolean {
    return this.kind === 'busy' || this.kind === 'recovery';
  }
}

/** The call's signal aborted it; `cause` is the signal's reason. Named and coded as Node's own. */
export class AbortError extends SluiceError {
  constructor(message: string, options?: ErrorOptions) {
    super('ABORT_ERR', message, options);
  }
}

/** As many calls as `maxQueue` allows are waiting already. */
export class QueueFullError extends SluiceError {
  readonly limit: number;

  constructor(message: string, fields: { limit: number }) {
    super('SLUICE_QUEUE_FULL', message);
    this.outcome = 'not-started';
    this.limit = fields.limit;
  }
}

/** The storage failed: full, an I/O error, a medium that cannot be written or opened. */
export class StorageError extends SluiceError {
  constructor(message: string, options?: ErrorOptions) {
    super('SLUICE_STORAGE', message, options);
  }
}

/** The file is not a database, or a damaged one. */
export class CorruptError extends SluiceError {
  constructor(message: string, options?: ErrorOptions) {
    super('SLUICE_CORRUPT', message, options);
  }
}

/**
 * The thread that owns the database died or could not be started. `outcome` says what became of a write; `cause` is what the
 * thread died of, where it is known. What had not started is run by the thread that takes its place, and not rejected.
 */
export class ExecutorError extends SluiceError {
  constructor(message: string, options?: ErrorOptions) {
    super('SLUICE_EXECUTOR', message, options);
  }
}

/** A migration could not be applied. The database is as it was before it. */
export class MigrationError extends SluiceError {
  constructor(message: string, options?: ErrorOptions) {
    super('SLUICE_MIGRATION', message, options);
  }
}

// ---------------------------------------------------------------------------------------------------------------
// Ours

/** A bug in Sluice. Please report it with its stack. */
export class InternalError extends SluiceError {
  constructor(message: string, options?: ErrorOptions) {
    super('SLUICE_INTERNAL', `bug in sluice, please report: ${message}`, options);
  }
}
