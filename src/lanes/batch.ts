/**
 * One batch: several callers' writes in one transaction, each inside its own savepoint.
 *
 * 1. BEGIN IMMEDIATE. When another process holds the lock nothing has started: the batch is tried again later.
 * 2. Each call runs inside a savepoint. A call that throws is undone to its savepoint; the others stay.
 * 3. Some failures end the whole transaction at once (RAISE(ROLLBACK), OR ROLLBACK, a full disk, an I/O error). After each
 *    call `inTransaction` is looked at: if it is gone, that call is guilty, and every other call of the batch is undone.
 * 4. COMMIT. A deferred foreign key passes its savepoint and fails here, and nobody can tell whose it was: everything is
 *    rolled back and every call is undone.
 * 5. What was undone through no fault of its own goes back to the head of the lane, in order, to run again: after (3) as
 *    one batch that ends there, after (4) each alone, so that only the guilty one fails.
 *
 * A call's promise settles only after (4) has committed what it did, or what it saw.
 */
import { type Connection } from '../connection/connection.ts';
import { BusyError, TransactionEndedError } from '../errors.ts';
import { type CallResult, type WriteCall } from './write-call.ts';

/** How a call ended inside its batch; it counts once the batch has committed. */
interface Ended {
  readonly call: WriteCall;
  readonly result: CallResult;
}

/** How a batch ended. */
export type BatchEnd =
  | { readonly kind: 'done'; readonly ended: readonly Ended[] }
  /** COMMIT found a reader of another process in its way: the transaction is still open, commit again. */
  | { readonly kind: 'commit-busy'; readonly ended: readonly Ended[]; readonly error: BusyError }
  | {
      readonly kind: 'undone';
      readonly guilty: { readonly call: WriteCall; readonly error: unknown } | undefined;
      readonly again: readonly WriteCall[];
      /** Whether each runs alone the next time. */
      readonly alone: boolean;
    };

/** Bounds of one batch. */
export interface BatchLimits {
  /** Calls at most. */
  readonly calls: number;
  /** Milliseconds after which no further call is taken. */
  readonly slice: number;
}

/**
 * Runs calls from `take` until it has no more or a limit is reached. BEGIN's own failure is thrown, before any call is
 * taken.
 */
export function runBatch(
  connection: Connection,
  take: () => WriteCall | undefined,
  more: () => boolean,
  limits: BatchLimits,
): BatchEnd {
  connection.control('beginImmediate');
  const until = performance.now() + limits.slice;
  const ended: Ended[] = [];
  let succeeded = 0;
  for (let call = take(); call !== undefined; call = take()) {
    // A call without company needs no savepoint: the transaction itself is one.
    const alone = ended.length === 0 && !more();
    const result = runCall(connection, call, alone);
    if (!connection.inTransaction) {
      connection.takeEffects();
      const error = 'error' in result ? result.error : swallowed(call);
      return { kind: 'undone', guilty: { call, error }, again: ended.map((each) => each.call), alone: false };
    }
    if ('value' in result) succeeded += 1;
    ended.push({ call, result });
    if (call.last || ended.length >= limits.calls || performance.now() >= until) break;
  }
  if (succeeded === 0) {
    connection.rollback();
    return { kind: 'done', ended };
  }
  return commitBatch(connection, ended);
}

/** Commits, or commits again after `commit-busy`. */
export function commitBatch(connection: Connection, ended: readonly Ended[]): BatchEnd {
  try {
    connection.control('commit');
  } catch (error) {
    if (error instanceof BusyError && connection.inTransaction) {
      return { kind: 'commit-busy', ended, error };
    }
    return undo(connection, ended, error);
  }
  return { kind: 'done', ended };
}

/** Gives up a batch that cannot commit. */
export function undo(connection: Connection, ended: readonly Ended[], error: unknown): BatchEnd {
  connection.rollback();
  const [first] = ended;
  if (ended.length === 1 && first !== undefined) {
    return { kind: 'undone', guilty: { call: first.call, error }, again: [], alone: true };
  }
  return { kind: 'undone', guilty: undefined, again: ended.map(({ call }) => call), alone: true };
}

function runCall(connection: Connection, call: WriteCall, alone: boolean): CallResult {
  if (!alone) connection.control('savepoint');
  try {
    const value = connection.write(call.method, call.args);
    if (!alone && connection.inTransaction) connection.control('release');
    return { value, effects: connection.takeEffects() };
  } catch (error) {
    connection.takeEffects();
    if (connection.inTransaction) {
      // Without a savepoint the call is the whole batch, which has nothing to commit and is rolled back.
      if (!alone) {
        connection.control('rollbackTo');
        connection.control('release');
      }
    }
    return { error };
  }
}

function swallowed(call: WriteCall): Error {
  return new TransactionEndedError(
    `${call.label}: one of its statements rolled back the whole transaction (RAISE(ROLLBACK), OR ROLLBACK, a full disk) ` +
      'and the handler caught the error; let it pass',
  );
}
