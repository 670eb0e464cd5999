/**
 * The future that a thread may block on: the thread sleeps until the answer is there. Its event loop stands still meanwhile, so
 * it is for worker threads that do one thing at a time, and refused where somebody else needs that loop.
 */
import { isMainThread } from 'node:worker_threads';
import { ContextError } from '../errors.ts';
import { type Method } from '../repository/methods.ts';
import { isExecutorThread } from './importing.ts';
import { Failure, type Pending } from './pending.ts';
import { type Page } from './words.ts';

/** Milliseconds after which a sleeper looks whether anything has become of its thread, or its deadline. */
const NAP = 20;

/** What a sleeper looks at. */
export interface Sleeper {
  readonly page: Page;
  /** Sends what waits to be sent. */
  readonly flush: () => void;
  /** Takes in what has arrived. */
  readonly receive: () => void;
  /** Gives up on what is overdue. */
  readonly expire: () => void;
}

/** @throws {ContextError} where a thread must not block */
export function refuseToBlock(method: Method, servedHere: boolean): void {
  const why = isMainThread
    ? 'this is the main thread, whose event loop must not stand still'
    : servedHere
      ? 'this thread itself serves the calls, and would wait for itself'
      : isExecutorThread()
        ? 'this thread owns a database, and its event loop serves others'
        : undefined;
  if (why !== undefined) throw cannotBlock(method, why, 'await the api instead');
}

/** The refusal of a call. */
export function cannotBlock({ label, access }: Method, why: string, advice: string): ContextError {
  const error = new ContextError(`${label}: cannot block here: ${why}; ${advice}`);
  if (access === 'write') error.outcome = 'not-started';
  return error;
}

/** Sleeps until a request is answered, or given up at its deadline. @throws what it rejects with */
export function sleepUntilAnswered(pending: Pending, { page, flush, receive, expire }: Sleeper): unknown {
  flush();
  for (;;) {
    // Before looking, so that what arrives in between ends the sleep at once.
    const seen = Atomics.load(page, 0);
    receive();
    if (!pending.settled) expire();
    if (pending.settled) break;
    Atomics.wait(page, 0, seen, NAP);
  }
  const { answer } = pending;
  if (answer instanceof Failure) throw answer.make(new Error());
  return answer;
}
