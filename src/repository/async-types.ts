/** The types of repositories whose handlers `await`: the same shape as the synchronous ones, promise by promise. */
import { type BaseSQLiteDatabase } from 'drizzle-orm/sqlite-core/db';
import { type SQLiteTable } from 'drizzle-orm/sqlite-core/table';
import { type CanCross, type Lazy, type SluiceTypeError } from './handler-checks.ts';
import { type Row } from './table-types.ts';
import { type AnyRepository, type CallSignal, type Handlers, type RunResult, type UsedIn } from './types.ts';

type Drizzle = BaseSQLiteDatabase<'async', RunResult>;

/** The Drizzle database of an asynchronous `reads` factory: every result must be awaited. */
export type AsyncReadDatabase = Pick<Drizzle, 'select' | 'selectDistinct' | '$with' | 'with' | 'values'>;
/** The Drizzle database of an asynchronous `writes` factory. */
export type AsyncWriteDatabase = AsyncReadDatabase & Pick<Drizzle, 'insert' | 'update' | 'delete' | 'run'>;

/** What an asynchronous `reads` factory gets beside its database. */
export interface AsyncReadTools {
  /** Whether the running call was given up. */
  readonly signal: CallSignal;
  /** Another repository's reads, of either kind, on this same connection. An asynchronous one's are awaited. */
  readonly use: <R extends AnyRepository>(repository: R) => UsedIn<R, 'read'>;
}

/** What an asynchronous `writes` factory gets beside its database. */
export interface AsyncWriteTools {
  /** Whether the running call was given up. */
  readonly signal: CallSignal;
  /** Another repository's handlers, of either kind, on this same connection and in this same transaction. */
  readonly use: <R extends AnyRepository>(repository: R) => UsedIn<R, 'write'>;
  /** Runs a function once, after the commit that makes this call durable; never for a call that was undone. */
  readonly afterCommit: (effect: () => void) => void;
}

/** Checks handlers where they are written. */
export type CheckAsyncHandlers<H> = {
  [K in keyof H]: H[K] extends (...args: infer A) => infer R
    ? false extends CanCross<A>
      ? SluiceTypeError<`The arguments of "${K & string}" must be plain data: functions, symbols, class instances and Drizzle expressions cannot cross a thread`>
      : 0 extends 1 & R
        ? H[K]
        : [Lazy<Awaited<R>>] extends [never]
          ? H[K]
          : SluiceTypeError<`"${K & string}" returns an iterator: an asynchronous handler ends with its promise; return an array, or stream from a read of defineRepository`>
    : SluiceTypeError<`"${K & string}" must be a function`>;
};

/** A table with asynchronous handlers, as `defineAsyncRepository` makes it. */
export interface AsyncRepository<
  T extends SQLiteTable,
  R extends Handlers,
  W extends Handlers,
  K extends keyof Row<T> = never,
  V extends keyof Row<T> = never,
> {
  readonly kind: 'async';
  readonly table: T;
  readonly reads: ((db: AsyncReadDatabase, tools: AsyncReadTools) => R) | undefined;
  readonly writes: ((db: AsyncWriteDatabase, tools: AsyncWriteTools) => W) | undefined;
  readonly key: readonly K[] | undefined;
  readonly version: V | undefined;
}
