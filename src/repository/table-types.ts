/** The rows and keys of a table, and the methods that its repository has of its own. */
import { type SQLiteTable } from 'drizzle-orm/sqlite-core/table';
import { type Filter, type OrderBy } from './filter.ts';

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
