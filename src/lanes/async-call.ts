import { type StartedRun } from '../connection/async-bench.ts';
import { type Connection } from '../connection/connection.ts';
import { abandonOnAbort, labelOf, timerDelay } from '../context/context.ts';
import { TimeoutError } from '../errors.ts';
import { type Method } from '../repository/methods.ts';
import { startHandler } from './handler-scope.ts';
import { type Running, type RunningSet } from './running.ts';
import { type SnapshotRequest } from './snapshot.ts';
import { type CallResult, Failed, Succeeded, type WriteCall } from './write-call.ts';

/**
 * Runs an asynchronous handler inside a savepoint of the open transaction. `'waits'` when it has not settled although no
 * microtask is left: it waits for something that is not this connection, and was undone. A handler that is known to wait
 * is alone in its transaction, and awaited until its deadline.
 */
export async function runAsyncCall(connection: Connection, call: WriteCall): Promise<CallResult | 'waits'> {
  connection.control('savepoint');
  const { method, args, tenant, seat } = call;
  const run = call.inContext(() => startHandler(connection, method, args, { owner: seat.owner, tenant }));
  try {
    const ended = await settled(run, call);
    if (ended === 'waits') {
      undoSavepoint(connection);
      return 'waits';
    }
    if (connection.inTransaction) connection.control('release');
    return new Succeeded(ended.value, connection.takeEffects());
  } catch (error) {
    undoSavepoint(connection);
    return new Failed(error);
  } finally {
    run.end();
  }
}

/**
 * Runs an asynchronous read handler in a read transaction, until its deadline. The caller owns the connection.
 *
 * @param request has it in `running` while it runs, so that a close can give up on it
 */
export async function runAsyncRead(
  connection: Connection,
  method: Method,
  args: readonly unknown[],
  request: SnapshotRequest,
): Promise<unknown> {
  connection.control('begin');
  const run = startHandler(connection, method, args, request);
  try {
    return await withDeadline(run, labelOf(request.context, method.label), request);
  } finally {
    run.end();
    connection.rollback();
  }
}

async function settled(run: StartedRun, call: WriteCall): Promise<{ value: unknown } | 'waits'> {
  if (call.method.waits) {
    const { context, deadline, seat } = call;
    return { value: await withDeadline(run, call.label, { context, deadline, running: seat.running }) };
  }
  return Promise.race([run.promise.then((value) => ({ value })), microtasksDone()]);
}

/** What ends the wait for a handler. */
interface Bounds extends Pick<SnapshotRequest, 'context' | 'deadline'> {
  /** Has it while it runs, so that a close can give up on it. */
  readonly running?: RunningSet;
  /** Rejects when what the handler is part of is given up. */
  readonly abandoned?: Promise<never>;
}

/** Waits for a handler until its deadline, its context's signal, or until it is given up. The caller undoes it. */
export async function withDeadline(
  run: StartedRun,
  label: string,
  { context, deadline, running, abandoned }: Bounds,
): Promise<unknown> {
  const timeout = deadline - performance.now();
  let stopListening: (() => void) | undefined;
  let timer: NodeJS.Timeout | undefined;
  let entry: Running | undefined;
  const late = new Promise<never>((_, reject) => {
    entry = { label, abandon: reject };
    running?.add(entry);
    // Its deadline is the one below, with or without a context.
    stopListening = abandonOnAbort(entry, context);
    timer = setTimeout(() => {
      reject(
        new TimeoutError(
          `${label}: had not ended after ${Math.round(timeout)} ms and was undone; await less inside the handler, or raise ` +
            'the option "timeout"',
          { wait: 'handler', holder: { label, heldFor: timeout } },
        ),
      );
    }, timerDelay(timeout));
  });
  try {
    return await Promise.race([run.promise, late, ...(abandoned === undefined ? [] : [abandoned])]);
  } finally {
    clearTimeout(timer);
    stopListening?.();
    if (entry !== undefined) running?.delete(entry);
  }
}

/** From a microtask nextTick comes after every other microtask, those that are queued meanwhile included. */
function microtasksDone(): Promise<'waits'> {
  return new Promise((resolve) => {
    queueMicrotask(() => {
      process.nextTick(resolve, 'waits');
    });
  });
}

function undoSavepoint(connection: Connection): void {
  connection.takeEffects();
  if (!connection.inTransaction) return;
  connection.control('rollbackTo');
  connection.control('release');
}
