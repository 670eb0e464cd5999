import { AsyncResource } from 'node:async_hooks';
import { type Site } from '../context/call-site.ts';
import { abortError, type Ambient, deadlineOf, labelOf, tenantsOf } from '../context/context.ts';
import { type Tenant, waitInside } from '../context/holders.ts';
import { type Holding } from './holding.ts';
import { type LaneEntry, type Turn } from './lane-queue.ts';
import { type Seat } from './seat.ts';
import { type WriteLane } from './write-lane.ts';

/** Who asks for a turn, and how long it may wait. */
export interface TurnRequest {
  readonly seat: Seat;
  /** For messages: `transaction`, `accounts.get`. */
  readonly label: string;
  readonly context: Ambient | undefined;
  readonly site?: Site | undefined;
  readonly tenant?: Tenant | undefined;
  /** Asks whoever has the turn to give it back early. */
  readonly wanted?: Holding['wanted'] | undefined;
  /** Milliseconds that it may wait where the context sets no deadline. */
  readonly timeout: number;
}

/** Waits until the lane is held for the caller, who gives it back with `lane.release()`. */
export function takeTurn(lane: WriteLane, request: TurnRequest, kind: 'turn' | 'close' = 'turn'): Promise<void> {
  return new Promise((resolve, reject) => {
    queue(lane, entry(kind, request, resolve, reject), request.context);
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
    queue(lane, entry('task', request, start, reject), request.context);
  });
}

/**
 * Queues an entry that its context's signal can take out again.
 *
 * @param onEnd calls a function when the entry has left the queue or was rejected
 * @throws {AbortError | DeadlockError | QueueFullError} at once
 */
export function submit(
  lane: WriteLane,
  entry: LaneEntry,
  context: Ambient | undefined,
  onEnd: (end: () => void) => void,
): void {
  const signal = context?.signal;
  if (signal?.aborted === true) throw abortError(entry.label, signal);
  const tenants = tenantsOf(context);
  if (tenants.length > 0) {
    onEnd(waitInside(tenants, lane, entry.label));
  }
  lane.submit(entry);
  // It may have run at once.
  if (signal === undefined || entry.gone) return;
  const abort = (): void => {
    if (lane.drop(entry)) entry.reject(abortError(entry.label, signal), 'not-started');
  };
  signal.addEventListener('abort', abort, { once: true });
  onEnd(() => {
    signal.removeEventListener('abort', abort);
  });
}

function queue(lane: WriteLane, turn: QueuedTurn, context: Ambient | undefined): void {
  try {
    submit(lane, turn, context, (end) => void turn.ended.then(end));
  } catch (error) {
    turn.reject(error, 'not-started');
  }
}

type QueuedTurn = Turn & { readonly ended: Promise<void> };

function entry(
  kind: Turn['kind'],
  { seat, label, context, site, tenant, wanted, timeout }: TurnRequest,
  start: () => void,
  reject: (error: unknown) => void,
): QueuedTurn {
  // A task runs in the context of whoever asked for it.
  const inContext = AsyncResource.bind(start);
  let end: (() => void) | undefined;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  return {
    kind,
    seat,
    label: labelOf(context, label),
    since: performance.now(),
    deadline: deadlineOf(context, timeout),
    site,
    tenant,
    wanted,
    gone: false,
    ended,
    start() {
      end?.();
      inContext();
    },
    // Whoever took it for a write knows what became of that.
    reject(error: unknown) {
      end?.();
      reject(error);
    },
  };
}
