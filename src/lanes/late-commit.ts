import { abortError } from '../context/context.ts';
import { type BatchEnd, type CommitBusy, commitBatch, undoWithout } from './batch.ts';
import { type Seat } from './seat.ts';
import { type WriteCall } from './write-call.ts';

/**
 * Tries a batch's COMMIT again, which readers of another process have held off (they can with a rollback journal), after a
 * delay in milliseconds; without those of its calls whose signal, deadline or close has come meanwhile. The transaction is open
 * until then.
 *
 * @param done given how that went, which may be busy once more
 */
export function commitLater(
  { running, connection, stats }: Seat,
  { ended, again, error: busy }: CommitBusy,
  delay: number,
  done: (end: BatchEnd) => void,
): void {
  const over = new Map<WriteCall, unknown>();
  const waiting = ended.map(({ call }) => ({
    label: call.label,
    abandon: (error: Error) => {
      over.set(call, error);
    },
  }));
  for (const entry of waiting) running.add(entry);
  setTimeout(() => {
    for (const entry of waiting) running.delete(entry);
    const now = performance.now();
    let alone = true;
    for (const { call, result } of ended) {
      const signal = call.context?.signal;
      if (signal?.aborted === true) over.set(call, abortError(call.label, signal));
      else if (now >= call.deadline && !over.has(call)) over.set(call, busy);
      // What it failed with stands, where it rests on nobody's uncommitted rows.
      if (alone && 'error' in result && over.has(call)) over.set(call, result.error);
      if ('value' in result) alone = false;
    }
    done(over.size > 0 ? undoWithout(connection, over, ended, again) : commitBatch(connection, ended, again, stats));
  }, delay);
}
