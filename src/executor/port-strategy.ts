/**
 * A strategy whose connections other threads have: one thread that writes, and perhaps some that only read. Each is reached
 * through a {@link PortClient}.
 *
 * A read goes to the reader with the least to do, by what its calls took before. It goes to the writer where there are no
 * readers, or where it is short and all of them have long calls. It sees every write that was acknowledged before it was made:
 * the write was committed before its answer left, and the read begins after that has arrived.
 */
import { type Ambient } from '../context/context.ts';
import { type Tenant, waitTogether } from '../context/holders.ts';
import { type Cursor, type Pulled } from '../connection/cursor.ts';
import { type Holding } from '../lanes/holding.ts';
import { type Scope } from '../context/scope.ts';
import { type CheckpointReport } from '../maintenance/checkpoint.ts';
import { type Method, type MethodTable } from '../repository/methods.ts';
import { type Strategy, type StrategyStats } from '../strategies/strategy.ts';
import { type PortClient } from './client.ts';

/** Milliseconds for which a read, at most, may keep the writer busy. */
const SHORT = 5;
/** It goes there where it would wait for a reader so many milliseconds at least, and so many times what it takes itself. */
const LONG = 2;
const LONGER = 4;

/** Calls through ports. */
export class PortStrategy implements Strategy {
  readonly owner = {};
  readonly methods: MethodTable;
  readonly writer: PortClient;
  readonly readers: readonly PortClient[];
  #next = 0;
  /** Where the generators of handlers that yield are. */
  readonly #cursors = new WeakMap<Cursor, PortClient>();

  constructor(methods: MethodTable, writer: PortClient, readers: readonly PortClient[]) {
    this.methods = methods;
    this.writer = writer;
    this.readers = readers;
  }

  call(method: Method, args: readonly unknown[], context: Ambient | undefined): Promise<unknown> {
    const client = method.access === 'write' ? this.writer : this.reader(method);
    return client.call(method, args, context);
  }

  transaction<T>(run: (scope: Scope) => Promise<T>, context: Ambient | undefined): Promise<T> {
    return this.writer.hold('transaction', run, context);
  }

  advance(cursor: Cursor, how: 'pull' | 'end', context: Ambient | undefined): Promise<Pulled> {
    let client = this.#cursors.get(cursor);
    if (client === undefined) this.#cursors.set(cursor, (client = this.reader()));
    return client.advance(cursor, how, context);
  }

  snapshot<T>(run: (scope: Scope) => Promise<T>, context: Ambient | undefined, holding?: Holding): Promise<T> {
    return this.reader().hold('snapshot', run, context, undefined, holding);
  }

  /** The WAL is the writer's affair, which knows no readers but its own: whom of the others it may be is found here. */
  async checkpoint(context: Ambient | undefined): Promise<CheckpointReport> {
    const report = await this.writer.checkpoint(context);
    if (report.complete || report.holder !== undefined) return report;
    return { ...report, holder: this.stats().readers.oldest };
  }

  running(): readonly string[] | Promise<readonly string[]> {
    return this.waitedFor();
  }

  /** What has begun for this thread. */
  protected waitedFor(): readonly string[] {
    return this.clients().flatMap((client) => client.running());
  }

  /** What the threads last said, a few milliseconds ago at most. */
  stats(): StrategyStats {
    const writer = this.writer.link.stats;
    const all = [writer, ...this.readers.map(({ link }) => link.stats)];
    const sum = (count: (stats: StrategyStats['readers']) => number): number =>
      all.reduce((total, stats) => total + (stats === undefined ? 0 : count(stats.readers)), 0);
    const oldest = all
      .map((stats) => stats?.readers.oldest)
      .reduce((one, other) => ((other?.heldFor ?? 0) > (one?.heldFor ?? 0) ? other : one), undefined);
    return {
      writes: writer?.writes,
      readers: {
        open: sum(({ open }) => open),
        leased: sum(({ leased }) => leased),
        waiting: sum(({ waiting }) => waiting),
        oldest,
        repaired: sum(({ repaired }) => repaired),
        discarded: sum(({ discarded }) => discarded),
      },
      wal: writer?.wal,
      advice: [...new Set(all.flatMap((stats) => stats?.advice ?? []))],
    };
  }

  closeInside(tenants: readonly Tenant[]): () => void {
    return waitTogether(
      tenants,
      this.clients().flatMap((client) => client.taken()),
      'close',
    );
  }

  async idle(): Promise<void> {
    await Promise.all(this.clients().map((client) => client.idle()));
  }

  abandon(reason: (label: string) => Error): void {
    for (const client of this.clients()) client.abandon(reason);
  }

  close(): void | Promise<void> {
    for (const client of this.clients()) client.close();
  }

  protected clients(): readonly PortClient[] {
    return [this.writer, ...this.readers];
  }

  /** The client for a read; of several that are as busy, each in turn. A call that is known to be short waits for no long one. */
  reader(method?: Method): PortClient {
    let best: PortClient | undefined;
    let least = Infinity;
    const { length } = this.readers;
    for (let at = 0; at < length; at++) {
      const client = this.readers[(this.#next + at) % length];
      if (client?.link.attached !== true) continue;
      const { load } = client;
      if (load < least) [best, least] = [client, load];
    }
    this.#next += 1;
    if (best === undefined) return this.writer;
    const { writer } = this;
    const cost = method === undefined ? Infinity : (writer.costOf(method) ?? Infinity);
    if (least < LONG || least < cost * LONGER || cost > SHORT || !writer.link.attached) return best;
    return writer.load < SHORT ? writer : best;
  }
}
