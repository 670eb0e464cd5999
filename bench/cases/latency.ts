/** What waiting feels like: p99 of a write, the event loop under load, and a whole transfer. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { drive } from '../measure/callers.ts';
import { inRounds } from '../measure/rounds.ts';
import { quantile, ratio, summarize } from '../measure/summary.ts';
import { atLeast, atMost, row } from '../report/build.ts';
import { type Case, type Requirement, type Row } from '../report/case.ts';
import { raw, type Side, sluice } from '../sides/durable.ts';
import { entry } from '../sides/schema.ts';
import { type InThread, openSluice } from '../sides/sluice.ts';

const STRATEGIES = ['per-context', 'shared'] as const;

export const latency: Case = {
  name: 'latency',
  about: 'p99 of a durable insert from 256 callers, and the event loop’s delay meanwhile',
  async run({ workspace, quick }) {
    const rounds = quick ? 3 : 9;
    const duration = quick ? 300 : 800;
    const requirements: Requirement[] = [];
    const p99 = (side: Side) => async () =>
      quantile((await side(workspace, { callers: 256, duration, latencies: true })).latencies, 0.99);
    const waits = await inRounds(rounds, {
      raw: p99(raw('insert')),
      'per-context': p99(sluice('per-context', 'insert')),
      shared: p99(sluice('shared', 'insert')),
    });
    const loop = await inRounds(rounds, { 'per-context': loopDelay('per-context'), shared: loopDelay('shared') });
    for (const strategy of STRATEGIES) {
      requirements.push(
        atMost(`p99 beside one transaction each, ${strategy}`, ratio(waits[strategy], waits.raw), 0.1),
        atMost(`event-loop delay p99, ${strategy}`, summarize(loop[strategy]), 15, ' ms'),
      );
    }
    return {
      settings: { rounds, milliseconds: duration, callers: 256 },
      tables: [
        { title: 'p99 of a durable insert, 256 callers', unit: 'ms', rows: [row('insert', waits, 'raw')] },
        { title: 'Event-loop delay p99, 256 writers', unit: 'ms', rows: [row('delay', loop, 'per-context')] },
      ],
      requirements,
    };

    function loopDelay(strategy: InThread): () => Promise<number> {
      return async () => {
        const file = workspace.fresh();
        const db = await openSluice(file, strategy, 'full');
        let calls = 0;
        const write = (): Promise<unknown> => db.api.entries.append(entry(calls++));
        await drive({ callers: 256, duration: 100 }, write);
        const delay = monitorEventLoopDelay({ resolution: 1 });
        delay.enable();
        await drive({ callers: 256, duration }, write);
        delay.disable();
        await db.close();
        workspace.discard(file);
        return delay.percentile(99) / 1e6;
      };
    }
  },
};

export const transfers: Case = {
  name: 'transfers',
  about: 'a durable transfer (two reads, two updates, two inserts), 1 to 256 callers',
  async run({ workspace, quick }) {
    const rounds = quick ? 3 : 9;
    const duration = quick ? 150 : 300;
    const rows: Row[] = [];
    const requirements: Requirement[] = [];
    for (const callers of [1, 64, 256]) {
      const at = (side: Side) => async () => (await side(workspace, { callers, duration })).rate;
      const samples = await inRounds(rounds, {
        raw: at(raw('transfer')),
        'per-context': at(sluice('per-context', 'transfer')),
        shared: at(sluice('shared', 'transfer')),
      });
      rows.push(row(String(callers), samples, 'raw'));
      if (callers !== 64) continue;
      for (const strategy of STRATEGIES) {
        requirements.push(atLeast(`64 callers, ${strategy}, beside raw`, ratio(samples[strategy], samples.raw), 10));
      }
    }
    return {
      settings: { rounds, milliseconds: duration, synchronous: 'FULL', fileSystem: workspace.fileSystem },
      tables: [{ title: 'Durable transfers, callers at once', unit: 'calls a second', rows }],
      requirements,
    };
  },
};
