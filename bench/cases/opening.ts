/** What it costs to open and close a database, to load the library, and whether anything stays behind. */
import { readdirSync } from 'node:fs';
import { inRounds } from '../measure/rounds.ts';
import { difference, summarize } from '../measure/summary.ts';
import { atMost, row } from '../report/build.ts';
import { type Case } from '../report/case.ts';
import { openRaw } from '../sides/raw.ts';
import { open } from 'sluice';
import { registry } from '../sides/sluice.ts';

export const opening: Case = {
  name: 'opening',
  about: 'open and close of an existing file, beside raw with the same pragmas',
  async run({ workspace, quick }) {
    const rounds = quick ? 5 : 21;
    const calls = quick ? 10 : 20;
    const file = workspace.fresh();
    const times = (once: () => Promise<void>) => async () => {
      const start = performance.now();
      for (let at = 0; at < calls; at++) await once();
      return (performance.now() - start) / calls;
    };
    const cycle = (strategy: 'shared' | 'per-context') => async () => {
      const db = await open({ file, repositories: registry, strategy });
      await db.close();
    };
    const samples = await inRounds(rounds, {
      raw: times(() => {
        openRaw(file, 'full').close();
        return Promise.resolve();
      }),
      'per-context': times(cycle('per-context')),
      shared: times(cycle('shared')),
    });
    return {
      settings: { rounds, calls },
      tables: [{ title: 'Open and close an existing file', unit: 'ms', rows: [row('cycle', samples, 'raw')] }],
      requirements: (['per-context', 'shared'] as const).map((strategy) =>
        atMost(`${strategy} more than raw`, difference(samples[strategy], samples.raw), 3, ' ms'),
      ),
    };
  },
};

export const cycles: Case = {
  name: 'cycles',
  about: '1 000 times open, call, close: the heap and the file descriptors afterwards',
  async run({ workspace, quick }) {
    const file = workspace.fresh();
    const count = quick ? 200 : 1000;
    const cycle = async (times: number): Promise<void> => {
      for (let at = 0; at < times; at++) {
        const db = await open({ file, repositories: registry });
        await db.api.accounts.get(1);
        await db.api.accounts.credit(1, 1);
        await db.close();
      }
    };
    await cycle(100);
    const before = { heap: await settledHeap(), descriptors: descriptors() };
    await cycle(count);
    const after = { heap: await settledHeap(), descriptors: descriptors() };
    const growth = (after.heap - before.heap) / count;
    const left = after.descriptors - before.descriptors;
    return {
      settings: { cycles: count, heapBefore: before.heap, heapAfter: after.heap },
      tables: [],
      requirements: [
        atMost('heap growth a cycle', summarize([growth]), 100, ' B'),
        atMost('file descriptors left', summarize([left]), 0, ''),
      ],
    };
  },
};

/** Bytes in use when nothing more can be collected. */
export async function settledHeap(): Promise<number> {
  if (globalThis.gc === undefined) throw new Error('start the bench through npm run bench: it needs --expose-gc');
  for (let at = 0; at < 4; at++) {
    globalThis.gc();
    // Finalizers of handles run between turns of the loop.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return process.memoryUsage().heapUsed;
}

function descriptors(): number {
  try {
    return readdirSync('/proc/self/fd').length;
  } catch {
    return 0;
  }
}
