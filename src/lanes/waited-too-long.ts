import { describeHolder, type Holder, TimeoutError } from '../errors.ts';
import { type LaneEntry } from './lane-queue.ts';

/** Who is in the way of an entry, as far as its lane knows. */
interface InTheWay {
  /** Who has the lane across ticks. */
  readonly holder: Holder | undefined;
  /** Another process has the lock of the file. */
  readonly otherProcess: boolean;
}

/** What an entry rejects with whose deadline has passed. */
export function waitedTooLong(entry: LaneEntry, { holder, otherProcess }: InTheWay): TimeoutError {
  const waited = Math.round(performance.now() - entry.since);
  const blame =
    holder !== undefined
      ? `held by ${describeHolder(holder)}`
      : otherProcess
        ? 'another process holds the lock of the file'
        : 'the calls before it took the time';
  const undone = entry.kind === 'call' ? entry.undone : undefined;
  const fate =
    undone === undefined
      ? `waited ${waited} ms for the write lane and did not start`
      : `had run, was undone with the transaction that it shared, and did not run again within ${waited} ms of its call`;
  return new TimeoutError(
    `${entry.label}: ${fate}; ${blame}; make that work shorter, or raise the option "timeout"`,
    { wait: otherProcess ? 'file lock' : 'write lane', holder },
    undone?.error === undefined ? undefined : { cause: undone.error },
  );
}
