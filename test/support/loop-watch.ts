/** How long the event loop stands still, without what the machine gave to other programs meanwhile. */
import { readFileSync } from 'node:fs';
import { type TempDir } from './temp-dir.ts';

export interface LoopWatch {
  /** The gaps between the ticks of a timer of 1 ms, in ms, the longest first. */
  stop(): readonly number[];
}

/** Watches from now on. */
export function watchLoop(dir: TempDir): LoopWatch {
  const gaps: number[] = [];
  let last = performance.now();
  let stolen = waitedForProcessor();
  const tick = (): void => {
    const [now, since] = [performance.now(), waitedForProcessor()];
    gaps.push(Math.max(0, now - last - (since - stolen)));
    last = now;
    stolen = since;
  };
  const timer = setInterval(tick, 1);
  const stop = (): readonly number[] => {
    clearInterval(timer);
    tick();
    return gaps.sort((a, b) => b - a);
  };
  dir.atEnd(() => {
    clearInterval(timer);
  });
  return { stop };
}

/**
 * Milliseconds that this thread was ready to run and had no processor: what no program can do anything about. A thread that
 * sleeps in a lock or waits for the disk is not ready, and that counts. 0 where the system does not tell.
 */
function waitedForProcessor(): number {
  try {
    return Number(readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ')[1]) / 1e6;
  } catch {
    return 0;
  }
}
