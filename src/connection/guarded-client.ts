/**
 * What Drizzle and the table methods are given in place of a handle: the part of its api that they use, with the rules of
 * a handler around it.
 *
 * 1. Nothing runs outside a handler's call (the gate).
 * 2. Statements that end, nest or reconfigure the connection are refused: transactions are the caller's, not a handler's.
 * 3. Errors leave translated, so that a handler may catch a `ConstraintError` itself.
 */
import { HandlerError, TransactionEndedError } from '../errors.ts';
import { isLazy } from '../plain.ts';
import { type Gate } from './gate.ts';
import { type Handle, type NativeStatement } from './handle.ts';
import { explainForeignKey, type ForeignKey } from './foreign-keys.ts';
import { translateError } from './sqlite-errors.ts';
import { refuseControl } from './statement-rules.ts';

/** The effects that the running call has asked for. */
export interface EffectList {
  readonly length: number;
  /** Forgets those that were asked for by work that was undone. */
  truncate(length: number): void;
}

/** The client of one connection. */
export class GuardedClient {
  readonly #handle: Handle;
  readonly #gate: Gate;
  #savepoints = 0;

  readonly #effects: EffectList;

  constructor(handle: Handle, gate: Gate, effects: EffectList) {
    this.#handle = handle;
    this.#gate = gate;
    this.#effects = effects;
  }

  /** Compiles a statement. Allowed while a factory or a handler runs. */
  prepare(source: string): GuardedStatement {
    this.#gate.prepare(source);
    refuseControl(source);
    try {
      return new GuardedStatement(this.#handle, this.#gate, this.#handle.prepare(source));
    } catch (error) {
      throw translateError(error, { operation: 'prepare', handle: this.#handle });
    }
  }

  /** Runs part of a call in a savepoint of its own, which is undone when it throws. */
  savepoint<T>(run: () => T): T {
    this.#gate.enter(false, 'db.transaction');
    const name = `sluice_nested_${this.#savepoints++}`;
    const effects = this.#effects.length;
    this.#handle.exec(`SAVEPOINT ${name}`);
    try {
      const result = run();
      refuseUnfinished(result, 'the callback of db.transaction');
      if (!this.#handle.inTransaction) throw swallowed('db.transaction', 'its callback');
      this.#handle.exec(`RELEASE ${name}`);
      return result;
    } catch (error) {
      this.#effects.truncate(effects);
      if (this.#handle.inTransaction) this.#handle.exec(`ROLLBACK TO ${name}; RELEASE ${name}`);
      throw error;
    }
  }
}

/** What is in order where the end of the whole transaction was caught. @param who caught it */
export function swallowed(label: string, who: string): TransactionEndedError {
  return new TransactionEndedError(
    `${label}: one of its statements rolled back the whole transaction (RAISE(ROLLBACK), OR ROLLBACK, a full disk) and ` +
      `${who} caught the error; let it pass`,
  );
}

/** A compiled statement behind the gate. */
export class GuardedStatement {
  readonly #handle: Handle;
  readonly #gate: Gate;
  readonly #statement: NativeStatement;
  /** Whether SQLite says that it only reads. */
  readonly readonly: boolean;
  #columns: readonly string[] | undefined;
  #rawMode = false;
  #rawView: GuardedStatement | undefined;

  constructor(handle: Handle, gate: Gate, statement: NativeStatement) {
    this.#handle = handle;
    this.#gate = gate;
    this.#statement = statement;
    this.readonly = statement.readonly;
  }

  /** The names of what it gives, in order. */
  get columns(): readonly string[] {
    return (this.#columns ??= this.#statement.columns().map(({ name }) => name));
  }

  run(...params: unknown[]): { changes: number; lastInsertRowid: number | bigint } {
    this.#gate.enter(this.readonly, this.#statement.source);
    try {
      return this.#statement.run(...params);
    } catch (error) {
      throw this.#explain(error, params);
    }
  }

  get(...params: unknown[]): unknown {
    this.#gate.enter(this.readonly, this.#statement.source);
    try {
      return this.#statement.get(...params);
    } catch (error) {
      throw this.#explain(error, params);
    }
  }

  all(...params: unknown[]): unknown[] {
    this.#gate.enter(this.readonly, this.#statement.source);
    try {
      return this.#statement.all(...params);
    } catch (error) {
      throw this.#explain(error, params);
    }
  }

  /** The same statement with rows as arrays. A statement of its own, so that no mode is switched on the hot path. */
  raw(): GuardedStatement {
    if (this.#rawMode) return this;
    if (this.#rawView === undefined) {
      this.#rawView = new GuardedStatement(
        this.#handle,
        this.#gate,
        this.#handle.prepare(this.#statement.source).raw(),
      );
      this.#rawView.#rawMode = true;
    }
    return this.#rawView;
  }

  #explain(error: unknown, params: unknown[]): unknown {
    const handle = this.#handle;
    if (this.#gate.access !== 'write') return translateError(error, { operation: this.#gate.label, handle });
    const foreignKeys = (): readonly ForeignKey[] =>
      handle.inTransaction ? explainForeignKey(handle, () => this.#statement.run(...params)).keys : [];
    const translated = translateError(error, { operation: this.#gate.label, handle, foreignKeys });
    // Past this point a statement would run, and commit, by itself.
    if (!handle.inTransaction) {
      this.#gate.access = 'ended';
      this.#gate.lost = true;
    }
    return translated;
  }
}

/** Refuses an iterator, of either kind: what it has yet to do would come after the call. */
export function refuseLazy(result: object, what: string, verb: 'returned' | 'yielded' = 'returned'): void {
  if (!isLazy(result)) return;
  throw new HandlerError(
    `${what} ${verb} an iterator, and what it gives would be read after the call; return an array, or make a read handler ` +
      'of defineRepository a generator function, *name() { yield* … }, which callers stream',
  );
}

/**
 * Refuses what a synchronous handler must not return: a promise (its writes would go on outside the transaction), an
 * iterator, and a query that was never run (it would do nothing and say nothing).
 */
export function refuseUnfinished(result: unknown, what: string, verb: 'returned' | 'yielded' = 'returned'): void {
  if (typeof result !== 'object' || result === null) return;
  // A list of queries or promises is as unfinished as one; of a list of rows the first is enough to tell.
  if (Array.isArray(result)) {
    if (result.length > 0 && !Array.isArray(result[0])) refuseUnfinished(result[0], what, verb);
    return;
  }
  const prototype: unknown = Object.getPrototypeOf(result);
  if (prototype !== Object.prototype && prototype !== null && Symbol.for('drizzle:entityKind') in result.constructor) {
    throw new HandlerError(`${what} ${verb} a query that was not run; end it with .all(), .get() or .run()`);
  }
  refuseLazy(result, what, verb);
  if ('then' in result && typeof result.then === 'function') {
    // What the abandoned promise still tries on this connection finds the gate closed; that is its own affair.
    Promise.resolve(result).catch(() => undefined);
    throw new HandlerError(
      `${what} ${verb} a promise; a handler is synchronous: await before or after the api call, or use defineAsyncRepository`,
    );
  }
}
