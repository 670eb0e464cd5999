/**
 * The write lane of one file: everything that must be alone with the writer, first come first served, whichever `Database`
 * it came from.
 *
 * 1. Three things stand in the queue: calls (run in batches), turns (a transaction, a backup: the lane is held across
 *    ticks until the turn is given back) and tasks (run at once when they reach the head).
 * 2. The lane runs after the microtasks of the tick in which the first entry arrived, so that callers who come together
 *    share a commit. A caller that was alone many times in a row is taken to stay so: its call runs at once, in its own tick.
 * 3. While something is left in the queue the event loop turns between two batches, and also when the lane has been busy for
 *    a time slice, so that timers and I/O run however many callers there are. A turn costs a lone caller a tenth of a durable
 *    write, so it is not taken for nothing.
 * 4. While another process holds the lock, the head waits and BEGIN is tried again until its deadline; `file-lock.ts` says
 *    when, and when the lane leaves the lock to others.
 * 5. The WAL's checkpoints run between two batches, after the loop has turned, so that nobody's answer waits for one.
 * 6. Every entry has a deadline. One timer serves the whole queue, and only while something is left waiting.
 */
import { retryDelay } from '../connection/busy.ts';
import { type Site } from '../context/call-site.ts';
import { abortError } from '../context/context.ts';
import { type Tenancy, type Tenant } from '../context/holders.ts';
import { holderOf } from '../context/lease.ts';
import { type Holder, InternalError, QueueFullError } from '../errors.ts';
import { CheckpointPolicy } from '../maintenance/checkpoint.ts';
import { type BatchTrace, batchChannel } from '../observe/trace.ts';
import { Batch, type BatchEnd, type CommitBusy } from './batch.ts';
import { FileLock } from './file-lock.ts';
import { commitLater } from './late-commit.ts';
import { runAlone } from './lone-call.ts';
import { type LaneEntry, LaneQueue } from './lane-queue.ts';
import { type Seat } from './seat.ts';
import { waitedTooLong } from './waited-too-long.ts';
import { type WriteCall } from './write-call.ts';

/** So many batches of one call in a row, and the next call runs at once. */
const ALONE = 8;

const NOW = Promise.resolve();

/** Who has the lane across ticks. */
interface LaneHolder {
  readonly seat: Seat;
  readonly label: string;
  readonly since: number;
  readonly site?: Site | undefined;
  readonly tenant?: Tenant | undefined;
  readonly wanted?: (() => void) | undefined;
}

/** The lane. */
export class WriteLane implements Tenancy {
  readonly name: string;
  /** Keeps the WAL in bounds; `undefined` where there is none. */
  readonly checkpoints: CheckpointPolicy | undefined;
  /** Against the writers of other processes. */
  readonly lock = new FileLock();
  readonly #queue: LaneQueue;
  #holder: LaneHolder | undefined;
  /** The lane is running, or somebody is on the way to run it. */
  #scheduled = false;
  /** When the event loop was last seen to turn. */
  #turnedAt = 0;
  /** How many batches in a row had one call. */
  #alone = 0;
  /** A call has run at once in this run of synchronous code: what follows it waits for the end of the tick, and shares. */
  #ranAtOnce = false;
  /** How often in a row another process was found holding the lock. */
  #refusals = 0;
  #chore: (() => void) | undefined;

  /** @param file its real path, also for messages */
  constructor(file: string, journal: 'wal' | 'no-wal') {
    this.name = `the write lane of ${file}`;
    this.#queue = new LaneQueue((late) => {
      this.#expire(late);
    });
    if (journal === 'no-wal') return;
    this.checkpoints = new CheckpointPolicy(file, (chore) => {
      this.#between(chore);
    });
  }

  /** Entries that wait. */
  get length(): number {
    return this.#queue.length;
  }

  /** Who holds the lane across ticks, if anybody does. */
  get holder(): Holder | undefined {
    if (this.#holder === undefined) return undefined;
    return holderOf(this.#holder);
  }

  get tenants(): readonly (Tenant | undefined)[] {
    return this.#holder === undefined ? [] : [this.#holder.tenant];
  }

  /** Whether this `Database` holds the lane across ticks. */
  isHeldBy(seat: Seat): boolean {
    return this.#holder?.seat === seat;
  }

  /**
   * Queues an entry.
   *
   * @throws {QueueFullError} at once when its `Database` has as many waiting as it may, and with what its close gave up with
   */
  submit(entry: LaneEntry): void {
    const { seat } = entry;
    const refusal = entry.kind === 'close' ? undefined : seat.running.refusal(entry.label);
    if (refusal !== undefined) throw refusal;
    if (seat.queued >= seat.maxQueue && entry.kind !== 'close') {
      throw new QueueFullError(
        `${entry.label}: ${seat.maxQueue} calls are waiting for the write lane already; ` +
          'slow the callers down, or raise the option "maxQueue"',
        { limit: seat.maxQueue },
      );
    }
    const idle = this.#holder === undefined && !this.#scheduled;
    if (idle && entry.kind === 'call' && this.#isAlone(entry) && this.#opensAtOnce(seat)) {
      this.#runAtOnce(entry);
      return;
    }
    this.#queue.push(entry);
    if (this.#holder !== undefined || this.#refusals > 0) this.#queue.watch(entry.deadline);
    if (entry.kind === 'call') entry.wait();
    if (idle) this.#runAfterThisTick();
    this.#askHolder();
  }

  /** A holder that can give the lane back early is asked to when somebody waits. */
  #askHolder(): void {
    const wanted = this.#holder?.wanted;
    if (wanted === undefined) return;
    if (this.length > 0) wanted();
  }

  /** Takes one entry out, wherever it stands; whether it was still waiting. */
  drop(entry: LaneEntry): boolean {
    return this.#queue.drop(entry);
  }

  /** Takes out every entry that matches; they are the caller's to reject. */
  extract(matches: (entry: LaneEntry) => boolean): LaneEntry[] {
    return this.#queue.extract(matches);
  }

  /** Has the close of a `Database` go on as soon as that does not hold the lane itself, whoever stands before it. */
  letPass(seat: Seat): void {
    const close = this.#queue.extract((entry) => entry.seat === seat && entry.kind === 'close');
    if (this.isHeldBy(seat)) this.#queue.putBack(close);
    else for (const entry of close) if (entry.kind === 'close') entry.start();
  }

  /** Gives a turn back. */
  release(): void {
    if (this.#holder === undefined) throw new InternalError('the write lane was released while nobody held it');
    const { seat } = this.#holder;
    this.#holder = undefined;
    this.lock.released();
    this.checkpoints?.committed();
    if ((this.#queue.length === 0 && this.#chore === undefined) || this.#scheduled) return;
    if (this.#isHogging(seat)) this.#runAfterTheLoopTurned();
    else this.#runAfterThisTick();
  }

  /** Whether timers and I/O have waited for a time slice. */
  #isHogging({ limits }: Seat): boolean {
    return performance.now() - this.#turnedAt >= limits.slice;
  }

  /** Has something done while nobody holds the lane; it is nobody's turn and stands in no queue. */
  #between(chore: () => void): void {
    this.#chore = chore;
    if (this.#holder === undefined && !this.#scheduled) this.#runAfterTheLoopTurned();
  }

  /** A handler that is running on the connection, and calls the api, is company too. */
  #isAlone({ method, seat }: WriteCall): boolean {
    return (
      this.#alone >= ALONE &&
      !this.#ranAtOnce &&
      method.mode === 'sync' &&
      !seat.connection.busy &&
      this.lock.pause === 0
    );
  }

  #runAfterThisTick(): void {
    this.#scheduled = true;
    // From a microtask nextTick comes after all other microtasks: whoever is about to call in this tick still joins.
    queueMicrotask(() => {
      process.nextTick(this.#run);
    });
  }

  #runAfterTheLoopTurned(): void {
    this.#scheduled = true;
    setImmediate(this.#turned);
    if (this.length > 0) this.#watchAll();
  }

  #runIn(delay: number): void {
    this.#scheduled = true;
    setTimeout(this.#run, delay);
    this.#watchAll();
  }

  readonly #run = (): void => {
    const chore = this.#chore;
    if (chore !== undefined && this.#holder === undefined) {
      this.#chore = undefined;
      chore();
    }
    while (this.#holder === undefined) {
      const entry = this.#queue.peek();
      if (entry === undefined) break;
      const pause = entry.kind === 'call' || entry.kind === 'turn' ? this.lock.pause : 0;
      if (pause > 0) {
        this.#runIn(pause);
        return;
      }
      if (entry.kind === 'call') {
        if (this.#begin(entry.seat)) this.#runBatch(entry.seat);
        return;
      }
      if (this.#isHogging(entry.seat)) {
        this.#runAfterTheLoopTurned();
        return;
      }
      this.#queue.take();
      if (entry.kind === 'turn') {
        const { seat, label, site, tenant, wanted } = entry;
        this.#holder = { seat, label, since: performance.now(), site, tenant, wanted };
      }
      entry.start();
      this.#askHolder();
    }
    this.#rest();
  };

  readonly #turned = (): void => {
    this.#turnedAt = performance.now();
    this.#run();
  };

  /** Nothing is left to do until the next entry comes. */
  #rest(): void {
    this.#scheduled = false;
    this.#watchAll();
  }

  /** Opens a transaction for the head of the queue. Where it cannot be had the lane is on its way to try again. */
  #begin(seat: Seat): boolean {
    try {
      if (!seat.connection.takeWriteLock()) {
        seat.stats.busyRetries += 1;
        this.#refusals += 1;
        this.#runIn(this.lock.refused(seat.connection.dataVersion));
        return false;
      }
    } catch (error) {
      // BEGIN itself failed, for example because the disk did: the head learns it, and the next one tries anew.
      this.#queue.take()?.reject(error, 'not-started');
      this.#runAfterTheLoopTurned();
      return false;
    }
    this.#opened(this.length);
    return true;
  }

  /** Opens a transaction for a call that nobody waits with. Where it cannot be had the call waits like any other, and learns why. */
  #opensAtOnce({ connection }: Seat): boolean {
    try {
      if (!connection.takeWriteLock()) return false;
    } catch {
      return false;
    }
    this.#opened(1);
    return true;
  }

  #opened(queued: number): void {
    this.#refusals = 0;
    this.lock.taken();
    if (batchChannel.start.hasSubscribers) batchChannel.start.publish({ queued });
  }

  /**
   * Runs the only call there is, in its caller's tick and async context. A batch of one with nothing to keep for others, which
   * never was in the queue: after the sync of a commit all code and data are cold, and a batch's bookkeeping then costs a tenth
   * of a durable write. Its transaction is open.
   */
  #runAtOnce(call: WriteCall): void {
    const { seat, since } = call;
    this.#scheduled = true;
    call.gone = true;
    this.#holder = { seat, label: call.label, since };
    const end = runAlone(seat.connection, call, seat.stats);
    if ('kind' in end) {
      call.wait();
      this.#finish(seat, end);
      return;
    }
    if (batchChannel.end.hasSubscribers) {
      batchChannel.end.publish({ outcome: 'done', calls: 1, duration: performance.now() - since });
    }
    this.#holder = undefined;
    this.lock.released();
    if ('error' in end && seat.connection.inTransaction) seat.replace();
    seat.stats.batches += 1;
    seat.stats.batchSize.record(1);
    this.#ranAtOnce = true;
    // Runs before whoever awaits the call goes on, and after all that is in the same run of synchronous code.
    void NOW.then(this.#standAlone);
    // Still scheduled: what an effect calls waits for the end of the tick, or a chain of effects would never return.
    call.settle(end);
    this.checkpoints?.committed(since);
    const hogging = since - this.#turnedAt >= 2 * seat.limits.slice;
    if (hogging || this.#queue.length > 0 || this.#chore !== undefined) this.#runAfterTheLoopTurned();
    else this.#scheduled = false;
  }

  readonly #standAlone = (): void => {
    this.#ranAtOnce = false;
  };

  #runBatch(seat: Seat): void {
    const peek = (): WriteCall | undefined => {
      const entry = this.#queue.peek();
      return entry?.kind === 'call' && entry.seat === seat ? entry : undefined;
    };
    const take = (): WriteCall | undefined => {
      const call = peek();
      if (call !== undefined) this.#queue.take();
      return call;
    };
    // Held from here: a handler that calls the api must not read, or write, into the open batch.
    const head = peek();
    this.#holder = {
      seat,
      label: head?.label ?? 'a batch',
      since: performance.now(),
      tenant: head?.method.mode === 'async' ? head.tenant : undefined,
    };
    const batch = new Batch(seat.connection, { peek, take }, seat.limits, seat.stats);
    let end: BatchEnd | Promise<BatchEnd>;
    try {
      end = batch.run();
    } catch (error) {
      end = batch.fail(error);
    }
    if (end instanceof Promise) {
      const failed = (error: unknown): BatchEnd => batch.fail(error);
      void this.#finishLater(seat, end.catch(failed));
    } else {
      this.#finish(seat, end);
    }
  }

  /** A batch with an asynchronous handler holds the lane until it has ended. */
  async #finishLater(seat: Seat, end: Promise<BatchEnd>): Promise<void> {
    this.#watchAll();
    this.#finish(seat, await end);
  }

  #finish(seat: Seat, end: BatchEnd): void {
    if (end.kind === 'commit-busy') {
      this.#commitLater(seat, end);
      return;
    }
    if (batchChannel.end.hasSubscribers) batchChannel.end.publish(this.#trace(end));
    this.#holder = undefined;
    this.lock.released();
    this.#refusals = 0;
    if (seat.connection.inTransaction) seat.replace();
    seat.stats.batches += 1;
    const alone = end.kind === 'done' && end.ended.length === 1 && this.length === 0;
    this.#alone = alone ? this.#alone + 1 : 0;
    if (end.kind === 'undone') {
      seat.stats.replays += end.again.length;
      for (const [at, call] of end.again.entries()) call.last = at >= end.together - 1;
    }
    this.#putBack(seat, end.again);
    // Before anybody learns of the end, so that whoever calls again at once finds the lane on its way.
    const hogging = this.#isHogging(seat);
    if (hogging || this.#queue.peek() !== undefined || this.#chore !== undefined) this.#runAfterTheLoopTurned();
    else this.#rest();
    if (end.kind === 'done') {
      seat.stats.batchSize.record(end.ended.length);
      for (const { call, result } of end.ended) call.settle(result);
    } else {
      end.guilty?.call.reject(end.guilty.error, 'rolled-back');
    }
    this.checkpoints?.committed();
  }

  #trace(end: Exclude<BatchEnd, { kind: 'commit-busy' }>): BatchTrace {
    const since = this.#holder?.since ?? performance.now();
    return {
      outcome: end.kind,
      calls: end.kind === 'done' ? end.ended.length : end.again.length + (end.guilty === undefined ? 0 : 1),
      duration: performance.now() - since,
    };
  }

  #putBack(seat: Seat, calls: readonly WriteCall[]): void {
    const wanted = calls.filter((call) => {
      const signal = call.context?.signal;
      const refusal = signal?.aborted === true ? abortError(call.label, signal) : seat.running.refusal(call.label);
      if (refusal === undefined) return true;
      call.reject(refusal, 'rolled-back');
      return false;
    });
    for (const call of wanted) {
      call.context?.progress?.undone();
      call.undone ??= { error: undefined };
    }
    this.#queue.putBack(wanted);
  }

  /** The transaction stays open, and the lane held. */
  #commitLater(seat: Seat, end: CommitBusy): void {
    const since = this.#holder?.since ?? performance.now();
    this.#holder = { seat, label: 'commit, waiting for a reader of another process', since };
    this.#watchAll();
    commitLater(seat, end, retryDelay(this.#refusals++), (next) => {
      this.#finish(seat, next);
    });
  }

  #watchAll(): void {
    if (this.length === 0) this.#refusals = 0;
    this.#queue.watchAll();
  }

  #expire(late: readonly LaneEntry[]): void {
    const { holder } = this;
    const otherProcess = holder === undefined && this.#refusals > 0;
    for (const entry of late) entry.reject(waitedTooLong(entry, { holder, otherProcess }), 'not-started');
    this.#watchAll();
  }
}
