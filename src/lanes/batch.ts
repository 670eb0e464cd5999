/**
 * One batch: several callers' writes in one transaction, each inside its own savepoint.
 *
 * 1. BEGIN IMMEDIATE. When another process holds the lock nothing has started: the batch is tried again later.
 * 2. Each call runs inside a savepoint. A call that throws is undone to its savepoint; the others stay. A method that has
 *    earned trust runs without one: when it throws after it has written, the batch is undone and replayed, and the method
 *    has its savepoint until it has earned trust again. Callers see no difference but the time.
 * 3. Some failures end the whole transaction at once (RAISE(ROLLBACK), OR ROLLBACK, a full disk, an I/O error). After each
 *    call `inTransaction` is looked at: if it is gone, that call is guilty, and every other call of the batch is undone. What
 *    it was told may rest on rows of theirs that will never be committed, because their callers give up before the replay;
 *    so it fails at once only where nobody's write stood before it, and runs again behind them otherwise.
 * 4. An asynchronous handler is awaited inside its savepoint until the microtask queue is empty. One that has not settled
 *    by then waits for something else: it is undone, the batch ends, and it runs again in a transaction of its own.
 * 5. COMMIT. A deferred foreign key passes its savepoint and fails here, and nobody can tell whose it was: everything is
 *    rolled back and every call is undone.
 * 6. What was undone goes back to the head of the lane, in order, to run again: after (3) the innocent as one batch and the
 *    guilty one alone after it, after (5) each alone, so that only the guilty one fails.
 *
 * A call's promise settles only after (5) has committed what it did, or what it saw.
 */
import { type Connection } from '../connection/connection.ts';
import { swallowed } from '../connection/guarded-client.ts';
import { AbortError, BusyError, ConstraintError } from '../errors.ts';
import { type LaneStats } from '../observe/lane-stats.ts';
import { type BatchLimits } from './limits.ts';
import { runAsyncCall } from './async-call.ts';
import { type CallResult, Failed, Succeeded, type WriteCall } from './write-call.ts';

/** Milliseconds after which a handler is one that takes its time. */
const LONG = 1;

/** How a call ended inside its batch; it counts once the batch has committed. */
export class Ended {
  readonly call: WriteCall;
  readonly result: CallResult;

  constructor(call: WriteCall, result: CallResult) {
    this.call = call;
    this.result = result;
  }
}

/** COMMIT found a reader of another process in its way: the transaction is still open, commit again. */
export interface CommitBusy {
  readonly kind: 'commit-busy';
  readonly ended: readonly Ended[];
  readonly again: readonly WriteCall[];
  readonly error: BusyError;
}

/** How a batch ended. */
export type BatchEnd =
  | {
      readonly kind: 'done';
      readonly ended: readonly Ended[];
      /** A call that waits for something else, and was undone to run alone. */
      readonly again: readonly WriteCall[];
    }
  | CommitBusy
  | {
      readonly kind: 'undone';
      readonly guilty: { readonly call: WriteCall; readonly error: unknown } | undefined;
      readonly again: readonly WriteCall[];
      /** How many of those that run again may share a batch; after them each runs alone. */
      readonly together: number;
    };

/** The calls that may join the batch, in order. */
export interface CallSource {
  peek(): WriteCall | undefined;
  take(): WriteCall | undefined;
}

/** A batch whose transaction is open. */
export class Batch {
  readonly #connection: Connection;
  readonly #calls: CallSource;
  readonly #limits: BatchLimits;
  readonly #stats: LaneStats;
  readonly #until: number;
  /** When the last call ended, and the next one starts. */
  #now: number;
  readonly #ended: Ended[] = [];
  #succeeded = 0;
  #sealed = false;
  /** One of its calls was given up, so that it will be undone: what ran behind would run twice. */
  #doomed = false;
  /** Set when the last call ended the whole transaction, or left behind what only the end of the batch can undo. */
  #fate: 'lost' | 'spoiled' | undefined;
  #current: WriteCall | undefined;

  constructor(connection: Connection, calls: CallSource, limits: BatchLimits, stats: LaneStats) {
    this.#connection = connection;
    this.#calls = calls;
    this.#limits = limits;
    this.#stats = stats;
    this.#now = performance.now();
    this.#until = this.#now + limits.slice;
  }

  /** Runs calls until there are no more or a limit is reached. A promise only when one of them is asynchronous. */
  run(): BatchEnd | Promise<BatchEnd> {
    for (;;) {
      const call = this.#next();
      this.#current = call;
      if (call === undefined) return this.#commit([]);
      const refusal = refuseToStart(call);
      if (refusal !== undefined) {
        call.reject(refusal, 'not-started');
        continue;
      }
      if (call.method.mode === 'async') return this.#runAsync(call);
      // A call without company needs no savepoint: the transaction itself is one. Nobody may join it afterwards, though its
      // handler may have called the api.
      const alone = this.#ended.length === 0 && this.#calls.peek() === undefined;
      this.#sealed = alone;
      const end = this.#note(call, this.#runSync(call, alone));
      if (end !== undefined) return end;
    }
  }

  /** Ends a batch whose transaction control itself failed: the call that ran is guilty, the others run again. */
  fail(error: unknown): BatchEnd {
    this.#connection.rollback();
    const call = this.#current ?? this.#ended.pop()?.call;
    if (call === undefined) return { kind: 'undone', guilty: undefined, again: [], together: 0 };
    return this.#blame(call, error);
  }

  /** The batch is undone, and this call is guilty of it. */
  #blame(call: WriteCall, error: unknown): BatchEnd {
    const others = this.#ended.map((each) => each.call);
    const together = others.length;
    if (together > 0 && this.#succeeded > 0) {
      call.undone = { error };
      return { kind: 'undone', guilty: undefined, again: [...others, call], together };
    }
    return { kind: 'undone', guilty: { call, error }, again: others, together };
  }

  #next(): WriteCall | undefined {
    if (this.#sealed) return undefined;
    const { length } = this.#ended;
    if (length > 0) {
      if (length >= this.#limits.calls || this.#now >= this.#until) return undefined;
      if (this.#doomed || this.#ended[length - 1]?.call.last === true) return undefined;
      if (this.#calls.peek()?.method.waits === true) return undefined;
      if (this.#ended[0]?.call.method.waits === true) return undefined;
    }
    return this.#calls.take();
  }

  #runSync(call: WriteCall, alone: boolean): CallResult {
    const connection = this.#connection;
    const { trust } = call.method;
    // Without company the call is the whole batch, which then has nothing to commit when it fails.
    const guarded = !alone && !trust.holds;
    if (guarded) connection.control('savepoint');
    let value: unknown;
    try {
      value = call.inContext(runOn, connection, call);
    } catch (error) {
      const { lost, writes } = connection.lastWrite;
      connection.takeEffects();
      if (lost) this.#fate = 'lost';
      else if (guarded) {
        connection.control('rollbackTo');
        connection.control('release');
      } else if (!alone && writes > 0) this.#fate = 'spoiled';
      trust.failed();
      return new Failed(error);
    }
    if (connection.lastWrite.lost) this.#fate = 'lost';
    else if (guarded) connection.control('release');
    return new Succeeded(value, connection.takeEffects());
  }

  async #runAsync(call: WriteCall): Promise<BatchEnd> {
    const result = await runAsyncCall(this.#connection, call);
    if (result === 'waits') {
      call.method.waits = true;
      if (this.#connection.inTransaction) return this.#commit([call]);
      // It caught the end of the whole transaction before it waited: the others run again, and then it, alone.
      return this.#again(call);
    }
    if (!this.#connection.inTransaction) this.#fate = 'lost';
    return this.#note(call, result) ?? (await this.run());
  }

  /** Writes down how a call ended; the batch's end when the call ended the whole transaction. */
  #note(call: WriteCall, result: CallResult): BatchEnd | undefined {
    const started = this.#now;
    this.#now = performance.now();
    this.#stats.wait.record((started - call.since) * 1000);
    this.#stats.run.record((this.#now - started) * 1000);
    // A handler that awaits leaves the event loop to others meanwhile.
    if (call.method.mode === 'sync') this.#stats.slow.note(call.method.label, this.#now - started);
    if (this.#fate === 'spoiled') {
      this.#connection.rollback();
      return this.#again(call);
    }
    if (this.#fate === 'lost') {
      this.#connection.takeEffects();
      return this.#blame(call, 'error' in result ? result.error : swallowed(call.label, 'the handler'));
    }
    if ('value' in result) this.#succeeded += 1;
    this.#ended.push(new Ended(call, result));
    // A caller gives up while a handler runs that takes its time.
    if (this.#now - started >= LONG) this.#doomed = this.#ended.some(isUnwanted);
    return undefined;
  }

  /** The batch is undone through nobody's fault. */
  #again(call: WriteCall): BatchEnd {
    return runAgain([...this.#ended.map((each) => each.call), call]);
  }

  #commit(again: readonly WriteCall[]): BatchEnd {
    if (this.#succeeded === 0) {
      this.#connection.rollback();
      return { kind: 'done', ended: this.#ended, again };
    }
    return commitBatch(this.#connection, this.#ended, again, this.#stats);
  }
}

/** Commits, or commits again after `commit-busy`. */
export function commitBatch(
  connection: Connection,
  ended: readonly Ended[],
  again: readonly WriteCall[],
  stats: LaneStats,
): BatchEnd {
  const unwanted = ended.filter(({ call, result }) => 'value' in result && call.context?.progress?.commit() === false);
  if (unwanted.length > 0) {
    const errors = new Map(unwanted.map(({ call }) => [call, givenUp(call)]));
    return undoWithout(connection, errors, ended, again);
  }
  try {
    connection.control('commit');
  } catch (error) {
    if (error instanceof BusyError && connection.inTransaction) return { kind: 'commit-busy', ended, again, error };
    return undo(connection, ended, again, error);
  }
  stats.commits += 1;
  for (const { call, result } of ended) if ('value' in result) call.method.trust.succeeded();
  for (const { call } of ended) call.context?.progress?.committed();
  return { kind: 'done', ended, again };
}

/** Undoes a batch in which some calls have come to their end, each with its error. The others run again. */
export function undoWithout(
  connection: Connection,
  over: ReadonlyMap<WriteCall, unknown>,
  ended: readonly Ended[],
  again: readonly WriteCall[],
): BatchEnd {
  connection.rollback();
  for (const [call, error] of over) call.reject(error, 'rolled-back');
  const others = ended.map(({ call }) => call).filter((call) => !over.has(call));
  return runAgain([...others, ...again]);
}

/** What it did would be committed for nobody. */
function isUnwanted({ call, result }: Ended): boolean {
  return 'value' in result && call.context?.progress?.givenUp === true;
}

function runAgain(again: readonly WriteCall[]): BatchEnd {
  return { kind: 'undone', guilty: undefined, again, together: again.length };
}

/** Why a call that comes from another thread may not start: its caller, or a close, has given up. */
export function refuseToStart(call: WriteCall): Error | undefined {
  const progress = call.context?.progress;
  if (progress === undefined) return undefined;
  if (!progress.start()) return givenUp(call);
  const { running } = call.seat;
  return running.givenUp ? running.refusal(call.label) : undefined;
}

/** What a call ends with that nobody waits for any more. */
export function givenUp(call: WriteCall): AbortError {
  return new AbortError(`${call.label}: was given up by its caller`);
}

/** Gives up a batch that cannot commit. */
function undo(connection: Connection, ended: readonly Ended[], again: readonly WriteCall[], error: unknown): BatchEnd {
  const [first] = ended;
  if (ended.length === 1 && first !== undefined) {
    const explained = error instanceof ConstraintError ? connection.explainCommit(error) : error;
    connection.rollback();
    return { kind: 'undone', guilty: { call: first.call, error: explained }, again, together: again.length };
  }
  connection.rollback();
  return { kind: 'undone', guilty: undefined, again: [...ended.map(({ call }) => call), ...again], together: 0 };
}

function runOn(connection: Connection, call: WriteCall): unknown {
  return call.run(connection);
}
