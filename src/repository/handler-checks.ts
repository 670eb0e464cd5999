/** What a handler may be, as the compiler checks it where the handler is written. */
import { type SQL } from 'drizzle-orm/sql/sql';

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
