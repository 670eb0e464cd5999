/** How long the event loop stands still, without what the machine gave to other programs and what garbage took. */
import { readFileSync } from 'node:fs';
import { type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import { type TempDir } from './temp-dir.ts';

export interface LoopWatch {
  /** The gaps between the ticks of a timer of 1 ms, in ms, the longest first. */
  stop(): Promise<readonly number[]>;
}

interface Gap {
  readonly from: number;
  readonly to: number;
  /** Of it the thread had no processor. */
  readonly stolen: number;
}

/** Watches from now on. */
export function watchLoop(dir: TempDir): LoopWatch {
  const gaps: Gap[] = [];
  const collections: Pick<PerformanceEntry, 'startTime' | 'duration'>[] = [];
  // A collection waits for threads of its own, which a loaded machine lets wait: 270 ms were seen, 19 of them work.
  const observer = new PerformanceObserver((list) => {
    collections.push(...list.getEntries());
  });
  observer.observe({ entryTypes: ['gc'] });
  let from = performance.now();
  let stolen = waitedForProcessor();
  const tick = (): void => {
    const [to, now] = [performance.now(), waitedForProcessor()];
    gaps.push({ from, to, stolen: now - stolen });
    from = to;
    stolen = now;
  };
  const timer = setInterval(tick, 1);
  const end = (): void => {
    clearInterval(timer);
    observer.disconnect();
  };
  dir.atEnd(end);
  return {
    async stop() {
      clearInterval(timer);
      tick();
      // The observer learns of the last collections when the loop turns.
      await turn();
      await turn();
      end();
      const own = ({ from: start, to, stolen: lost }: Gap): number => {
        const collected = collections
          .map(({ startTime, duration }) => Math.min(to, startTime + duration) - Math.max(start, startTime))
          .reduce((sum, common) => sum + Math.max(0, common), 0);
        // They may overlap, and a gap then counts for too little: a loop that stands still does so where neither was, too.
        return Math.max(0, to - start - lost - collected);
      };
      return gaps.map(own).sort((a, b) => b - a);
    },
  };
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
