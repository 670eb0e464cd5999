import { setPriority } from 'node:os';

/** As low as makes a difference where threads are more than cores, and no lower: where they are not it makes none. */
const NICE = 10;

/**
 * Lets other threads of the process go first: one that runs long queries would else keep the event loop, and the thread that
 * writes, from their core for a whole time slice of the system's. Only on Linux has a thread a priority of its own.
 */
export function stepBack(): void {
  if (process.platform !== 'linux') return;
  try {
    setPriority(NICE);
  } catch {
    // A sandbox forbids it. Nothing depends on it but time.
  }
}
