/**
 * Ten minutes, by hand: `npx node --conditions=sluice-source --expose-gc scripts/soak.ts [MINUTES]`.
 *
 * An executor with two readers, four threads that come and go, a thread that dies now and then. Prints memory and descriptors
 * now and then, and at the end what they were in the second and in the last third: ends with 1 where they have grown. Ends at
 * once with the error of a call that fails in a way that it must not.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { ExecutorError } from '../src/index.ts';
import { open } from '../src/open.ts';
import { hostile } from '../test/support/hostile.ts';
import { createLedger } from '../test/support/ledger.ts';

const minutes = Number(process.argv[2] ?? 10);
const folder = mkdtempSync(join(tmpdir(), 'sluice-soak-'));
const file = join(folder, 'soak.db');
createLedger(file);
const db = await open({ file, repositories: hostile, strategy: 'executor', readers: 2, timeout: 60_000 });
const end = performance.now() + minutes * 60_000;
const seen = { calls: 0, threads: 0, deaths: 0 };
const going = (): boolean => performance.now() < end;

async function caller(name: number): Promise<void> {
  for (let at = 0; going(); at++) {
    try {
      await db.api.hostile.add(`soak-${name}-${at}`);
      seen.calls += 1;
      if (at % 50 === 49) await db.transaction((api) => api.hostile.listed());
      if (name === 0 && at % 500 === 499) await db.api.hostile.clear();
    } catch (error) {
      // The thread that dies takes what was running with it, and says so.
      if (!(error instanceof ExecutorError)) throw error;
      await sleep(1);
    }
  }
}

/** Threads that connect, call, and are gone. */
async function threads(): Promise<void> {
  while (going()) {
    const port = db.port();
    const worker = new Worker(new URL('../test/executor/thread-main.ts', import.meta.url), {
      workerData: { port },
      transferList: [port],
    });
    worker.postMessage({ kind: 'add', call: `thread-${seen.threads}` });
    await new Promise((resolve) => worker.once('message', resolve));
    await worker.terminate();
    seen.threads += 1;
  }
}

async function deaths(): Promise<void> {
  while (going()) {
    await sleep(5000);
    await db.api.hostile.addAndExit('fatal').catch(() => undefined);
    seen.deaths += 1;
  }
}

interface Sample {
  readonly heap: number;
  readonly rss: number;
  readonly descriptors: number;
}

/** What each may have grown by from the second third to the last: a share of it, and something on top that is noise. */
const TOLERANCE: Readonly<Record<keyof Sample, { readonly share: number; readonly noise: number }>> = {
  heap: { share: 0.05, noise: 1e6 },
  // Each thread that is started has a heap of its own, and the allocator keeps what the last one left.
  rss: { share: 0.15, noise: 40e6 },
  descriptors: { share: 0, noise: 1 },
};

async function report(): Promise<readonly Sample[]> {
  const samples: Sample[] = [];
  const every = Math.min(10_000, (minutes * 60_000) / 30);
  while (going()) {
    await sleep(every);
    globalThis.gc?.();
    const { heapUsed: heap, rss } = process.memoryUsage();
    const descriptors = process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0;
    samples.push({ heap, rss, descriptors });
    console.log({ ...seen, heap: megabytes(heap), rss: megabytes(rss), descriptors });
  }
  return samples;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** Prints what became of each. Whether one of them has grown. */
function judge(samples: readonly Sample[]): boolean {
  // What is loaded and compiled first is no growth.
  const third = Math.floor(samples.length / 3);
  const [first, last] = [samples.slice(third, 2 * third), samples.slice(-third)];
  const grown = (Object.keys(TOLERANCE) as (keyof Sample)[]).filter((what) => {
    // The least: threads come and go, and what one of them has open for a moment is no growth.
    const [before, after] = [first, last].map((each) => Math.min(...each.map((sample) => sample[what])));
    if (before === undefined || after === undefined) return false;
    const { share, noise } = TOLERANCE[what];
    const text = (count: number): string => (what === 'descriptors' ? String(count) : megabytes(count));
    const has = after > before * (1 + share) + noise;
    console.log(`${what}: ${text(before)} in the second third, ${text(after)} in the last${has ? ': IT GROWS' : ''}`);
    return has;
  });
  return grown.length > 0;
}

const callers = Array.from({ length: 16 }, (_, name) => caller(name));
const [samples] = await Promise.all([report(), ...callers, threads(), threads(), deaths()]);
await db.close();
rmSync(folder, { recursive: true });
process.exitCode = judge(samples) ? 1 : 0;
