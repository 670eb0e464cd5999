/** What scripted interleavings are made of: gates instead of sleeps. */
import { setImmediate as turn } from 'node:timers/promises';
import { expect } from 'vitest';

/** A door that is shut until somebody opens it. */
export interface Gate {
  /** Resolves when it has been opened. */
  readonly passed: Promise<void>;
  open(): void;
}

export function gate(): Gate {
  let open = (): void => undefined;
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open };
}

/** Lets the event loop turn. */
export async function turns(count = 5): Promise<void> {
  for (let at = 0; at < count; at++) await turn();
}

/** Lets the event loop turn until something has come about. @throws when it has not after ten seconds */
export async function until(what: string, came: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!came()) {
    if (performance.now() > deadline) throw new Error(`waited ten seconds in vain for: ${what}`);
    await turn();
  }
}

/** Follows a promise: whether it has settled by now. */
export function watch(promise: Promise<unknown>): { readonly settled: boolean } {
  const seen = { settled: false };
  const settle = (): void => {
    seen.settled = true;
  };
  promise.then(settle, settle);
  return seen;
}

/** The event loop turns many times, and the promise is still pending. */
export async function expectBlocked(promise: Promise<unknown>): Promise<void> {
  const seen = watch(promise);
  await turns(20);
  expect(seen.settled, 'settled, where it must wait').toBe(false);
}

type ErrorClass<E> = abstract new (...args: never[]) => E;

/** The error that a promise rejects with, which must be of this class. */
export async function rejection<E extends Error>(promise: Promise<unknown>, kind: ErrorClass<E>): Promise<E> {
  const [result] = await Promise.allSettled([promise]);
  if (result.status === 'fulfilled') throw new Error(`resolved, where a ${kind.name} is due`);
  const error: unknown = result.reason;
  if (error instanceof kind) return error;
  throw new Error(`rejected with another error than ${kind.name}`, { cause: error });
}
