import { type MessagePort } from 'node:worker_threads';
import { type ContextOptions } from './context/context.ts';
import { type Decision } from './connection/decide.ts';
import { type CheckpointReport } from './maintenance/checkpoint.ts';
import { type WriteStats } from './observe/lane-stats.ts';
import { type ReaderStats } from './observe/reader-stats.ts';
import { type StreamStats } from './observe/stream-stats.ts';
import { type WalStats } from './observe/wal-stats.ts';
import { type Api, type ReadApi, type Registry } from './repository/types.ts';

/** Options of `close`. */
export interface CloseOptions {
  /** Milliseconds to wait for accepted calls, transactions and snapshots; without it, for as long as they take. */
  readonly drain?: number;
}

/** What `close` came to. */
export interface CloseReport {
  /** What was given up on when `drain` ran out, by name. Empty when everything ended by itself. */
  readonly abandoned: readonly string[];
}

/** What `stats` answers. */
export interface DatabaseStats {
  /** `undefined` for a database that is only read. */
  readonly writes: WriteStats | undefined;
  readonly readers: ReaderStats;
  readonly streams: StreamStats;
  /** `undefined` where there is no WAL: a rollback journal, or a database in memory. */
  readonly wal: WalStats | undefined;
  /** What would make it faster, in sentences. */
  readonly advice: readonly string[];
  /**
   * What is dangerous now, in sentences: each consistent stream that holds a snapshot. What is dangerous for as long as the
   * file lies where it lies is in `decision.hazards`.
   */
  readonly hazards: readonly string[];
}

/** An open database (`Database<typeof ledger>`): the api, and what surrounds it. Made by `open`. */
export interface Database<G extends Registry = Registry> extends AsyncDisposable {
  /** Every method of every repository. Callable from any context; a write settles after its commit. */
  readonly api: Api<G>;
  /** How calls reach the file, and why. */
  readonly decision: Decision;
  /**
   * Runs several calls as one write transaction: committed when the callback resolves, undone when it throws. Other
   * writes wait meanwhile, so do in it only what belongs together. Every call of this database that is made inside, through
   * the callback's `api` or `db.api`, however deep, belongs to it. A nested `transaction` undoes itself alone.
   *
   * @throws what the callback throws; `TimeoutError` when its turn did not come; `TransactionEndedError` when a statement
   *   ended the transaction under it
   */
  transaction<T>(run: (api: Api<G>) => Promise<T> | T): Promise<T>;
  /**
   * Runs several reads on one consistent view, while others go on writing (under `shared` they wait). Every call of this
   * database that is made inside reads this view; a write is a `ReadOnlyError`. Inside a transaction it reads what the
   * transaction sees.
   */
  snapshot<T>(run: (api: ReadApi<G>) => Promise<T> | T): Promise<T>;
  /**
   * Puts a deadline, a signal and a name around every call that is made inside, however deep. Contexts nest: the sooner
   * deadline and either signal count.
   *
   * @example
   * await db.context({ timeout: 500, signal: request.signal, label: 'GET /accounts' }, () => listAccounts());
   */
  context<T>(options: ContextOptions, run: () => T): T;
  /**
   * Runs a function whose calls belong to no transaction or snapshot around it: they wait for their turn like any other. Do not
   * await them inside: they wait for what then waits for them, and end at their deadline. So does a `close` in there.
   */
  detached<T>(run: () => T): T;
  /**
   * Makes a port for another thread, which `connect` turns into the same `Database` there. Give each thread one of its own, in
   * a `transferList`. A thread that ends releases what it held: its transaction is undone, and the others go on.
   *
   * @example
   * const port = db.port();
   * new Worker(file, { workerData: { port }, transferList: [port] });
   * @throws {ClosedError} after `close` was called
   */
  port(): MessagePort;
  /**
   * Moves everything from the WAL into the database and empties the WAL, when its turn in the write lane has come. This is
   * done by itself as well, so it is for moments of your own: before the file is copied away, or after an import.
   *
   * What is in the way is waited for no longer: it is not an error, and the report says so. Without a WAL there is nothing
   * to do. With much in the WAL a thread does the work, and the event loop goes on.
   *
   * @throws {TimeoutError} its turn did not come in time
   * @throws {ContextError} called inside a transaction or snapshot of this database, which would be in its way
   * @throws {ReadOnlyError} the database was opened for reading only
   * @throws {StorageError} the disk is full or fails; nothing is lost, the WAL keeps it
   */
  checkpoint(): Promise<CheckpointReport>;
  /**
   * What happened so far: a plain object, made anew for each call. Where another thread owns the database these are its figures
   * of some milliseconds ago.
   */
  stats(): DatabaseStats;
  /**
   * Refuses new calls, finishes accepted ones, empties the WAL and closes every connection. Idempotent. With `drain`, what
   * has not ended by then is rejected with `ClosedError` and named in the report.
   *
   * Inside a transaction or snapshot of this database it would wait for itself, and is refused. In `detached` in there nobody
   * can know whether it is awaited: while what it was taken out of is open it has a deadline also without `drain`, the option
   * `timeout`.
   *
   * @throws {ContextError} inside a transaction or snapshot of this database; {@link DeadlockError} inside one of another
   *   database that waits for this one. The database stays open
   */
  close(options?: CloseOptions): Promise<CloseReport>;
}
