import { ContextError } from '../errors.ts';
import { type Method } from '../repository/methods.ts';
import { type Connection } from './connection.ts';
import { refuseUnfinished } from './guarded-client.ts';

/** Items at most in one pull. */
const MAX_ITEMS = 100;
/** Milliseconds after which a pull takes no further item. */
const SLICE = 4;

/** What a step of a {@link Cursor} came to: plain data, but for the error. */
export interface Pulled {
  readonly items: readonly unknown[];
  /** Nothing comes after these items, but for the failure. */
  readonly done: boolean;
  /** What the handler threw after these items. */
  readonly failure?: { readonly error: unknown } | undefined;
}

/**
 * A call of a read handler that yields, where it stands.
 *
 * Its generator belongs to the connection of its first step, whose statements it runs. Its body runs only inside a step, and
 * between two steps nothing is held: no transaction, no statement, no lease.
 */
export class Cursor {
  readonly method: Method;
  readonly args: readonly unknown[];
  #generator: Iterator<unknown> | undefined;
  #connection: Connection | undefined;

  constructor(method: Method, args: readonly unknown[]) {
    this.method = method;
    this.args = args;
  }

  /**
   * Pulls items until there are enough for now, or ends the generator, whose `finally` runs.
   *
   * @throws {BusyError} before the handler has run on
   * @throws {ContextError} when the connection is not that of the first step
   */
  advance(connection: Connection, how: 'pull' | 'end'): Pulled {
    const { label } = this.method;
    if (this.#connection !== undefined && this.#connection !== connection) {
      throw new ContextError(
        `${label}: the connection that it was reading on had to be replaced, and its statements are gone; stream again`,
      );
    }
    const items: unknown[] = [];
    let done = how === 'end';
    const failure = connection.step(label, () => {
      if (how === 'end') {
        this.#generator?.return?.();
        return;
      }
      this.#connection = connection;
      this.#generator ??= this.method.on(connection)(...this.args) as Iterator<unknown>;
      done = pull(this.#generator, items, label);
    });
    return failure === undefined ? { items, done } : { items, done: true, failure };
  }
}

/** Whether the generator has come to its end. */
function pull(generator: Iterator<unknown>, items: unknown[], label: string): boolean {
  const until = performance.now() + SLICE;
  do {
    const step = generator.next();
    if (step.done === true) return true;
    try {
      refuseUnfinished(step.value, label, 'yielded');
    } catch (error) {
      generator.return?.();
      throw error;
    }
    items.push(step.value);
  } while (items.length < MAX_ITEMS && performance.now() < until);
  return false;
}
