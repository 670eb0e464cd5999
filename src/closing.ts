/**
 * How a `Database` ends.
 *
 * 1. A close inside a transaction or snapshot of its own database would wait for what waits for it: it is refused. So is one
 *    inside those of other databases, where the graph of waits (holders.ts) shows a circle. The database stays open.
 * 2. From the first close on new calls are refused, and what was accepted is waited for. Every later close joins the first.
 * 3. Then everything is closed, or nothing. When it fails the database is as before, and the next close tries again.
 * 4. A deadline ends the wait: `drain`, or that of the context. What has not ended by then is given up on and named.
 * 5. A close in `db.detached`, while what it was taken out of is open, may be awaited in there, and then waits for itself; or
 *    it may not be, and then ends soon. Nobody can know, so it is neither refused nor let wait for ever: it has a deadline
 *    without `drain` too, the one that every call has.
 */
import { abandonWithContext, type Ambient, leftOpen, scopeOf, tenantsOf, timerDelay } from './context/context.ts';
import { type Scope } from './context/scope.ts';
import { ClosedError, ContextError, OptionError } from './errors.ts';
import { type CloseOptions, type CloseReport } from './database.ts';
import { nearMiss } from './near-miss.ts';
import { describe } from './plain.ts';
import { type Strategy } from './strategies/strategy.ts';

/** Milliseconds after which a close that was given no deadline says what it waits for. */
const PATIENCE = 5000;

/** What the rest of the `Database` has to do with its close. */
export interface ClosingParts {
  readonly strategy: Strategy;
  /** For messages. */
  readonly file: string;
  /** Milliseconds that a call may wait for its turn. */
  readonly timeout: number;
  /** New calls are refused from now on, also those of other threads. */
  readonly refuse: () => void;
  /** The close failed: calls are accepted again. */
  readonly accept: () => void;
  /** Everything is closed. */
  readonly ended: () => void;
}

/** The end of one `Database`. */
export class Closing {
  readonly #parts: ClosingParts;
  readonly #abandoned: string[] = [];
  /** End what may give up on the close. */
  readonly #stops: (() => void)[] = [];
  #closing: Promise<CloseReport> | undefined;
  /** It is closed: nothing is left that a close could give up on. */
  #ended = false;

  constructor(parts: ClosingParts) {
    this.#parts = parts;
  }

  /** Why a call that belongs to no open transaction or snapshot may not begin; `undefined` while it may. */
  refusal(label: string): ClosedError | undefined {
    if (this.#closing === undefined) return undefined;
    const error = new ClosedError(`${label}: the database ${this.#parts.file} is closed; open it again`);
    error.outcome = 'not-started';
    return error;
  }

  /** @param context what surrounds the close */
  close(options: CloseOptions, context: Ambient | undefined): Promise<CloseReport> {
    const { strategy, timeout } = this.#parts;
    const drain = drainOf(options);
    const scope = scopeOf(context, strategy.owner);
    if (scope !== undefined) {
      return Promise.reject(insideScope('close', scope, 'for which it would wait; close it afterwards'));
    }
    if (this.#ended && this.#closing !== undefined) return this.#closing;
    const around = tenantsOf(context);
    let endWait: (() => void) | undefined;
    try {
      if (around.length > 0) endWait = strategy.closeInside(around);
    } catch (error) {
      return Promise.reject(error);
    }
    this.#closing ??= this.#close();
    if (endWait !== undefined) this.#stops.push(endWait);
    const [left] = leftOpen(context);
    if (drain !== undefined) {
      // A later call may bring the deadline that the first one left out, as a signal handler would.
      this.#giveUpIn(drain, `did not wait longer than ${drain} ms for it`);
    } else if (left !== undefined) {
      this.#giveUpIn(
        timeout,
        `waited ${timeout} ms for it. It was closed in db.detached inside a ${left.label}, which may wait for the close in its ` +
          'turn; close it afterwards, or say with close({ drain }) how long it may take',
      );
    }
    const abandon = (error: Error): void => {
      this.#giveUp(`its close ended with its context (${error.name})`);
    };
    this.#stops.push(abandonWithContext({ label: 'close', abandon }, context));
    return this.#closing;
  }

  async #close(): Promise<CloseReport> {
    const { strategy, refuse, accept, ended } = this.#parts;
    const reminder = setTimeout(() => {
      void this.#remind();
    }, PATIENCE);
    reminder.unref();
    try {
      refuse();
      await strategy.idle();
      await strategy.close();
    } catch (error) {
      // Nothing was closed: the next close tries again.
      this.#closing = undefined;
      strategy.resume?.();
      accept();
      throw error;
    } finally {
      clearTimeout(reminder);
      for (const stop of this.#stops.splice(0)) stop();
    }
    this.#ended = true;
    ended();
    return { abandoned: this.#abandoned };
  }

  async #remind(): Promise<void> {
    const { strategy, file } = this.#parts;
    const running = await strategy.running();
    if (this.#closing === undefined || this.#ended) return;
    process.emitWarning(
      `close of ${file}: has waited ${PATIENCE} ms for ${running.join(', ') || 'calls that wait for their turn'}; ` +
        'end these first, or give close({ drain }) a deadline',
      { type: 'SluiceWarning', code: 'SLUICE_CLOSE_WAITS' },
    );
  }

  #giveUpIn(milliseconds: number, why: string): void {
    const timer = setTimeout(() => {
      this.#giveUp(why);
    }, timerDelay(milliseconds));
    this.#stops.push(() => {
      clearTimeout(timer);
    });
  }

  #giveUp(why: string): void {
    this.#parts.strategy.abandon((label) => {
      this.#abandoned.push(label);
      return new ClosedError(`${label}: the database was closed and ${why}`);
    });
  }
}

/** What may not be done inside a transaction or snapshot of the same database. */
export function insideScope(label: string, scope: Scope, why: string): ContextError {
  return new ContextError(`${label}: called inside a ${scope.label} of the same database, ${why}`);
}

function drainOf(options: CloseOptions): number | undefined {
  for (const name of Object.keys(options)) {
    if (name !== 'drain')
      throw new OptionError(`close: unknown option "${name}"${nearMiss(name, ['drain']) || '; use drain'}`);
  }
  const { drain } = options;
  if (drain === undefined || (typeof drain === 'number' && drain >= 0 && drain < Infinity)) return drain;
  throw new OptionError(`close: "drain" is ${describe(drain)}; give milliseconds from 0`);
}
