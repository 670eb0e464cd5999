import { monitorEventLoopDelay } from 'node:perf_hooks';

/** Milliseconds between two looks at the loop. */
const RESOLUTION = 1;

/** Watches the event loop from now on. The returned function ends that, and says by how many ms the loop was late, p99. */
export function watchLoopDelay(): () => number {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION });
  histogram.enable();
  return () => {
    histogram.disable();
    // It holds the whole time between two looks: of a loop that is idle it says a little more than the resolution.
    return histogram.percentile(99) / 1e6 - RESOLUTION;
  };
}
