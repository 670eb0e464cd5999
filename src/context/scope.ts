import { type Cursor, type Pulled } from '../connection/cursor.ts';
import { type Method } from '../repository/methods.ts';
import { type Ambient } from './context.ts';
import { type Tenant } from './holders.ts';

/**
 * A transaction or snapshot while its callback runs, as the calls see it that join it: in this thread, or at the other end
 * of a port.
 */
export interface Scope {
  /** `transaction in POST /transfers`. */
  readonly label: string;
  /** Whether calls belong to it: also while its callback goes on although it was given up, so that they are refused. */
  readonly entered: boolean;
  /** What it is nested in: a call that outlives it through the async context belongs to that. */
  readonly enclosing: Scope | undefined;
  /** Whether this is `other`, or nested in it. */
  isWithin(other: Scope): boolean;
  /** As whom it holds its lane; a nested one, its turn. */
  readonly tenant: Tenant;
  /** Runs a call; behind one that spans ticks and is running. */
  call(method: Method, args: readonly unknown[], context: Ambient | undefined): Promise<unknown>;
  /** Runs a step of a handler that yields, on what this scope sees. */
  advance(cursor: Cursor, how: 'pull' | 'end', context: Ambient | undefined): Promise<Pulled>;
  /** Runs a callback as a transaction of its own inside this one: its failure undoes itself alone. */
  transaction<T>(run: (scope: Scope) => Promise<T>, context: Ambient | undefined): Promise<T>;
  /** Runs a callback that may only read, on what this scope sees. */
  snapshot<T>(run: (scope: Scope) => Promise<T>, context: Ambient | undefined): Promise<T>;
  /** Its callback has settled. */
  leave(): void;
}
