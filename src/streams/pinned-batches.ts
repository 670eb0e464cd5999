/**
 * The rows of a table as they were at the first pull.
 *
 * 1. The first pull that is made outside every transaction and snapshot takes a snapshot, which holds one connection until
 *    the last batch was read, or the stream is ended. Made inside one, it sees what that sees, and holds nothing itself.
 * 2. The body of a `for await` is no callback: what it calls does not belong to the snapshot, and would wait for a connection
 *    that the very loop holds, when it is the only one or all others are taken. So when anybody waits for it, the stream
 *    gives way: it reads what is left into memory, a time slice at a time, gives the connection back, and goes on from memory.
 *    PostgreSQL does so with a cursor WITH HOLD when its transaction commits.
 * 3. The deadline and the signal of its context, and a close that runs out of patience, end the snapshot also between two
 *    pulls; the next pull learns it.
 *
 * | consumer       | stream                   | another caller, or the loop's own body |
 * |----------------|--------------------------|----------------------------------------|
 * | pulls          | takes a snapshot, reads  |                                        |
 * |   (its body)   |                          | calls, and waits                       |
 * |                | reads the rest, gives    | runs                                   |
 * |                | the connection back      |                                        |
 * | pulls          | from memory              |                                        |
 *
 * @see https://www.postgresql.org/docs/current/sql-declare.html WITH HOLD
 */
import { AsyncResource } from 'node:async_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import { type CallSite } from '../context/call-site.ts';
import { type Ambient, labelOf } from '../context/context.ts';
import { type Scope } from '../context/scope.ts';
import { TransactionEndedError } from '../errors.ts';
import { type KeysetPage } from '../repository/page.ts';
import { type Method } from '../repository/methods.ts';
import { type Batch, type Batches } from './batches.ts';
import { type StreamHost } from './stream-host.ts';

/** Rows in one call while the rest is read. */
const REST_BATCH = 1000;
/** Milliseconds of reading the rest after which the event loop turns. */
const SLICE = 5;

/** What a consistent stream is made of. */
export interface PinnedRequest {
  readonly method: Method;
  readonly filter: unknown;
  readonly options: Readonly<Record<string, unknown>>;
  readonly home: Scope | undefined;
  /** Where the stream was made. */
  readonly site: CallSite;
}

/** The batches. */
export class PinnedBatches implements Batches<unknown> {
  readonly #host: StreamHost;
  readonly #request: PinnedRequest;
  /** What the rows are read from, from the first pull on. */
  #source: Promise<Scope> | undefined;
  /** The snapshot, where it is the stream's own: it settles when the connection is given back. */
  #snapshot: Promise<void> | undefined;
  #release: (() => void) | undefined;
  #after: string | undefined;
  #complete = false;
  /** Batches that were read because the connection was wanted (2). */
  readonly #rest: Batch<unknown>[] = [];
  /** The read that runs, or the last one that waits for it. */
  #reading: Promise<unknown> = Promise.resolve();

  constructor(host: StreamHost, request: PinnedRequest) {
    this.#host = host;
    this.#request = request;
  }

  async next(context: Ambient | undefined): Promise<Batch<unknown>> {
    const scope = await (this.#source ??= this.#begin(context));
    return this.#inTurn(async () => this.#rest.shift() ?? (await this.#read(scope, this.#request.options, context)));
  }

  async end(): Promise<void> {
    this.#rest.length = 0;
    this.#release?.();
    // One that never began, or was ended from outside, has nothing left to give back.
    await this.#snapshot?.catch(() => undefined);
  }

  async #begin(context: Ambient | undefined): Promise<Scope> {
    const { method, filter, options, home, site } = this.#request;
    method.check?.(filter, options);
    return this.#host.scopeAt(context, home) ?? this.#pin(method, context, site);
  }

  #pin({ label }: Method, context: Ambient | undefined, site: CallSite): Promise<Scope> {
    let readRest: (() => void) | undefined;
    let wantedAlready = false;
    return new Promise((resolve, reject) => {
      const wanted = AsyncResource.bind(() => {
        wantedAlready = true;
        readRest?.();
      });
      const hold = async (scope: Scope): Promise<void> => {
        const forget = this.#host.pinned.add({ label: labelOf(context, label), site });
        const released = new Promise<void>((release) => {
          this.#release = release;
        });
        readRest = () => {
          readRest = undefined;
          void this.#inTurn(() => this.#readRest(scope, context));
        };
        resolve(scope);
        if (wantedAlready) readRest();
        await released;
        forget();
      };
      this.#snapshot = this.#host.snapshot(hold, context, { label, site, wanted });
      this.#snapshot.catch((error: unknown) => {
        this.#release?.();
        reject(error);
      });
    });
  }

  /** Gives way (2). What goes wrong comes after the rows that were read before it. */
  async #readRest(scope: Scope, context: Ambient | undefined): Promise<void> {
    const { batch } = this.#request.options;
    const options = { ...this.#request.options, batch: Math.max(REST_BATCH, typeof batch === 'number' ? batch : 0) };
    let turnedAt = performance.now();
    // Ended meanwhile, the next read is refused.
    while (!this.#complete) {
      try {
        this.#rest.push(await this.#read(scope, options, context));
      } catch (error) {
        this.#rest.push({ items: [], last: true, failure: { error } });
        this.#release?.();
        return;
      }
      if (performance.now() - turnedAt < SLICE) continue;
      await turn();
      turnedAt = performance.now();
    }
  }

  async #read(scope: Scope, options: unknown, context: Ambient | undefined): Promise<Batch<unknown>> {
    const { method, filter } = this.#request;
    const at = this.#snapshot === undefined ? this.#host.scopeAt(context, scope) : scope;
    let rows: KeysetPage['rows'];
    try {
      const page = await this.#host.call(method, [filter, options, this.#after], context, at);
      ({ rows, next: this.#after } = page as KeysetPage);
    } catch (error) {
      // The snapshot knows better why it ended.
      if (error instanceof TransactionEndedError) await this.#snapshot;
      throw error;
    }
    this.#complete = this.#after === undefined;
    if (this.#complete) this.#release?.();
    return { items: rows, last: this.#complete };
  }

  #inTurn<R>(run: () => Promise<R>): Promise<R> {
    const result = this.#reading.then(run);
    this.#reading = result.catch(() => undefined);
    return result;
  }
}
