/** What a caller is told when the thread that owns the database does not answer, or is gone. */
import { type Site } from '../context/call-site.ts';
import { holderOf } from '../context/lease.ts';
import {
  describeHolder,
  ExecutorError,
  type Holder,
  OptionError,
  type Outcome,
  TimeoutError,
  TransactionEndedError,
} from '../errors.ts';
import { type Outgoing } from './pending.ts';
import { type CannotCross } from './values.ts';
import { COMMITTED, COMMITTING } from './words.ts';

/** What a request's word says of it, when nothing more will be heard. */
export function outcomeOf(state: number): Outcome {
  switch (state) {
    case COMMITTING:
      return 'unknown';
    case COMMITTED:
      return 'committed';
    default:
      return 'rolled-back';
  }
}

/** The thread died under a request. */
export function lostError(label: string, access: 'read' | 'write', state: number, cause: unknown): ExecutorError {
  return new ExecutorError(
    `${label}: the thread that owns the database died while it was running; ${fateOf(access, state)}`,
    cause === undefined ? undefined : { cause },
  );
}

function fateOf(access: 'read' | 'write', state: number): string {
  if (access === 'read') return 'call it again';
  if (state === COMMITTED) return 'it was committed, and its result is lost';
  if (state === COMMITTING) return 'it was being committed, and nobody knows whether it was';
  return 'nothing of it was kept';
}

/** The transaction or snapshot that a request is in was given up. */
export function endedMeanwhile(label: string, scope: string): TransactionEndedError {
  return new TransactionEndedError(`${label}: its ${scope} was given up meanwhile`);
}

/** A deadline passed, and the server did not say so. */
export function overdueError(
  { label, since, access }: Outgoing,
  now: number,
  outcome: Outcome,
  blame: Holder | 'starting' | undefined,
): TimeoutError {
  const waited = Math.round(now - since);
  if (outcome === 'not-started') {
    const holder = blame === 'starting' ? undefined : blame;
    const why =
      blame === 'starting'
        ? 'the thread is being started again'
        : holder === undefined
          ? 'the thread does not answer'
          : `the thread is held by ${describeHolder(holder)}`;
    return new TimeoutError(
      `${label}: waited ${waited} ms for the thread that owns the database and did not start; ${why}; ` +
        `${holder === undefined ? '' : 'make that work shorter, or '}raise the option "timeout"`,
      { wait: 'executor', holder },
    );
  }
  const fate =
    access === 'read' || outcome === 'rolled-back'
      ? 'it was given up'
      : outcome === 'committed'
        ? 'it was committed, and its result is lost'
        : 'it is being committed, and may yet be';
  return new TimeoutError(
    `${label}: had not ended after ${waited} ms, at the deadline of its context; ${fate}. SQLite cannot interrupt a ` +
      'statement, so the thread goes on with it until it ends; make it shorter, or weave sluice_cancelled() in',
    { wait: 'handler', holder: { label, heldFor: now - since } },
  );
}

export function cannotCross(label: string, refused: CannotCross): OptionError {
  const error = new OptionError(`${label}: ${refused.message}, and cannot cross a thread; give plain data`, {
    cause: refused,
  });
  error.outcome = 'not-started';
  return error;
}

/** Adds to an error the place in this thread where what was in the way was called from. */
export function nameSite(error: TimeoutError, site: Site): void {
  const { holder, message, stack } = error;
  if (holder === undefined) return;
  // It may be one that yet another thread knows.
  const known = holderOf({ label: holder.label, since: performance.now() - holder.heldFor, site });
  error.message = message.replace(describeHolder(holder), () => describeHolder(known));
  if (stack !== undefined) error.stack = stack.replace(message, () => error.message);
  Object.defineProperty(error, 'holder', { value: known, enumerable: true, configurable: true, writable: true });
}

/** Adds the caller's frames to an error that was made where nobody knew the caller. */
export function appendFrames(error: Error, caller: Error): void {
  const frames = caller.stack?.split('\n').filter((line) => line.startsWith('    at ')) ?? [];
  error.stack = [error.stack, ...frames].join('\n');
}
