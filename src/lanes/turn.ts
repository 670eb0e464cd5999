import { SluiceError, type Outcome } from '../errors.ts';
import { type Seat } from './seat.ts';
import { type Turn, type WriteLane } from './write-lane.ts';

/** Who asks for a turn, and how long it may wait. */
export interface TurnRequest {
  readonly seat: Seat;
  /** For messages: `transaction`, `accounts.get`. */
  readonly label: string;
  /** Milliseconds that it may wait. */
  readonly timeout: number;
}

/** Waits until the lane is held for the caller, who gives it back with `lane.release()`. */
export function takeTurn(lane: WriteLane, request: TurnRequest): Promise<void> {
  return new Promise((resolve, reject) => {
    lane.submit(entry('turn', request, resolve, reject));
  });
}

/** Runs a synchronous function when it is its turn, between batches and outside any transaction. */
export function runTask<T>(lane: WriteLane, request: TurnRequest, task: () => T): Promise<T> {
  return new Promise((resolve, reject) => {
    const start = (): void => {
      try {
        resolve(task());
      } catch (error) {
        reject(error);
      }
    };
    lane.submit(entry('task', request, start, reject));
  });
}

function entry(
  kind: 'turn' | 'task',
  { seat, label, timeout }: TurnRequest,
  start: () => void,
  reject: (error: Error) => void,
): Turn {
  const since = performance.now();
  return {
    kind,
    seat,
    label,
    since,
    deadline: since + timeout,
    start,
    reject(error: unknown, outcome: Outcome) {
      if (error instanceof SluiceError) error.outcome ??= outcome;
      reject(error as Error);
    },
  };
}
