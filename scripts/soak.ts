/**
 * Ten minutes, by hand: `node --conditions=sluice-source --expose-gc scripts/soak.ts [MINUTES]`.
 *
 * An executor with two readers, four threads that come and go, a thread that dies now and then. Prints memory and descriptors
 * every ten seconds; both must stay flat. Ends at once with the error of a call that fails in a way that it must not.
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

async function report(): Promise<void> {
  while (going()) {
    await sleep(10_000);
    globalThis.gc?.();
    const { heapUsed, rss } = process.memoryUsage();
    const descriptors = process.platform === 'linux' ? readdirSync('/proc/self/fd').length : NaN;
    const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
    console.log({ ...seen, heap: megabytes(heapUsed), rss: megabytes(rss), descriptors });
  }
}

await Promise.all([...Array.from({ length: 16 }, (_, name) => caller(name)), threads(), threads(), deaths(), report()]);
await db.close();
rmSync(folder, { recursive: true });
