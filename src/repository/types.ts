/**
 * The types that make `db.api.accounts.byOwner('ann')` a `Promise<Account[]>` without an annotation.
 *
 * A repository carries its handlers' types as they were inferred from its factories; `Api` turns them into
 * promise-returning methods and `UsedIn` into the synchronous ones that `use` gives.
 */
import { type BaseSQLiteDatabase } from 'drizzle-orm/sqlite-core/db';
import { type SQLiteTable } from 'drizzle-orm/sqlite-core/table';
import { type ApiStream, type Row, type TableReads, type TableWrites } from './table-types.ts';

/** What `run()` answers. `lastInsertRowid` is a bigint beyond 2^53. */
export interface RunResult {
  readonly changes: number;
  readonly lastInsertRowid: number | bigint;
}

type Drizzle = BaseSQLiteDatabase<'sync', RunResult>;

/** The Drizzle database that a `reads` factory gets. What it prepares stays prepared for the connection's life. */
export type ReadDatabase = Pick<Drizzle, 'select' | 'selectDistinct' | '$with' | 'with' | 'get' | 'all' | 'values'>;

/** The Drizzle database that a `writes` factory gets. `transaction` is a savepoint inside the call's own transaction. */
export type WriteDatabase = ReadDatabase & Pick<Drizzle, 'insert' | 'update' | 'delete' | 'run' | 'transaction'>;

/** Handlers by name: synchronous functions of plain data. */
// `never[]` accepts every parameter list, where `unknown[]` would accept none with a narrower parameter.
export type Handlers = Record<string, (...args: never[]) => unknown>;

/** No handlers beside the table's own. */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type -- an object without keys is meant, not any value
export type NoHandlers = {};

/**
 * Whether the call that is running was given up: the signal of its context aborted, its deadline passed, or its thread is
 * gone. A handler that works long looks between its statements. In the thread of its caller it can only have been given up
 * before, or while an asynchronous handler awaits, because nothing else runs meanwhile.
 */
export interface CallSignal {
  readonly aborted: boolean;
}

/** What a `reads` factory gets beside its database. */
export interface ReadTools {
  /** Whether the running call was given up. */
  readonly signal: CallSignal;
  /** Another repository's reads, on this same connection. */
  readonly use: <R extends SyncRepository>(repository: R) => ReadsOf<R>;
}

/** What a `writes` factory gets beside its database. */
export interface WriteTools {
  /** Whether the running call was given up. */
  readonly signal: CallSignal;
  /** Another repository's handlers, on this same connection and in this same transaction. */
  readonly use: <R extends SyncRepository>(repository: R) => ReadsOf<R> & WritesOf<R>;
  /**
   * Runs a function once, after the commit that makes this call durable; never for a call that was undone. Handlers may
   * run again after a replay, so whatever touches anything but the database belongs here.
   */
  readonly afterCommit: (effect: () => void) => void;
}

/** A table with its handlers, as `defineRepository` makes it. */
export interface Repository<
  T extends SQLiteTable,
  R extends Handlers,
  W extends Handlers,
  K extends keyof Row<T> = never,
  V extends keyof Row<T> = never,
> {
  readonly kind: 'sync';
  readonly table: T;
  readonly reads: ((db: ReadDatabase, tools: ReadTools) => R) | undefined;
  readonly writes: ((db: WriteDatabase, tools: WriteTools) => W) | undefined;
  readonly key: readonly K[] | undefined;
  readonly version: V | undefined;
}

/** Any repository, for constraints: what a factory takes is its own affair. */
export interface AnyRepository {
  readonly kind: 'sync' | 'async';
  readonly table: SQLiteTable;
  readonly reads: ((db: never, tools: never) => Handlers) | undefined;
  readonly writes: ((db: never, tools: never) => Handlers) | undefined;
  readonly key: readonly PropertyKey[] | undefined;
  readonly version: PropertyKey | undefined;
}

type Own<R extends AnyRepository> = ReturnType<NonNullable<R['reads']>>;
type OwnWrites<R extends AnyRepository> = ReturnType<NonNullable<R['writes']>>;
type KeyColumns<R extends AnyRepository, T extends SQLiteTable> = Extract<NonNullable<R['key']>[number], keyof Row<T>>;
type VersionColumn<R extends AnyRepository, T extends SQLiteTable> = Extract<NonNullable<R['version']>, keyof Row<T>>;

/** The read handlers of a repository, its own before the table's. */
export type ReadsOf<R extends AnyRepository> = Omit<
  TableReads<R['table'], KeyColumns<R, R['table']>>,
  keyof Own<R> | keyof OwnWrites<R>
> &
  Own<R>;

/** The write handlers of a repository, its own before the table's. */
export type WritesOf<R extends AnyRepository> = Omit<
  TableWrites<R['table'], KeyColumns<R, R['table']>, VersionColumn<R, R['table']>>,
  keyof Own<R> | keyof OwnWrites<R>
> &
  OwnWrites<R>;

/** A handler seen from outside: what a generator function yields is streamed, anything else is promised. */
type Promised<F> = F extends (...args: infer A) => infer R ? (...args: A) => Given<R> : never;

/** `any` and `never` extend everything, and are promised as they are. */
type Given<R> = 0 extends 1 & R
  ? Promise<R>
  : [R] extends [never]
    ? Promise<R>
    : [R] extends [Generator<infer Y, unknown, never>]
      ? AsyncIterable<Y>
      : Promise<Awaited<R>>;

/** Handlers seen from outside. The table's `stream` takes more there than inside a handler. */
type Outside<H, R extends AnyRepository, S> = {
  readonly [M in keyof H]: M extends Exclude<'stream', keyof Own<R> | keyof OwnWrites<R>> ? S : Promised<H[M]>;
};

/** A repository whose handlers are synchronous, which is what a synchronous handler can use. */
export interface SyncRepository extends AnyRepository {
  readonly kind: 'sync';
}

/** A repository's handlers as an asynchronous handler uses them: its own kind decides whether they are awaited. */
export type UsedIn<R extends AnyRepository, Access extends 'read' | 'write'> = R extends SyncRepository
  ? Access extends 'read'
    ? ReadsOf<R>
    : ReadsOf<R> & WritesOf<R>
  : Access extends 'read'
    ? Outside<ReadsOf<R>, R, HandlerStream<R>>
    : Outside<ReadsOf<R> & WritesOf<R>, R, HandlerStream<R>>;

/** A table's stream inside an asynchronous handler. */
type HandlerStream<R extends AnyRepository> = (
  ...args: Parameters<TableReads<R['table'], never>['stream']>
) => AsyncIterable<Row<R['table']>>;

/** One repository as it is called from anywhere. */
export type RepositoryApi<R extends AnyRepository> = Outside<ReadsOf<R> & WritesOf<R>, R, ApiStream<R['table']>>;

/** The reads of one repository as a snapshot offers them. */
export type RepositoryReads<R extends AnyRepository> = Outside<ReadsOf<R>, R, ApiStream<R['table']>>;

/** Repositories by name. */
export type Repositories = Readonly<Record<string, AnyRepository>>;

/** A registry: repositories and the module they live in. */
export interface Registry<M extends Repositories = Repositories> {
  /** The URL of the module, so that another thread can import the same handlers. */
  readonly url: string;
  readonly repositories: M;
  /** Classes of errors that handlers throw, so that they arrive in another thread as what they are. */
  readonly errors?: readonly ErrorClass[];
}

/** Any class of errors, whatever its constructor takes. */
export type ErrorClass = abstract new (...args: never[]) => Error;

/** Every repository's methods, promise-returning: `Api<typeof ledger>`. */
export type Api<G extends Registry> = { readonly [N in keyof G['repositories']]: RepositoryApi<G['repositories'][N]> };
/** Every repository's methods as a thread calls them that blocks until the answer is there. */
export type BlockingApi<G extends Registry> = {
  readonly [N in keyof G['repositories']]: {
    readonly [M in keyof RepositoryApi<G['repositories'][N]>]: Blocking<RepositoryApi<G['repositories'][N]>[M]>;
  };
};

type Blocking<F> = F extends (...args: infer A) => Promise<infer R> ? (...args: A) => R : never;

/** Every repository's reads, promise-returning. */
export type ReadApi<G extends Registry> = {
  readonly [N in keyof G['repositories']]: RepositoryReads<G['repositories'][N]>;
};
