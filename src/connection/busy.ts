/**
 * The wait between two tries of something that another process or thread holds: short at first, then longer, and never
 * the same for two waiters, so that they do not meet again and again.
 *
 * @param attempt 0 for the first wait
 * @returns milliseconds, from under 1 to 25
 */
export function retryDelay(attempt: number): number {
  const ceiling = Math.min(25, 2 ** Math.min(attempt, 10));
  return ceiling * (0.5 + Math.random() / 2);
}
