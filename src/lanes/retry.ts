import { setTimeout as sleep } from 'node:timers/promises';
import { retryDelay } from '../connection/busy.ts';
import { BusyError, TimeoutError } from '../errors.ts';

/**
 * Runs a step that takes SQLite's lock, again and again while another process holds it. The event loop turns between the
 * tries; nothing ever sleeps inside SQLite.
 *
 * @param deadline on `performance.now()`'s clock
 * @param delay milliseconds from a refusal to the next try
 * @throws {TimeoutError} when the deadline passes, with the last `BusyError` as its cause
 */
export async function retryBusy<T>(
  label: string,
  deadline: number,
  step: () => T | Promise<T>,
  delay: (attempt: number) => number = retryDelay,
): Promise<T> {
  const since = performance.now();
  for (let attempt = 0; ; attempt++) {
    try {
      return await step();
    } catch (error) {
      if (!(error instanceof BusyError && error.passes)) throw error;
      if (performance.now() >= deadline) {
        throw new TimeoutError(
          `${label}: waited ${Math.round(performance.now() - since)} ms for the lock of the file, which another process or ` +
            'thread holds; make its transactions shorter, or raise the option "timeout"',
          { wait: 'file lock' },
          { cause: error },
        );
      }
      await sleep(Math.min(delay(attempt), Math.max(0, deadline - performance.now())));
    }
  }
}
