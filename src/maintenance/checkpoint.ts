/**
 * Keeps the WAL of one file in bounds, for every `Database` that has it open in this thread.
 *
 * SQLite's own automatic checkpoint runs inside COMMIT: a whole batch waits for it, and while readers overlap it costs an
 * fsync with every commit. Our writers have it switched off (`wal_autocheckpoint`), and this is done instead:
 *
 * 1. *A step.* After a commit, at most every few milliseconds, the policy looks how much the database does not have yet.
 *    From some MiB on it asks the lane for a moment between two batches, when the callers have their answers, and runs a
 *    passive checkpoint there. The next writer then starts the WAL from its beginning; the file keeps its length, because
 *    writing over it is cheaper than letting it grow again.
 *    A passive checkpoint holds off nobody, so other processes that commit meanwhile keep the WAL from being empty, and it
 *    would grow for as long as they do. When two steps have not started it over, the next takes the writers' lock if that
 *    is free (`restart`): then nothing is added meanwhile.
 * 2. *The size of a step* follows the disk, `step-size.ts`.
 * 3. *Idle.* A while after the last commit the rest is moved, unless it is too little to be worth an fsync.
 * 4. *The limit.* A WAL file longer than `journal_size_limit` is emptied (truncated) once nobody reads from it. Nothing
 *    here ever waits for a lock.
 * 5. *In the way.* A reader that looks at an old state keeps in the WAL what came after it. The policy tries again when
 *    that reader has come back, when so much has been added that it may pay, and else with growing pauses, since nothing
 *    tells when another process lets go. While the file is over its limit it says who is in the way.
 * 6. *Much at once*, after a long reader or a large transaction, cannot be done in steps: SQLite moves all it can in one
 *    go. That is done in a thread of its own, and here only where there is no thread to be had.
 *
 * @see https://www.sqlite.org/wal.html#avoiding_excessively_large_wal_files
 */
import { type Connection } from '../connection/connection.ts';
import { type CheckpointMode, walBytes, walLimit, WalGauge, walSize } from '../connection/wal.ts';
import { holderOf, type Lease } from '../context/lease.ts';
import { type Holder } from '../errors.ts';
import { checkpointChannel } from '../observe/trace.ts';
import { type WalStats } from '../observe/wal-stats.ts';
import { type Attempt, attemptHere, attemptInThread, type ThreadAttempt } from './attempt.ts';
import { PinWarning } from './pin-warning.ts';
import { STEP, StepSize } from './step-size.ts';

const MIB = 1024 * 1024;
/** Milliseconds between two looks at the WAL. */
const LOOK_EVERY = 5;
/** Bytes that a fast disk takes in a millisecond: a small limit is not passed between two looks. */
const FAST = 2 * MIB;
/** More bytes than this, and than a step, are moved, or cut off, in a thread. */
const HERE_AT_MOST = 8 * MIB;
/** Milliseconds without a commit until the rest is moved, and from how many bytes on it is. */
const IDLE = { after: 1000, least: MIB / 4 } as const;
/** Milliseconds until the next try while something is in the way: the first pause, and the longest. */
const RETRY = { first: 100, longest: 10_000 } as const;
/** Milliseconds that something may be in the way before it is worth a warning. */
const GRACE = 1000;

/** A writer of the file, as the policy sees it. */
export interface WalWriter {
  /** Outside any transaction whenever the lane is free. */
  readonly connection: Connection;
}

/** Readers of the file. */
export interface WalReaders {
  /** The one that was lent first and has not come back. */
  oldest(): Lease | undefined;
}

/** What `checkpoint` came to. */
export interface CheckpointReport {
  /** Whether the WAL is empty now: the database has everything. */
  readonly complete: boolean;
  /** Bytes of the `-wal` file afterwards. */
  readonly size: number;
  /**
   * Where it is not complete: the oldest reader of this thread. `undefined` then means that another process, thread or
   * connection is in the way.
   */
  readonly holder: Holder | undefined;
}

/** Something was in the way of the last checkpoint. */
interface Blocked {
  /** Whom to wait for; `undefined` for nobody of this thread. */
  readonly lease: Lease | undefined;
  /** Since when it has been so without a break. */
  readonly since: number;
  /** The bytes it left. */
  readonly backlog: number;
  readonly pause: number;
  readonly until: number;
}

/**
 * The policy of one WAL.
 *
 * Invariants: a checkpoint begins only while the lane is free or held for it, so that no connection of the lane is in a
 * transaction; there is one at a time; and no failure of one reaches the lane, because the next write meets it anyway.
 */
export class CheckpointPolicy {
  readonly #file: string;
  readonly #walFile: string;
  readonly #between: (chore: () => void) => void;
  readonly #writers = new Set<WalWriter>();
  readonly #readers = new Set<WalReaders>();
  readonly #warning: PinWarning;
  #gauge: WalGauge | undefined;
  #limit: number | undefined;
  #bytesPerPage = 0;
  readonly #step = new StepSize();
  #lookEvery = LOOK_EVERY;
  /** Bytes that the database did not have at the last look. */
  #backlog = 0;
  /** Bytes of the WAL that are in use, moved or not. */
  #length = 0;
  #lookedAt = 0;
  #committedAt = 0;
  #timer: NodeJS.Timeout | undefined;
  #asked = false;
  #thread: ThreadAttempt | undefined;
  #withoutThreads = false;
  #blocked: Blocked | undefined;
  #checkpoints = 0;
  #blockedCount = 0;
  #longest = 0;

  /**
   * @param file its real path
   * @param between has something done once, as soon as the lane is free
   */
  constructor(file: string, between: (chore: () => void) => void) {
    this.#file = file;
    this.#walFile = `${file}-wal`;
    this.#between = between;
    this.#warning = new PinWarning(file);
  }

  /** A writer of the file was opened. Of several limits the smallest counts. */
  addWriter(writer: WalWriter): void {
    const { handle } = writer.connection;
    this.#bytesPerPage = walBytes(handle, 1);
    const limit = walLimit(handle);
    if (limit !== undefined) this.#limit = Math.min(limit, this.#limit ?? limit);
    // So that it is reached only when something is in the way.
    this.#step.limit(Math.max(IDLE.least, (this.#limit ?? Infinity) / 2));
    this.#lookEvery = Math.min(LOOK_EVERY, this.#step.most / FAST);
    this.resumeWriter(writer);
  }

  /** A writer that was added before is in use: it was opened, or its close failed. */
  resumeWriter(writer: WalWriter): void {
    this.#writers.add(writer);
    // A crash, or a migration, may have left much behind.
    this.#committedAt = performance.now();
    if (this.#timer === undefined) this.#arm(IDLE.after);
  }

  /** The writer is about to be closed. Resolves when no checkpoint has the file open any more on its behalf. */
  async removeWriter(writer: WalWriter): Promise<void> {
    this.#writers.delete(writer);
    this.#gauge = undefined;
    if (this.#writers.size > 0) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#blocked = undefined;
    await this.#threadEnded();
  }

  addReaders(readers: WalReaders): void {
    this.#readers.add(readers);
  }

  removeReaders(readers: WalReaders): void {
    this.#readers.delete(readers);
  }

  stats(): WalStats {
    return {
      size: walSize(this.#walFile),
      limit: this.#limit,
      checkpoints: this.#checkpoints,
      blocked: this.#blockedCount,
      longest: this.#longest,
    };
  }

  /** Something may have been committed, and the lane is free. @param now where the caller knows it, about */
  committed(now = performance.now()): void {
    if (this.#writers.size === 0) return;
    this.#committedAt = now;
    if (this.#timer === undefined) this.#arm(IDLE.after);
    if (now - this.#lookedAt < this.#lookEvery) return;
    this.#look(now);
    // With a reader in the way as much again may pay, for by now it may be another reader. What is to start the WAL over
    // needs luck, and so more tries.
    const due = Math.max(this.#isLong ? STEP.least : this.#step.bytes, (this.#blocked?.backlog ?? 0) * 2);
    if (this.#backlog >= due) this.#ask();
  }

  /** A reader came back. */
  returned(lease: Lease): void {
    if (this.#blocked?.lease !== lease) return;
    this.#blocked = { ...this.#blocked, lease: undefined, until: 0 };
    if (this.#backlog >= IDLE.least || this.#isOverLimit()) this.#ask();
  }

  /** Empties the WAL for somebody who holds the lane for as long. @throws the driver's error */
  async empty(connection: Connection): Promise<CheckpointReport> {
    await this.#threadEnded();
    this.#look(performance.now());
    let attempt: Attempt | undefined;
    if (Math.max(this.#backlog, walSize(this.#walFile)) > this.#hereAtMost && this.#startThread('truncate')) {
      attempt = await this.#threadEnded();
    }
    if (attempt === undefined) this.#note((attempt = attemptHere(connection, 'truncate')));
    if (attempt.state === undefined) throw attempt.error;
    const oldest = attempt.complete ? undefined : this.#oldest();
    return {
      complete: attempt.complete,
      size: walSize(this.#walFile),
      holder: oldest === undefined ? undefined : holderOf(oldest),
    };
  }

  /** A step may have become a little longer before its turn came. */
  get #hereAtMost(): number {
    return Math.max(HERE_AT_MOST, this.#step.bytes * 1.25);
  }

  #connection(): Connection | undefined {
    for (const { connection } of this.#writers) return connection;
    return undefined;
  }

  #oldest(): Lease | undefined {
    let oldest: Lease | undefined;
    for (const readers of this.#readers) {
      const lease = readers.oldest();
      if (lease !== undefined && (oldest === undefined || lease.since < oldest.since)) oldest = lease;
    }
    return oldest;
  }

  #isOverLimit(): boolean {
    return this.#limit !== undefined && walSize(this.#walFile) > this.#limit;
  }

  /** Steps have not started the WAL over. */
  get #isLong(): boolean {
    return this.#length >= 2 * this.#step.bytes;
  }

  #look(now: number): void {
    this.#lookedAt = now;
    const connection = this.#connection();
    if (connection === undefined) return;
    try {
      if (this.#gauge?.handle !== connection.handle) this.#gauge = new WalGauge(connection.handle);
      const { pages, moved } = this.#gauge.read();
      this.#backlog = (pages - moved) * this.#bytesPerPage;
      this.#length = pages * this.#bytesPerPage;
      // Another process has moved something: so could we.
      if (this.#blocked !== undefined && this.#backlog < this.#blocked.backlog) this.#blocked = undefined;
    } catch {
      // The disk fails: whoever writes next learns it.
    }
  }

  #ask(): void {
    if (this.#asked || this.#thread !== undefined) return;
    this.#asked = true;
    this.#between(this.#chore);
  }

  readonly #chore = (): void => {
    this.#asked = false;
    const connection = this.#connection();
    if (connection === undefined || this.#thread !== undefined) return;
    const now = performance.now();
    this.#look(now);
    // What was refused a moment ago is left alone under load, where SQLite itself cuts the file back to the limit.
    const over = this.#isOverLimit();
    if (!over && this.#backlog < IDLE.least) {
      this.#blocked = undefined;
      return;
    }
    const truncate = over && now >= (this.#blocked?.until ?? 0);
    if (this.#backlog > this.#hereAtMost && this.#startThread(truncate ? 'truncate' : 'passive')) return;
    if (this.#backlog > 0) {
      const attempt = attemptHere(connection, this.#isLong ? 'restart' : 'passive');
      this.#step.learn(this.#backlog, attempt);
      if (!truncate || !attempt.complete) {
        this.#note(attempt);
        return;
      }
    }
    if (!truncate || (walSize(this.#walFile) > this.#hereAtMost && this.#startThread('truncate'))) return;
    this.#note(attemptHere(connection, 'truncate'));
  };

  /** Whether it was started. */
  #startThread(mode: CheckpointMode): boolean {
    if (this.#withoutThreads) return false;
    try {
      this.#thread = attemptInThread(this.#file, mode);
    } catch {
      this.#withoutThreads = true;
      return false;
    }
    void this.#thread.ended.then((attempt) => {
      this.#thread = undefined;
      // Whatever it was, here it is tried again, and here its error has a name.
      if (attempt.state === undefined) this.#withoutThreads = true;
      this.#note(attempt);
      // What was due meanwhile was turned away.
      if (this.#timer === undefined && this.#writers.size > 0) this.#arm(RETRY.first);
    });
    return true;
  }

  /** What the thread came to, if one runs; `undefined` also when it failed as a thread. */
  async #threadEnded(): Promise<Attempt | undefined> {
    this.#thread?.ref();
    const attempt = await this.#thread?.ended;
    return attempt?.state === undefined ? undefined : attempt;
  }

  #note(attempt: Attempt): void {
    const { mode, state, complete, duration, thread } = attempt;
    const now = performance.now();
    if (state !== undefined) this.#backlog = (state.pages - state.moved) * this.#bytesPerPage;
    if (!thread) this.#longest = Math.max(this.#longest, duration);
    const lease = complete ? undefined : this.#oldest();
    if (complete) {
      this.#checkpoints += 1;
      this.#blocked = undefined;
      this.#warning.reset();
      // Emptied once writers are idle; under load SQLite itself cuts it back to the limit.
      if (this.#writers.size > 0 && this.#isOverLimit()) this.#arm(RETRY.first);
    } else {
      this.#blockedCount += 1;
      if (this.#writers.size > 0) this.#block(lease, now);
    }
    if (checkpointChannel.end.hasSubscribers) {
      const holder = lease === undefined ? undefined : holderOf(lease);
      const size = walSize(this.#walFile);
      checkpointChannel.end.publish({ file: this.#file, mode, thread, complete, size, duration, holder });
    }
  }

  #block(lease: Lease | undefined, now: number): void {
    const before = this.#blocked;
    const pause = before === undefined ? RETRY.first : Math.min(before.pause * 2, RETRY.longest);
    this.#blocked = { lease, since: before?.since ?? now, backlog: this.#backlog, pause, until: now + pause };
    this.#arm(lease === undefined ? pause : Math.min(pause, GRACE));
    this.#warn();
  }

  #warn(): void {
    const blocked = this.#blocked;
    if (blocked === undefined || this.#limit === undefined || performance.now() - blocked.since < GRACE) return;
    const size = walSize(this.#walFile);
    if (size > this.#limit) this.#warning.about(size, this.#limit, this.#oldest());
  }

  #arm(delay: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#wake, delay);
    this.#timer.unref();
  }

  readonly #wake = (): void => {
    this.#timer = undefined;
    const blocked = this.#blocked;
    if (blocked === undefined) {
      const left = this.#committedAt + IDLE.after - performance.now();
      if (left > 0) this.#arm(left);
      else this.#ask();
      return;
    }
    this.#warn();
    if (blocked.lease === undefined || blocked.lease !== this.#oldest()) {
      this.#ask();
      return;
    }
    // A try would be in vain. Only the warning may become due.
    this.#arm(GRACE);
  };
}
