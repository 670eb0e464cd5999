import { Cursor, type Pulled } from '../connection/cursor.ts';
import { type Ambient, isOver, unawaited } from '../context/context.ts';
import { type Scope } from '../context/scope.ts';
import { ContextError } from '../errors.ts';
import { type Method } from '../repository/methods.ts';
import { type Batch, type Batches } from './batches.ts';
import { type StreamHost } from './stream-host.ts';

/**
 * What a handler yields, some items at a time: each step is one read, and between two of them nothing is held.
 *
 * It belongs to where its first step was made: to a transaction or snapshot, whose state it reads, or to none. One of none
 * cannot go on inside a transaction of the same database, because its connection may be the very one that the transaction
 * holds, and each would wait for the other.
 */
export class HandlerBatches implements Batches<unknown> {
  readonly #host: StreamHost;
  readonly #cursor: Cursor;
  #home: Scope | undefined;
  #begun = false;
  #done = false;

  /** @param home the transaction or snapshot that the stream was made in */
  constructor(host: StreamHost, method: Method, args: readonly unknown[], home: Scope | undefined) {
    this.#host = host;
    this.#cursor = new Cursor(method, args);
    this.#home = home;
  }

  async next(context: Ambient | undefined): Promise<Batch<unknown>> {
    const scope = this.#host.scopeAt(context, this.#home);
    if (!this.#begun) this.#home = scope;
    else if (this.#home === undefined && scope !== undefined) throw this.#misplaced(scope);
    this.#begun = true;
    const { items, done, failure } = await this.#host.advance(this.#cursor, 'pull', context, scope);
    this.#done = done;
    return { items, last: done, failure };
  }

  /** Runs the generator's `finally`: as soon as that can be done, however long whoever ends it can wait for it. */
  async end(context: Ambient | undefined): Promise<void> {
    if (!this.#begun || this.#done) return;
    const scope = this.#host.scopeAt(context, this.#home);
    const home = this.#home === undefined ? undefined : scope;
    // Inside a transaction that it does not belong to it has to wait for that one's end, and nobody for it.
    const ended = scope === home && !isOver(context) && (await this.#ended(context, home));
    // Refused at once where no step can be made any more: its transaction is over, or the database closed.
    if (!ended) this.#host.advance(this.#cursor, 'end', unawaited(context), this.#home).catch(() => undefined);
  }

  /** Whether it has ended before its caller has to go on. @throws what the generator throws */
  async #ended(context: Ambient | undefined, home: Scope | undefined): Promise<boolean> {
    let pulled: Pulled;
    try {
      pulled = await this.#host.advance(this.#cursor, 'end', context, home);
    } catch {
      return false;
    }
    if (pulled.failure !== undefined) throw pulled.failure.error;
    return true;
  }

  #misplaced(scope: Scope): ContextError {
    return new ContextError(
      `${this.#cursor.method.label}: begun outside the ${scope.label} that it is pulled in, which it cannot join any more; ` +
        'begin it inside, or pull it outside',
    );
  }
}
