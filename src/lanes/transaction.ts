import { abandonAtDeadline, abandonOnAbort, deadlineOf, labelOf } from '../context/context.ts';
import { Tenant } from '../context/holders.ts';
import { AbortError, BusyError, type Outcome } from '../errors.ts';
import { withOutcome } from '../outcome.ts';
import { runEffects } from './effects.ts';
import { retryBusy } from './retry.ts';
import { OpenScope } from './scope.ts';
import { takeTurn, type TurnRequest } from './turn.ts';
import { type WriteLane } from './write-lane.ts';

/**
 * Runs a callback as one write transaction: the lane is held until it settles.
 *
 * 1. A turn in the lane, in order of arrival. 2. BEGIN IMMEDIATE, tried again while another process holds the lock; no
 * statement after it can be refused a lock in WAL mode. 3. The callback. 4. COMMIT, tried again likewise (readers of
 * another process hold off the commit of a rollback journal). 5. The effects, then the caller.
 *
 * From the wait for BEGIN until it is committed its scope is in the seat's `running`, so that a close can give up on it, and
 * its context's signal and deadline are heard.
 */
export async function runTransaction<T>(
  lane: WriteLane,
  request: TurnRequest,
  run: (scope: OpenScope) => Promise<T>,
): Promise<T> {
  const { seat, context, site } = request;
  const label = labelOf(context, request.label);
  const deadline = deadlineOf(context, request.timeout);
  const tenant = new Tenant(label);
  await takeTurn(lane, { ...request, tenant }).catch((error: unknown) => {
    throw withOutcome(error, 'not-started');
  });
  const { connection } = seat;
  const scope = new OpenScope({
    connection,
    access: 'write',
    owner: seat.owner,
    tenant,
    site,
    timeout: request.timeout,
  });
  const stopWatching = [abandonOnAbort(scope, context)];
  seat.running.add(scope);
  const leave = (): void => {
    for (const stop of stopWatching.splice(0)) stop();
    seat.running.delete(scope);
  };
  let outcome: Outcome = 'not-started';
  try {
    await retryBusy(
      `${label}: BEGIN`,
      deadline,
      () => {
        scope.assertKept();
        try {
          connection.control('beginImmediate');
        } catch (error) {
          if (error instanceof BusyError) seat.stats.busyRetries += 1;
          throw error;
        }
        lane.lock.taken();
      },
      () => lane.lock.refused(connection.dataVersion),
    );
    outcome = 'rolled-back';
    stopWatching.push(abandonAtDeadline(scope, context));
    const result = await Promise.race([run(scope), scope.abandoned]);
    await scope.end();
    scope.assertWhole();
    await retryBusy(`${label}: COMMIT`, deadlineOf(context, request.timeout), () => {
      scope.assertKept();
      if (context?.progress?.commit() === false) throw new AbortError(`${label}: was given up by its caller`);
      connection.commit();
    });
    outcome = 'committed';
    leave();
    context?.progress?.committed();
    seat.stats.commits += 1;
    runEffects(scope.effects, label);
    return result;
  } catch (error) {
    throw withOutcome(error, outcome);
  } finally {
    await scope.end();
    leave();
    connection.rollback();
    if (connection.makeClean() === 'broken') seat.replace();
    lane.release();
  }
}
