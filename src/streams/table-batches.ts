import { type Ambient } from '../context/context.ts';
import { type Scope } from '../context/scope.ts';
import { type KeysetPage } from '../repository/page.ts';
import { type Method } from '../repository/methods.ts';
import { type Batch, type Batches } from './batches.ts';
import { type StreamHost } from './stream-host.ts';

/**
 * The rows of a table, a batch at a time. Each batch is one call like any other, of plain data: the filter, the options, and
 * where the batch before ended. Between two calls nothing is held.
 */
export class TableBatches implements Batches<unknown> {
  readonly #host: StreamHost;
  readonly #method: Method;
  readonly #filter: unknown;
  readonly #options: unknown;
  readonly #home: Scope | undefined;
  #after: string | undefined;

  /** @param home the transaction or snapshot that the stream was made in */
  constructor(host: StreamHost, method: Method, args: readonly unknown[], home: Scope | undefined) {
    this.#host = host;
    this.#method = method;
    [this.#filter, this.#options] = args;
    this.#home = home;
  }

  async next(context: Ambient | undefined): Promise<Batch<unknown>> {
    const args = [this.#filter, this.#options, this.#after];
    const scope = this.#host.scopeAt(context, this.#home);
    const { rows, next } = (await this.#host.call(this.#method, args, context, scope)) as KeysetPage;
    this.#after = next;
    return { items: rows, last: next === undefined };
  }

  end(): Promise<void> {
    return Promise.resolve();
  }
}
