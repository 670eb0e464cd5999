import { abortError, tenantsOf, timerDelay } from '../context/context.ts';
import { type Tenancy, type Tenant, waitInside } from '../context/holders.ts';
import { type Connection } from '../connection/connection.ts';
import { holderOf, type Lease } from '../context/lease.ts';
import { describeHolder, QueueFullError, TimeoutError } from '../errors.ts';
import { type ReaderStats } from '../observe/reader-stats.ts';
import { Fifo } from './fifo.ts';
import { type SnapshotRequest } from './snapshot.ts';

/** Milliseconds of serving readers after which the event loop turns. */
const SLICE = 5;

interface ReaderLease extends Lease {
  readonly tenant: Tenant;
  /** Asks whoever holds it to give it back early; absent where that cannot be, or was done. */
  wanted: (() => void) | undefined;
}

/** Who leases one. */
type Borrower = Pick<SnapshotRequest, 'tenant' | 'site' | 'deadline' | 'context'>;

interface Waiter {
  readonly label: string;
  readonly resolve: (connection: Connection) => void;
  readonly reject: (error: Error) => void;
}

/**
 * The readers of one `Database`: opened when first needed, at most `max`, lent to one caller at a time.
 *
 * A synchronous read borrows an idle reader for the length of a function call and waits for nothing. A snapshot leases
 * one across ticks; when all are leased, whoever comes next waits, in order and until its deadline, and for each who waits
 * one holder that can give its reader back early is asked to. One reader more, opened when first needed, is never leased:
 * that is where the generators of handlers live, between whose steps nothing is held.
 */
export class ReadLanes implements Tenancy {
  readonly name: string;
  readonly #open: () => Connection;
  readonly #max: number;
  readonly #maxQueue: number;
  readonly #idle: Connection[] = [];
  readonly #waiting = new Fifo<Waiter>();
  /** In the order in which they were lent. */
  readonly #leases = new Map<Connection, ReaderLease>();
  readonly #returned: (lease: Lease) => void;
  #unleased: Connection | undefined;
  #allWanted = false;
  /** When the event loop was last seen to turn. */
  #turnedAt = 0;
  #repaired = 0;
  #discarded = 0;

  /**
   * @param file for messages
   * @param returned told of each lease that ended, when its reader looks at no old state any more
   */
  constructor(
    open: () => Connection,
    { file, max, maxQueue }: { readonly file: string; readonly max: number; readonly maxQueue: number },
    first: Connection | undefined,
    returned: (lease: Lease) => void,
  ) {
    this.name = `a reader of ${file}`;
    this.#returned = returned;
    if (first !== undefined) this.#idle.push(first);
    this.#open = open;
    this.#max = max;
    this.#maxQueue = maxQueue;
  }

  /** While every reader is leased: whoever waits needs one of them to come back. */
  get tenants(): readonly Tenant[] {
    return this.#leases.size < this.#max ? [] : [...this.#leases.values()].map(({ tenant }) => tenant);
  }

  /** Each reader that is leased: a close needs all of them back. */
  taken(): readonly Tenancy[] {
    return [...this.#leases.values()].map(({ tenant }) => ({ name: this.name, tenants: [tenant] }));
  }

  get size(): number {
    return this.#idle.length + this.#leases.size;
  }

  stats(): ReaderStats {
    const oldest = this.oldest();
    return {
      open: this.size + (this.#unleased === undefined ? 0 : 1),
      leased: this.#leases.size,
      waiting: this.#waiting.length,
      oldest: oldest === undefined ? undefined : holderOf(oldest),
      repaired: this.#repaired,
      discarded: this.#discarded,
    };
  }

  /** The lease that began first of those that have not ended. */
  oldest(): Lease | undefined {
    for (const lease of this.#leases.values()) return lease;
    return undefined;
  }

  /** A reader that is free right now, still owned by the lanes: for a synchronous read. */
  idle(): Connection | undefined {
    const connection = this.#idle.at(-1);
    if (connection !== undefined) return connection;
    if (this.size >= this.#max) return undefined;
    const opened = this.#open();
    this.#idle.push(opened);
    return opened;
  }

  /** The reader that is never leased: for one step of a handler that yields. */
  unleased(): Connection {
    const reader = this.#unleased;
    if (reader?.inTransaction === true && reader.makeClean() === 'broken') {
      this.#discard(reader);
      this.#unleased = undefined;
    }
    return (this.#unleased ??= this.#open());
  }

  /**
   * Leases a reader.
   *
   * @param wanted asks whoever has it to give it back early
   * @throws {TimeoutError} when none came back in time, `AbortError` when the signal aborts first, {@link QueueFullError} at once
   */
  lease({ tenant, site, deadline, context }: Borrower, wanted?: () => void): Promise<Connection> {
    const { label } = tenant;
    const signal = context?.signal;
    if (signal?.aborted === true) return Promise.reject(abortError(label, signal));
    const take = (connection: Connection): Connection => {
      this.#leases.set(connection, { label, tenant, since: performance.now(), site, wanted });
      if (this.#allWanted) this.askForAll();
      else if (this.#waiting.length > 0) this.#askForOne();
      return connection;
    };
    if (this.#waiting.length === 0 && this.idle() !== undefined) {
      const connection = this.#idle.pop();
      if (connection !== undefined) return Promise.resolve(take(connection));
    }
    if (this.#waiting.length >= this.#maxQueue) {
      const message =
        `${label}: ${this.#maxQueue} calls are waiting for a reader already; ` +
        'make snapshots shorter, or raise the options "readers" or "maxQueue"';
      return Promise.reject(new QueueFullError(message, { limit: this.#maxQueue }));
    }
    const since = performance.now();
    let endWait: (() => void) | undefined;
    try {
      const around = tenantsOf(context);
      if (around.length > 0) endWait = waitInside(around, this, label);
    } catch (error) {
      return Promise.reject(error);
    }
    return new Promise((resolve, reject) => {
      const giveUp = (error: () => Error): void => {
        if (this.#waiting.extract((other) => other === waiter).length > 0) waiter.reject(error());
      };
      const timer = setTimeout(
        () => {
          giveUp(() => this.#timeout(label, performance.now() - since));
        },
        timerDelay(deadline - since),
      );
      const abort = (): void => {
        if (signal !== undefined) giveUp(() => abortError(label, signal));
      };
      signal?.addEventListener('abort', abort, { once: true });
      const over = (): void => {
        endWait?.();
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
      };
      const waiter: Waiter = {
        label,
        resolve(connection) {
          over();
          resolve(take(connection));
        },
        reject(error) {
          over();
          reject(error);
        },
      };
      this.#waiting.push(waiter);
      this.#askForOne();
    });
  }

  #askForOne(): void {
    for (const lease of this.#leases.values()) if (ask(lease)) return;
  }

  /** A close needs every reader: whoever can give one back early is asked to, and whoever comes to one later. */
  askForAll(): void {
    this.#allWanted = true;
    for (const lease of this.#leases.values()) ask(lease);
  }

  /** The close failed. */
  resume(): void {
    this.#allWanted = false;
  }

  /** Takes a reader back. One that cannot be made clean is closed; the next caller opens another. */
  giveBack(connection: Connection): void {
    const lease = this.#leases.get(connection);
    this.#leases.delete(connection);
    const state = connection.makeClean();
    if (state === 'broken') this.#discard(connection);
    else this.#idle.push(connection);
    if (state === 'repaired') this.#repaired += 1;
    if (lease !== undefined) this.#returned(lease);
    if (this.#waiting.length === 0) return;
    // However many wait, timers and I/O run between them.
    if (performance.now() - this.#turnedAt < SLICE) this.#serve();
    else setImmediate(this.#turned);
  }

  readonly #turned = (): void => {
    this.#turnedAt = performance.now();
    this.#serve();
  };

  #discard(connection: Connection): void {
    this.#discarded += 1;
    try {
      connection.close();
    } catch {
      // A statement is under way on it, and nothing but its end lets the driver close it.
    }
  }

  #serve(): void {
    const waiter = this.#waiting.peek();
    if (waiter === undefined) return;
    try {
      if (this.idle() === undefined) return;
    } catch (error) {
      this.#waiting.shift();
      waiter.reject(error as Error);
      return;
    }
    this.#waiting.shift();
    const next = this.#idle.pop();
    if (next !== undefined) waiter.resolve(next);
  }

  /** Rejects whoever waits. */
  abandon(reason: (label: string) => Error): void {
    for (const waiter of this.#waiting.extract(() => true)) waiter.reject(reason(waiter.label));
  }

  /** Every reader that is not leased; all there are when nothing runs any more. */
  all(): readonly Connection[] {
    return this.#unleased === undefined ? this.#idle : [...this.#idle, this.#unleased];
  }

  /** Closes every reader. */
  close(): void {
    for (const connection of this.#idle.splice(0)) connection.close();
    this.#unleased?.close();
    this.#unleased = undefined;
  }

  #timeout(label: string, waited: number): TimeoutError {
    const oldest = this.oldest();
    const holder = oldest === undefined ? undefined : holderOf(oldest);
    return new TimeoutError(
      `${label}: waited ${Math.round(waited)} ms for one of ${this.#max} readers` +
        (holder === undefined ? '' : `; one is held by ${describeHolder(holder)}`) +
        '; make snapshots shorter, or raise the option "readers"',
      { wait: 'reader', holder },
    );
  }
}

/** Whether somebody was asked. */
function ask(lease: ReaderLease): boolean {
  const { wanted } = lease;
  lease.wanted = undefined;
  wanted?.();
  return wanted !== undefined;
}
