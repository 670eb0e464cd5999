/**
 * The types that make `db.api.accounts.byOwner('ann')` a `Promise<Account[]>` without an annotation.
 *
 * A repository carries its handlers' types as they were inferred from its factories; `Api` turns them into
 * promise-returning methods and `UsableIn` into the synchronous ones that `use` gives.
 */
import { type SQL } from 'drizzle-orm/sql/sql';
import { type BaseSQLiteDatabase } from 'drizzle-orm/sqlite-core/db';
import { type SQLiteTable } from 'drizzle-orm/sqlite-core/table';
import { type Filter, type OrderBy } from './filter.ts';

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

/** A compile error that reads as a sentence. */
export interface SluiceTypeError<Message extends string> {
  readonly ' sluice': Message;
}

/** Values that structured clone copies without loss: what api arguments are made of. */
type Primitive = string | number | bigint | boolean | null | undefined;
type Cloneable = Date | RegExp | ArrayBuffer | ArrayBufferView | Error | Blob;

/** `true` when a value of the type can cross a thread. Functions, symbols, promises and Drizzle expressions cannot. */
export type CanCross<T, Depth extends unknown[] = []> = unknown extends T
  ? true
  : [T] extends [Primitive | Cloneable]
    ? true
    : Depth['length'] extends 6
      ? true
      : T extends Primitive | Cloneable
        ? true
        : T extends symbol | ((...args: never[]) => unknown) | PromiseLike<unknown> | SQL
          ? false
          : T extends ReadonlyMap<infer K, infer V>
            ? CanCross<K | V, [...Depth, 0]>
            : T extends ReadonlySet<infer V> | readonly (infer V)[]
              ? CanCross<V, [...Depth, 0]>
              : T extends object
                ? false extends { [K in keyof T]-?: CanCross<T[K], [...Depth, 0]> }[keyof T]
                  ? false
                  : true
                : false;

/** A Drizzle query that was built or prepared and not run, or an expression. */
type Unrun = { getSQL(): unknown } | { getQuery(): unknown };

/**
 * Checks handlers where they are written: each offending one must be assignable to a sentence, and is not. A result of
 * `any`, for which alone `1 & R` accepts 0, passes: whoever writes it has switched the compiler off.
 */
export type CheckHandlers<H, Access extends 'read' | 'write'> = {
  [K in keyof H]: H[K] extends (...args: infer A) => infer R
    ? 0 extends 1 & R
      ? H[K]
      : CheckResult<K & string, A, R, H[K], Access>
    : SluiceTypeError<`"${K & string}" must be a function`>;
};

type CheckResult<K extends string, A, R, F, Access> = [R] extends [never]
  ? F
  : [Lazy<R>] extends [never]
    ? CheckHandler<K, A, R, F>
    : Access extends 'write'
      ? SluiceTypeError<`"${K}" returns an iterator: a write ends with its call; return an array, or stream from a read`>
      : [R] extends [Generator<infer Y, unknown, never>]
        ? CheckHandler<K, A, Y, F>
        : SluiceTypeError<`"${K}" returns an iterator: make it a generator function, *${K}() { yield* … }, which callers stream`>;

/** What gives its values only when it is asked; not what holds them. */
export type Lazy<R> = Extract<
  Exclude<R, Primitive | Cloneable | readonly unknown[] | ReadonlyMap<unknown, unknown> | ReadonlySet<unknown>>,
  Iterable<unknown> | AsyncIterable<unknown>
>;

type CheckHandler<K extends string, A, R, F> = [R] extends [never]
  ? F
  : [Extract<R, Unrun>] extends [never]
    ? [Extract<R, PromiseLike<unknown>>] extends [never]
      ? false extends CanCross<A>
        ? SluiceTypeError<`The arguments of "${K}" must be plain data: functions, symbols, class instances and Drizzle expressions cannot cross a thread`>
        : false extends CanCross<Exclude<R, void>>
          ? SluiceTypeError<`The result of "${K}" must be plain data: functions, symbols and class instances cannot cross a thread`>
          : F
      : SluiceTypeError<`"${K}" returns a promise: a handler is synchronous; await before or after the api call, or use defineAsyncRepository`>
    : SluiceTypeError<`"${K}" returns a query that was not run: end it with .all(), .get() or .run()`>;

/** A row as it is read. */
export type Row<T extends SQLiteTable> = T['$inferSelect'];
/** A row as it is inserted. */
export type NewRow<T extends SQLiteTable> = T['$inferInsert'];
/** Some columns of a row; not those that the database generates. */
export type Patch<T extends SQLiteTable> = { [C in keyof NewRow<T> & keyof Row<T>]?: Row<T>[C] | undefined };

type PrimaryColumns<T extends SQLiteTable> = {
  [C in keyof T['_']['columns']]: T['_']['columns'][C]['_']['isPrimaryKey'] extends true ? C : never;
}[keyof T['_']['columns']] &
  keyof Row<T>;

/**
 * What `get`, `update` and `remove` take: the primary key's value; for a composite key an object of its columns (which
 * columns is the option `key`'s to say, because Drizzle does not keep it in the table's type).
 */
export type Key<T extends SQLiteTable, K extends keyof Row<T>> = [K] extends [never]
  ? [PrimaryColumns<T>] extends [never]
    ? Partial<Row<T>>
    : Row<T>[PrimaryColumns<T>]
  : Pick<Row<T>, K>;

/** Options of `find`. */
export interface FindOptions<T extends SQLiteTable> {
  /** The order; unordered without it. */
  readonly orderBy?: OrderBy<Row<T>>;
  /** Rows at most. */
  readonly limit?: number;
  /** Rows to skip. For long lists use `page`, which does not slow down with the distance. */
  readonly offset?: number;
}

/** Options of `page`. */
export interface PageOptions<T extends SQLiteTable> {
  /** The `next` of the page before; leave it out for the first page. */
  readonly after?: string | undefined;
  /** Rows at most, 50 by default. */
  readonly limit?: number;
  /** The order; by primary key without it. The primary key always breaks ties. */
  readonly orderBy?: OrderBy<Row<T>>;
  readonly filter?: Filter<Row<T>>;
}

/** One page: `next` is an opaque cursor, `undefined` at the end. */
export interface Page<T extends SQLiteTable> {
  readonly rows: Row<T>[];
  readonly next: string | undefined;
}

/** Options of `upsert`. */
export interface UpsertOptions<T extends SQLiteTable> {
  /** The columns of the unique constraint that may be hit; the primary key by default. */
  readonly target?: keyof Row<T> | readonly (keyof Row<T>)[];
  /** What to change in the row that is there; by default every given column outside the target. */
  readonly set?: Patch<T>;
}

/** Options of `stream`. */
export interface StreamOptions<T extends SQLiteTable> {
  /** Rows that are read, and held in memory, at once; 100 by default. */
  readonly batch?: number;
  /** The order; the primary key breaks ties. By default the order of the primary key. */
  readonly orderBy?: OrderBy<Row<T>>;
}

/** Options of `stream` as it is called from anywhere. */
export interface ApiStreamOptions<T extends SQLiteTable> extends StreamOptions<T> {
  /**
   * Every row as it was at the first pull. The stream then holds a connection and its snapshot until it ends, or until
   * somebody waits for that connection: then it reads what is left into memory. Inside a transaction or snapshot, which it
   * reads from anyway, it changes nothing.
   */
  readonly consistent?: boolean;
}

/**
 * The rows that match, one by one, in a stable order: each that is there throughout comes exactly once, as long as the columns
 * of its order do not change.
 *
 * Nothing runs before the first pull, and each `for await` begins anew. Each batch is a read call of its own, made when the
 * rows before it are used up: it sees what is committed by then, and between two nothing is held. A row that is inserted
 * behind the one that was last read is not seen, one before it is; a row whose order changes may come twice, or not at all.
 */
export type ApiStream<T extends SQLiteTable> = (
  filter?: Filter<Row<T>>,
  options?: ApiStreamOptions<T>,
) => AsyncIterable<Row<T>>;

/** The reads that every table's repository has. */
export interface TableReads<T extends SQLiteTable, K extends keyof Row<T>> {
  /** The row with this key. */
  get(key: Key<T, K>): Row<T> | undefined;
  /** The rows that match. */
  find(filter?: Filter<Row<T>>, options?: FindOptions<T>): Row<T>[];
  /** The first row that matches. */
  first(filter?: Filter<Row<T>>, options?: Pick<FindOptions<T>, 'orderBy'>): Row<T> | undefined;
  /** One page in a stable order, by key and not by offset. */
  page(options?: PageOptions<T>): Page<T>;
  /**
   * The rows that match, one by one, a batch in memory at a time: for a handler that walks a table without holding it all.
   * It ends with the handler's call.
   */
  stream(filter?: Filter<Row<T>>, options?: StreamOptions<T>): Iterable<Row<T>>;
  /** How many rows match. */
  count(filter?: Filter<Row<T>>): number;
  /** Whether a row matches. */
  exists(filter?: Filter<Row<T>>): boolean;
}

/** The writes that every table's repository has. */
export interface TableWrites<T extends SQLiteTable, K extends keyof Row<T>, V extends keyof Row<T>> {
  /** Inserts a row and gives it as stored. */
  insert(row: NewRow<T>): Row<T>;
  /** Inserts all rows or none and gives their number. */
  insertMany(rows: readonly NewRow<T>[]): number;
  /** Changes the row with this key and gives it as stored; `undefined` when there is none. With a version column the patch names the version that was read. */
  update(key: Key<T, K>, patch: Patch<T> & Pick<Row<T>, V>): Row<T> | undefined;
  /** Changes every row that matches and gives their number. An empty filter is refused: say `{ and: [] }` for all. */
  updateMany(filter: Filter<Row<T>>, patch: Patch<T>): number;
  /** Inserts a row, or changes the one that is in its way, and gives it as stored. */
  upsert(row: NewRow<T>, options?: UpsertOptions<T>): Row<T>;
  /** Removes the row with this key; whether there was one. */
  remove(key: Key<T, K>): boolean;
  /** Removes every row that matches and gives their number. An empty filter is refused: say `{ and: [] }` for all. */
  removeMany(filter: Filter<Row<T>>): number;
}

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
