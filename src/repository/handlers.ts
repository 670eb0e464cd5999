/**
 * Makes the handler objects of one connection: the table's own methods and what the repository's factories return.
 */
import { HandlerError } from '../errors.ts';
import { isPlain } from '../plain.ts';
import { tableReads } from './table-reads.ts';
import { tableWrites } from './table-writes.ts';
import { type AnyRepository } from './types.ts';

/** A handler as it is called. */
export type Handler = (...args: readonly unknown[]) => unknown;
/** One repository's handlers on one connection. */
export type HandlerSet = Readonly<Record<string, Handler>>;

/** A statement of the connection that the handlers are made for. */
export interface BoundStatement {
  run(...params: unknown[]): { changes: number; lastInsertRowid: number | bigint };
  get(...params: unknown[]): unknown;
  all(...params: unknown[]): unknown[];
  /** The same statement with rows as arrays. */
  raw(): BoundStatement;
}

/** What the handlers of one kind are made with. */
export interface Workbench {
  /** Compiles a statement on the connection. */
  readonly prepare: (source: string) => BoundStatement;
  /** What factories are called with: a Drizzle database and tools, of the repository's kind. */
  readonly forReads: readonly [db: object, tools: object];
  readonly forWrites: readonly [db: object, tools: object];
}

/** One side of a repository, its reads or its writes, on one connection. */
export interface HandlerSide {
  /** What the repository's own factory made. */
  readonly own: HandlerSet;
  /** The table's methods, and the own ones, which replace them. */
  readonly all: HandlerSet;
}

/** The reads of a repository on one connection. */
export interface ReadSide extends HandlerSide {
  /** One batch of the table's stream. */
  readonly batch: Handler;
}

type Factory = (db: object, tools: object) => unknown;

/** The reads of a repository. */
export function makeReads(repository: AnyRepository, name: string, bench: Workbench): ReadSide {
  // The workbench is the one of the repository's kind, which is what its factories take.
  const factory = repository.reads as Factory | undefined;
  const own = checked(factory?.(...bench.forReads), `${name}.reads`, repository.kind);
  const { handlers, batch } = tableReads(repository, bench.prepare);
  return { own, all: { ...handlers, ...own }, batch };
}

/** The writes of a repository. */
export function makeWrites(repository: AnyRepository, name: string, bench: Workbench): HandlerSide {
  const factory = repository.writes as Factory | undefined;
  const own = checked(factory?.(...bench.forWrites), `${name}.writes`, repository.kind);
  for (const [method, handler] of Object.entries(own)) {
    if (yields(handler)) {
      throw new HandlerError(
        `${name}.writes.${method} is a generator function: what it writes between its yields would come after its transaction; ` +
          'return an array, or stream from a read',
      );
    }
  }
  return { own, all: { ...tableWrites(repository, bench.prepare), ...own } };
}

/** Both sides in one object. An own handler replaces a table's method of either side. */
export function bothSides(reads: HandlerSide, writes: HandlerSide, name: string): HandlerSet {
  for (const method of Object.keys(reads.own)) {
    if (Object.hasOwn(writes.own, method)) {
      throw new HandlerError(`${name}.${method} is made by reads and by writes; keep one of them`);
    }
  }
  return { ...reads.all, ...writes.all, ...reads.own };
}

/**
 * Whether a handler is a generator function, whose items callers stream. It must be seen before it is called, because what
 * the api gives for it is no promise.
 */
export function yields(handler: Handler | undefined): boolean {
  return handler?.constructor.name === 'GeneratorFunction';
}

/** Refuses at once what would break each call: a factory or handler that is asynchronous, or no function at all. */
function checked(own: unknown, where: string, kind: AnyRepository['kind']): HandlerSet {
  if (own === undefined) return {};
  // Of a class instance the methods would not be found: they are its prototype's.
  if (!isPlain(own) || 'then' in own) {
    throw new HandlerError(`${where}: the factory must return an object of functions and be synchronous itself`);
  }
  for (const [method, handler] of Object.entries(own)) {
    if (typeof handler !== 'function') throw new HandlerError(`${where}.${method} is not a function`);
    const { name } = (handler as Handler).constructor;
    if (kind === 'async' && name.endsWith('GeneratorFunction')) {
      throw new HandlerError(
        `${where}.${method} is a generator function, and an asynchronous handler ends with its promise; ` +
          'return an array, or stream from a read of defineRepository',
      );
    }
    if (kind === 'sync' && (name === 'AsyncFunction' || name === 'AsyncGeneratorFunction')) {
      throw new HandlerError(
        `${where}.${method} is an async function: its writes would go on after its transaction; ` +
          'make it synchronous, or define it with defineAsyncRepository',
      );
    }
  }
  return own as HandlerSet;
}
