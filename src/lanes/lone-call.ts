import { type Connection } from '../connection/connection.ts';
import { swallowed } from '../connection/guarded-client.ts';
import { BusyError, type Outcome } from '../errors.ts';
import { type LaneStats } from '../observe/lane-stats.ts';
import { type BatchEnd, Ended, givenUp, refuseToStart } from './batch.ts';
import { type CallResult, Failed, Succeeded, type WriteCall } from './write-call.ts';

/**
 * Runs one synchronous call in the transaction that is open, and commits it. The caller's async context is around it.
 *
 * @returns the call's own result, committed or rolled back; `commit-busy` while its transaction is still open
 */
export function runAlone(
  connection: Connection,
  call: WriteCall,
  stats: LaneStats,
): CallResult | Extract<BatchEnd, { kind: 'commit-busy' }> {
  const progress = call.context?.progress;
  const refusal = refuseToStart(call);
  if (refusal !== undefined) return undone(connection, refusal, 'not-started');
  let result: CallResult;
  try {
    const value = call.run(connection);
    result = connection.lastWrite.lost
      ? new Failed(swallowed(call.label, 'the handler'))
      : new Succeeded(value, connection.takeEffects());
  } catch (error) {
    result = new Failed(error);
  }
  stats.wait.record(0);
  stats.run.record((performance.now() - call.since) * 1000);
  if ('error' in result) {
    call.method.trust.failed();
    return undone(connection, result.error);
  }
  if (progress?.commit() === false) return undone(connection, givenUp(call));
  try {
    connection.commit();
  } catch (error) {
    if (error instanceof BusyError && connection.inTransaction) {
      return { kind: 'commit-busy', ended: [new Ended(call, result)], again: [], error };
    }
    return undone(connection, error);
  }
  progress?.committed();
  stats.commits += 1;
  call.method.trust.succeeded();
  return result;
}

function undone(connection: Connection, error: unknown, outcome?: Outcome): CallResult {
  connection.rollback();
  return new Failed(error, outcome);
}
