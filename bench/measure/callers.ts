/** What a crowd of callers came to. */
export interface Drive {
  readonly calls: number;
  /** Milliseconds. */
  readonly time: number;
  /** Milliseconds from call to answer, one for each call; empty unless asked for. */
  readonly latencies: readonly number[];
}

/** How long and how closely to look. */
export interface DriveOptions {
  readonly callers: number;
  /** Milliseconds. */
  readonly duration: number;
  readonly latencies?: boolean;
}

/**
 * Closed-loop callers: each makes its next call when its last one was answered. The clock is looked at between calls
 * and not by a timer, because a side that never lets go of the event loop would not let the timer fire.
 */
export async function drive(
  { callers, duration, latencies = false }: DriveOptions,
  call: () => Promise<unknown>,
): Promise<Drive> {
  const times: number[] = [];
  let calls = 0;
  let over = false;
  const start = performance.now();
  const until = start + duration;
  const caller = async (): Promise<void> => {
    while (!over) {
      await call();
      calls += 1;
      if ((calls & 7) === 0 && performance.now() >= until) over = true;
    }
  };
  const timedCaller = async (): Promise<void> => {
    while (!over) {
      const asked = performance.now();
      await call();
      const answered = performance.now();
      calls += 1;
      times.push(answered - asked);
      if (answered >= until) over = true;
    }
  };
  await Promise.all(Array.from({ length: callers }, latencies ? timedCaller : caller));
  return { calls, time: performance.now() - start, latencies: times };
}

/** Microseconds that one call takes when each waits for the one before. */
export async function costOf(calls: number, call: (at: number) => Promise<unknown>): Promise<number> {
  const start = performance.now();
  for (let at = 0; at < calls; at++) await call(at);
  return ((performance.now() - start) / calls) * 1000;
}
