/**
 * Runs asynchronous handlers on a synchronous handle.
 *
 * Drizzle's proxy driver gives the handlers a database whose results are promises. Each statement runs at once when it is
 * reached, and settles in the microtask queue; between the statements the gate is closed, and what opens it is the run
 * that the statement belongs to.
 */
import type { drizzle } from 'drizzle-orm/sqlite-proxy/driver';
import { TransactionEndedError } from '../errors.ts';
import { type Handler, type HandlerSet, type HandlerSide, type Workbench } from '../repository/handlers.ts';
import { StatementCache } from '../repository/statement-cache.ts';
import { type AnyRepository, type Repositories } from '../repository/types.ts';
import { AsyncRun } from './async-run.ts';
import { callSignal } from './cancelled.ts';
import { type Gate } from './gate.ts';
import { type GuardedClient, refuseLazy } from './guarded-client.ts';
import { type Handle } from './handle.ts';
import { isLazy } from '../plain.ts';
import { translateError } from './sqlite-errors.ts';

/** Drizzle's driver for asynchronous handlers. */
export type AsyncDriver = typeof drizzle;

/**
 * Loads the driver if one of these repositories has asynchronous handlers. Every module of Drizzle costs milliseconds and a
 * megabyte, so whoever has none does without.
 */
export async function loadAsyncDriver(repositories: Repositories): Promise<AsyncDriver | undefined> {
  if (!Object.values(repositories).some(({ kind }) => kind === 'async')) return undefined;
  return (await import('drizzle-orm/sqlite-proxy/driver')).drizzle;
}

/** What the connection lends to its asynchronous handlers. */
export interface Lender {
  readonly driver: AsyncDriver;
  readonly handle: Handle;
  readonly gate: Gate;
  readonly client: GuardedClient;
  readonly sides: (repository: AnyRepository, access: 'read' | 'write') => readonly HandlerSide[];
  readonly addEffect: (effect: () => void) => void;
}

/** A handler that has been started. */
export interface StartedRun {
  readonly promise: Promise<unknown>;
  /** Ends the run: whatever it still tries on this connection is refused. */
  readonly end: () => void;
}

/** The asynchronous handlers of one connection. */
export class AsyncBench {
  readonly bench: Workbench;
  readonly #lender: Lender;
  #run: AsyncRun | undefined;

  constructor(lender: Lender) {
    this.#lender = lender;
    const statements = new StatementCache((source) => lender.client.prepare(source));
    const db = lender.driver((source, params, method) => {
      try {
        return Promise.resolve(this.#enter(() => query(statements, source, params, method)));
      } catch (error) {
        return Promise.reject(error);
      }
    });
    throwBare(db);
    this.bench = {
      prepare: (source) => lender.client.prepare(source),
      forReads: [db, { signal: callSignal, use: (repository: AnyRepository) => this.#use(repository, 'read') }],
      forWrites: [
        db,
        {
          signal: callSignal,
          use: (repository: AnyRepository) => this.#use(repository, 'write'),
          afterCommit: (effect: () => void) => {
            AsyncRun.current(this.#run);
            lender.addEffect(effect);
          },
        },
      ],
    };
  }

  /** Starts a handler. One at a time on a connection. */
  start(access: 'read' | 'write', label: string, handler: Handler, args: readonly unknown[]): StartedRun {
    const run = new AsyncRun(access, label);
    this.#run = run;
    const promise = run.start(async () => {
      try {
        const result = await handler(...args);
        if (typeof result === 'object' && result !== null) refuseLazy(result, label);
        return result;
      } catch (error) {
        throw translateError(error, { operation: label, handle: this.#lender.handle });
      }
    });
    // A run that was given up on may still fail, and nobody is listening any more.
    promise.catch(() => undefined);
    const end = (): void => {
      run.open = false;
      if (this.#run === run) this.#run = undefined;
    };
    return { promise, end };
  }

  /** Opens the gate for the length of a synchronous step of the current run. */
  #enter<T>(step: () => T): T {
    const run = AsyncRun.current(this.#run);
    const { gate, handle } = this.#lender;
    if (run.access === 'write' && !handle.inTransaction) {
      throw new TransactionEndedError(
        `${run.label}: an earlier statement of this call ended the whole transaction, and the handler caught its error; let it pass`,
      );
    }
    gate.access = run.access;
    gate.label = run.label;
    try {
      return step();
    } finally {
      gate.access = 'none';
    }
  }

  /** A repository's handlers as an asynchronous handler uses them. */
  #use(repository: AnyRepository, access: 'read' | 'write'): HandlerSet {
    const used: Record<string, Handler> = {};
    for (const side of this.#lender.sides(repository, access)) {
      for (const [name, handler] of Object.entries(side.all)) {
        if (repository.kind === 'sync') used[name] = (...args) => this.#followed(this.#enter(() => handler(...args)));
        else if (Object.hasOwn(side.own, name)) used[name] = handler;
        else if (Object.hasOwn(used, name)) continue;
        else if (name === 'stream') used[name] = (...args) => this.#streamed(() => handler(...args));
        else used[name] = (...args) => settle(() => this.#enter(() => handler(...args)));
      }
    }
    return used;
  }

  /** What a synchronous handler gave; an iterator's steps enter the run as the handler did. */
  #followed(result: unknown): unknown {
    return isIterable(result) ? this.#steps(result) : result;
  }

  /** A table's stream as an asynchronous handler reads it: the rows as they come, a batch at a time. */
  async *#streamed(start: () => unknown): AsyncGenerator<unknown, undefined> {
    const rows = await settle(() => this.#enter(start));
    if (isIterable(rows)) yield* this.#steps(rows);
  }

  *#steps(items: Iterable<unknown>): Generator<unknown, undefined> {
    const iterator = items[Symbol.iterator]();
    let done = false;
    try {
      for (;;) {
        const step = this.#enter(() => iterator.next());
        if (step.done === true) {
          done = true;
          return;
        }
        yield step.value;
      }
    } finally {
      if (!done) this.#enter(() => iterator.return?.());
    }
  }
}

/**
 * Drizzle's asynchronous sessions put every error into one whose message shows the bound parameters. Inside a handler the
 * bare one is wanted, as in a synchronous one, so that it can be told by its class.
 */
function throwBare(db: object): void {
  const session: unknown = Reflect.get(db, 'session');
  if (typeof session !== 'object' || session === null) return;
  const prepareQuery: unknown = Reflect.get(session, 'prepareQuery');
  if (typeof prepareQuery !== 'function') return;
  const prepare = (...args: unknown[]): object =>
    Object.assign(Reflect.apply(prepareQuery, session, args) as object, {
      queryWithCache: (_source: string, _params: unknown[], run: () => unknown) => run(),
    });
  Reflect.set(session, 'prepareQuery', prepare);
}

function isIterable(result: unknown): result is Iterable<unknown> {
  return typeof result === 'object' && result !== null && isLazy(result) && Symbol.iterator in result;
}

function settle(step: () => unknown): Promise<unknown> {
  try {
    return Promise.resolve(step());
  } catch (error) {
    return Promise.reject(error);
  }
}

function query(
  statements: StatementCache,
  source: string,
  params: unknown[],
  method: 'run' | 'all' | 'values' | 'get',
): { rows: unknown[] } {
  const statement = statements.get(source);
  if (method === 'run') return { rows: [], ...statement.run(...params) };
  // Rows as arrays, which is what Drizzle maps. RETURNING is read to its end, see table-writes.ts.
  const rows = statement.raw().all(...params);
  if (method !== 'get') return { rows };
  // For `get` the proxy driver takes the one row in place of the rows, and its absence for none.
  return { rows: rows[0] as unknown[] };
}
