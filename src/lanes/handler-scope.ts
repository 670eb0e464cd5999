import { runInScope } from '../context/context.ts';
import { type Tenant } from '../context/holders.ts';
import { type Scope } from '../context/scope.ts';
import { type StartedRun } from '../connection/async-bench.ts';
import { type Connection } from '../connection/connection.ts';
import { type Cursor } from '../connection/cursor.ts';
import { ContextError } from '../errors.ts';
import { type Method } from '../repository/methods.ts';

/**
 * An asynchronous handler until it has settled, as the calls see it that it makes through the api of its own database. Each
 * is refused: it would wait for a connection that its handler has, or be committed although the handler is undone.
 */
class HandlerScope implements Scope {
  readonly label: string;
  readonly tenant: Tenant;
  readonly enclosing: Scope | undefined;
  entered = true;

  constructor(label: string, tenant: Tenant, enclosing: Scope | undefined) {
    this.label = label;
    this.tenant = tenant;
    this.enclosing = enclosing;
  }

  isWithin(other: Scope): boolean {
    return this === other || this.enclosing?.isWithin(other) === true;
  }

  call(method: Method): Promise<never> {
    return this.#refuse(method.label);
  }

  advance(cursor: Cursor): Promise<never> {
    return this.#refuse(cursor.method.label);
  }

  transaction(): Promise<never> {
    return this.#refuse('transaction');
  }

  snapshot(): Promise<never> {
    return this.#refuse('snapshot');
  }

  leave(): void {
    this.entered = false;
  }

  #refuse(label: string): Promise<never> {
    const error = new ContextError(
      `${label}: called through the api inside the handler ${this.label}; a handler reaches other handlers with use(…), and ` +
        'what comes after it belongs in afterCommit',
    );
    error.outcome = 'not-started';
    return Promise.reject(error);
  }
}

/**
 * Starts an asynchronous handler inside the transaction that is open.
 *
 * @param owner stands for its database in the async context
 * @param enclosing the transaction or snapshot that it has joined, whatever its caller's async context says
 */
export function startHandler(
  connection: Connection,
  method: Method,
  args: readonly unknown[],
  { owner, tenant, enclosing }: { readonly owner: object; readonly tenant: Tenant; readonly enclosing?: Scope },
): StartedRun {
  const scope = new HandlerScope(method.label, tenant, enclosing);
  const run = runInScope(owner, scope, () => connection.start(method, args));
  const leave = (): void => {
    scope.leave();
  };
  // Not when it is given up: it goes on until it settles, and what it calls then must not be kept either.
  run.promise.then(leave, leave);
  return run;
}
