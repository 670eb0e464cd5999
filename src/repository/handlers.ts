/**
 * Makes the handler objects of one connection: the table's own methods and what the repository's factories return.
 */
import { HandlerError } from '../errors.ts';
import { tableReads, tableWrites } from './table-methods.ts';
import { type AnyRepository, type ReadDatabase, type ReadTools, type WriteDatabase, type WriteTools } from './types.ts';

/** A handler as it is called. */
export type Handler = (...args: readonly unknown[]) => unknown;
/** One repository's handlers on one connection. */
export type HandlerSet = Readonly<Record<string, Handler>>;

/** A statement of the connection that the handlers are made for. */
export interface BoundStatement {
  run(...params: unknown[]): { changes: number; lastInsertRowid: number | bigint };
  get(...params: unknown[]): unknown;
  all(...params: unknown[]): unknown[];
}

/** What handlers are made with. */
export interface Workbench {
  readonly db: ReadDatabase & WriteDatabase;
  readonly prepare: (source: string) => BoundStatement;
  readonly readTools: ReadTools;
  readonly writeTools: WriteTools;
}

/** One side of a repository, its reads or its writes, on one connection. */
export interface HandlerSide {
  /** The names that the repository's own factory made. */
  readonly own: HandlerSet;
  /** The table's methods and the own ones, which replace them. */
  readonly all: HandlerSet;
}

/** The reads of a repository. */
export function makeReads(repository: AnyRepository, name: string, bench: Workbench): HandlerSide {
  const own = checked(repository.reads?.(bench.db, bench.readTools), `${name}.reads`);
  return { own, all: { ...tableReads(repository, bench.prepare), ...own } };
}

/** The writes of a repository. */
export function makeWrites(repository: AnyRepository, name: string, bench: Workbench): HandlerSide {
  const own = checked(repository.writes?.(bench.db, bench.writeTools), `${name}.writes`);
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

/** Refuses at once what would break each call: a factory or handler that is asynchronous, or no function at all. */
function checked(own: unknown, where: string): HandlerSet {
  if (own === undefined) return {};
  if (typeof own !== 'object' || own === null || 'then' in own) {
    throw new HandlerError(`${where}: the factory must return an object of functions and be synchronous itself`);
  }
  for (const [method, handler] of Object.entries(own)) {
    if (typeof handler !== 'function') throw new HandlerError(`${where}.${method} is not a function`);
    const { name } = (handler as Handler).constructor;
    if (name === 'AsyncFunction' || name === 'AsyncGeneratorFunction') {
      throw new HandlerError(
        `${where}.${method} is an async function: its writes would go on after its transaction; ` +
          'make it synchronous, or define it with defineAsyncRepository',
      );
    }
  }
  return own as HandlerSet;
}
