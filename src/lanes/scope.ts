import { AsyncResource } from 'node:async_hooks';
import { abandonWithContext, type Ambient, deadlineOf, labelOf, nestedLabel, siteOf } from '../context/context.ts';
import { type Site } from '../context/call-site.ts';
import { Tenant } from '../context/holders.ts';
import { type Scope } from '../context/scope.ts';
import { type Connection, type Effect } from '../connection/connection.ts';
import { type Cursor, type Pulled } from '../connection/cursor.ts';
import { ReadOnlyError, type SluiceError, TransactionEndedError } from '../errors.ts';
import { withOutcome } from '../outcome.ts';
import { withDeadline } from './async-call.ts';
import { startHandler } from './handler-scope.ts';
import { ScopeTurns } from './scope-turns.ts';
import { type Method } from '../repository/methods.ts';

/** What is called inside. */
interface Inner extends Pick<Method, 'label' | 'access'> {
  /** Where a transaction or snapshot was called from. */
  readonly site?: Site;
}

/** What a scope is made of. */
export interface ScopeParts {
  readonly connection: Connection;
  readonly access: 'read' | 'write';
  /** Stands for the `Database` in async contexts. */
  readonly owner: object;
  /** As whom it holds its lane; a nested one, its turn. */
  readonly tenant: Tenant;
  /** Where it was called from. */
  readonly site: Site | undefined;
  /** Milliseconds that a call may wait for its turn inside, where its context sets no deadline. */
  readonly timeout: number;
  readonly parent?: OpenScope;
}

/**
 * A transaction or snapshot of this thread while its callback runs: its calls, on the one connection that it holds.
 *
 * Siblings in `Promise.all` take turns: a synchronous handler is over before the next call begins, and an asynchronous one,
 * or a nested transaction, is waited for. Each write is inside a savepoint: one that fails and is caught undoes itself
 * alone. A nested transaction is a scope inside a savepoint of its own.
 */
export class OpenScope implements Scope {
  readonly #connection: Connection;
  readonly #access: 'read' | 'write';
  readonly #owner: object;
  readonly #timeout: number;
  readonly enclosing: OpenScope | undefined;
  readonly tenant: Tenant;
  readonly site: Site | undefined;
  readonly #effects: Effect[] = [];
  /** Never resolves; rejects when the scope is given up under its callback. */
  readonly abandoned: Promise<never>;
  #abandon!: (error: Error) => void;
  #abandonedWith: Error | undefined;
  readonly #turns: ScopeTurns;
  /** The nested transaction that is running. */
  #inner: OpenScope | undefined;
  #open = true;
  #left = false;
  #broken: unknown;

  constructor({ connection, access, owner, tenant, site, timeout, parent }: ScopeParts) {
    this.#connection = connection;
    this.#access = access;
    this.#owner = owner;
    this.#timeout = timeout;
    this.enclosing = parent;
    this.tenant = tenant;
    this.site = site;
    this.#turns = new ScopeTurns(this.label);
    this.abandoned = new Promise((_, reject) => {
      this.#abandon = reject;
    });
    // Nobody may be listening when the callback has just settled.
    this.abandoned.catch(() => undefined);
  }

  get label(): string {
    return this.tenant.label;
  }

  /** Whether calls may still be made in it. */
  get open(): boolean {
    return this.#open;
  }

  /** Whether calls belong to it: also while its callback goes on although it was given up, so that they are refused. */
  get entered(): boolean {
    return this.#open || (this.#abandonedWith !== undefined && !this.#left);
  }

  /** Its callback has settled. */
  leave(): void {
    this.#left = true;
  }

  /** What handlers asked for after the commit, in call order. */
  get effects(): readonly Effect[] {
    return this.#effects;
  }

  /** Ends it: a call that comes later is refused, and one that nobody awaited is undone before this resolves. */
  async end(): Promise<void> {
    if (this.#open && this.#turns.taken) this.#stop(this.#endedError('a call'));
    this.#open = false;
    await this.#turns.ended();
  }

  /** Gives it up, until it is committed: whoever runs it gets `error` and cleans up. */
  abandon(error: Error): void {
    this.#open = false;
    this.#abandonedWith ??= error;
    this.#stop(error);
  }

  /** Ends what is running in it. */
  #stop(error: Error): void {
    this.#inner?.abandon(error);
    this.#abandon(error);
  }

  /** @throws what it was given up with, if it was: before it begins, and after its end, nobody listens to `abandoned`. */
  assertKept(): void {
    if (this.#abandonedWith !== undefined) throw this.#abandonedWith;
  }

  /** @throws {TransactionEndedError} when a statement ended the transaction under the callback. */
  assertWhole(): void {
    if (this.#broken !== undefined || !this.#connection.inTransaction) throw this.#brokenError();
  }

  /** Whether this is `other`, or nested in it. */
  isWithin(other: Scope): boolean {
    return this === other || this.enclosing?.isWithin(other) === true;
  }

  /** Runs a call; behind one that spans ticks and is running. */
  call(method: Method, args: readonly unknown[], context: Ambient | undefined): Promise<unknown> {
    if (!this.#turns.taken && method.mode === 'sync') {
      const refusal = this.#refusal(method, context);
      if (refusal !== undefined) return Promise.reject(refusal);
      try {
        return Promise.resolve(this.#run(method, args));
      } catch (error) {
        return Promise.reject(failed(method, error));
      }
    }
    const tenant = new Tenant(labelOf(context, method.label));
    return this.#inTurn(method, tenant, context, async () => {
      try {
        return await (method.mode === 'sync' ? this.#run(method, args) : this.#runAsync(method, args, tenant, context));
      } catch (error) {
        throw failed(method, error);
      }
    });
  }

  /** Runs a step of a handler that yields; behind what spans ticks and is running. */
  advance(cursor: Cursor, how: 'pull' | 'end', context: Ambient | undefined): Promise<Pulled> {
    const { method } = cursor;
    return this.#inTurn(method, new Tenant(labelOf(context, method.label)), context, () =>
      Promise.resolve(cursor.advance(this.#connection, how)),
    );
  }

  /** Runs a callback as a transaction of its own inside this one: its failure undoes itself alone. */
  transaction<T>(run: (scope: Scope) => Promise<T>, context: Ambient | undefined): Promise<T> {
    const tenant = new Tenant(nestedLabel('transaction', context));
    const call = { label: 'transaction', access: 'write', site: siteOf(context) } as const;
    return this.#inTurn(call, tenant, context, async () => {
      const inner = this.#nested(call, tenant);
      this.#inner = inner;
      const stopWatching = abandonWithContext(inner, context);
      let begun = false;
      try {
        inner.assertKept();
        this.#connection.control('savepoint');
        begun = true;
        const result = await Promise.race([run(inner), inner.abandoned]);
        await inner.end();
        inner.assertWhole();
        this.#connection.control('release');
        this.#effects.push(...inner.effects);
        return result;
      } catch (error) {
        await inner.end();
        if (begun) this.#undo(error);
        throw withOutcome(error, begun ? 'rolled-back' : 'not-started');
      } finally {
        stopWatching();
        this.#inner = undefined;
      }
    });
  }

  /** Runs a callback that may only read, on what this scope sees. */
  snapshot<T>(run: (scope: Scope) => Promise<T>, context: Ambient | undefined): Promise<T> {
    const tenant = new Tenant(nestedLabel('snapshot', context));
    const call = { label: 'snapshot', access: 'read', site: siteOf(context) } as const;
    return this.#inTurn(call, tenant, context, async () => {
      const inner = this.#nested(call, tenant);
      this.#inner = inner;
      const stopWatching = abandonWithContext(inner, context);
      try {
        inner.assertKept();
        return await Promise.race([run(inner), inner.abandoned]);
      } finally {
        stopWatching();
        await inner.end();
        this.#inner = undefined;
      }
    });
  }

  #nested({ access, site }: Inner, tenant: Tenant): OpenScope {
    const owner = this.#owner;
    return new OpenScope({
      connection: this.#connection,
      access,
      owner,
      tenant,
      site,
      timeout: this.#timeout,
      parent: this,
    });
  }

  #inTurn<T>(call: Inner, tenant: Tenant, context: Ambient | undefined, run: () => Promise<T>): Promise<T> {
    // A handler that is running would otherwise have it wait for its own end, or for longer than its caller can know.
    const misuse = this.#connection.busy ? this.#refusal(call, context) : undefined;
    if (misuse !== undefined) return Promise.reject(misuse);
    return this.#turns.take({ tenant, site: call.site, context, timeout: this.#timeout }, () => {
      const refusal = this.#refusal(call, context);
      return refusal === undefined ? run() : Promise.reject(refusal);
    });
  }

  #refusal(call: Inner, context: Ambient | undefined): Error | undefined {
    const { access } = call;
    const label = labelOf(context, call.label);
    let error: SluiceError | undefined;
    if (!this.#open) error = this.#endedError(label);
    else if (this.#broken !== undefined) error = this.#brokenError();
    else error = this.#connection.refusal(label) ?? this.#readOnly(label, access);
    if (access === 'write' && error !== undefined) error.outcome = 'not-started';
    return error;
  }

  #readOnly(label: string, access: 'read' | 'write'): ReadOnlyError | undefined {
    if (access === 'read' || this.#access === 'write') return undefined;
    return new ReadOnlyError(`${label}: a write inside a ${this.label}; use transaction for writes`);
  }

  #run(method: Method, args: readonly unknown[]): unknown {
    const connection = this.#connection;
    if (method.access === 'read') return connection.read(method, args);
    connection.control('savepoint');
    try {
      const result = connection.write(method, args);
      if (connection.lastWrite.lost) throw this.#brokenError();
      connection.control('release');
      this.#keepEffects();
      return result;
    } catch (error) {
      this.#undo(error);
      throw error;
    }
  }

  async #runAsync(
    method: Method,
    args: readonly unknown[],
    tenant: Tenant,
    context: Ambient | undefined,
  ): Promise<unknown> {
    const connection = this.#connection;
    const deadline = deadlineOf(context, this.#timeout);
    if (method.access === 'write') connection.control('savepoint');
    const run = startHandler(connection, method, args, { owner: this.#owner, tenant, enclosing: this });
    try {
      const result = await withDeadline(run, tenant.label, { context, deadline, abandoned: this.abandoned });
      if (method.access === 'read') return result;
      if (!connection.inTransaction) throw this.#brokenError();
      connection.control('release');
      this.#keepEffects();
      return result;
    } catch (error) {
      if (method.access === 'write') this.#undo(error);
      throw error;
    } finally {
      run.end();
    }
  }

  /** Each runs in the context of its own call, which need not be that of the transaction. */
  #keepEffects(): void {
    for (const effect of this.#connection.takeEffects()) this.#effects.push(AsyncResource.bind(effect));
  }

  #undo(error: unknown): void {
    const connection = this.#connection;
    connection.takeEffects();
    if (connection.inTransaction) {
      connection.control('rollbackTo');
      connection.control('release');
    } else {
      this.#broken = error;
    }
  }

  #endedError(label: string): TransactionEndedError {
    return new TransactionEndedError(`${label}: its ${this.label} has ended; await every call inside the callback`);
  }

  #brokenError(): TransactionEndedError {
    return new TransactionEndedError(
      `${this.label}: a statement rolled back the whole transaction (RAISE(ROLLBACK), OR ROLLBACK, a full disk); nothing of it was kept`,
      { cause: this.#broken },
    );
  }
}

function failed(method: Method, error: unknown): unknown {
  return method.access === 'write' ? withOutcome(error, 'rolled-back') : error;
}
