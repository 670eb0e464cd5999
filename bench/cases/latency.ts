/** What waiting feels like: the p99 of a write, and the event loop meanwhile. */
import { drive } from '../measure/callers.ts';
import { watchLoopDelay } from '../measure/loop-delay.ts';
import { type Running, type Side } from '../measure/race.ts';
import { inRounds } from '../measure/rounds.ts';
import { quantile, ratio, summarize } from '../measure/summary.ts';
import { atMost, row } from '../report/build.ts';
import { type Case, type Requirement } from '../report/case.ts';
import { raw, sluice } from '../sides/durable.ts';

const CALLERS = 256;

export const latency: Case = {
  name: 'latency',
  about: 'p99 of a durable insert from 256 callers, and the event loop’s delay meanwhile',
  async run({ workspace, quick }) {
    const rounds = quick ? 3 : 9;
    const duration = quick ? 300 : 800;
    const perContext = sluice(workspace, 'per-context', 'insert');
    const shared = sluice(workspace, 'shared', 'insert');
    const waits = await inRounds(rounds, {
      raw: loaded(raw(workspace, 'insert'), p99),
      'per-context': loaded(perContext, p99),
      shared: loaded(shared, p99),
    });
    const loop = await inRounds(rounds, {
      'per-context': loaded(perContext, loopDelay),
      shared: loaded(shared, loopDelay),
    });
    const requirements: Requirement[] = [];
    for (const strategy of ['per-context', 'shared'] as const) {
      requirements.push(
        atMost(`p99 beside one transaction each, ${strategy}`, ratio(waits[strategy], waits.raw), 0.1),
        atMost(`event-loop delay p99, ${strategy}`, summarize(loop[strategy]), 15, ' ms'),
      );
    }
    return {
      settings: { rounds, milliseconds: duration, callers: CALLERS, fileSystem: workspace.fileSystem },
      tables: [
        { title: 'p99 of a durable insert, 256 callers', unit: 'ms', rows: [row('insert', waits, 'raw')] },
        { title: 'Event-loop delay p99, 256 writers', unit: 'ms', rows: [row('delay', loop, 'per-context')] },
      ],
      requirements,
    };

    /** Opens a side, warms it up, measures it, closes it. */
    function loaded(side: Side, measure: (running: Running) => Promise<number>): () => Promise<number> {
      return async () => {
        const running = await side();
        await drive({ callers: CALLERS, duration: 100 }, running.call);
        const figure = await measure(running);
        await running.close();
        return figure;
      };
    }

    async function p99({ call }: Running): Promise<number> {
      const { latencies } = await drive({ callers: CALLERS, duration, latencies: true }, call);
      return quantile(latencies, 0.99);
    }

    async function loopDelay({ call }: Running): Promise<number> {
      const delay = watchLoopDelay();
      await drive({ callers: CALLERS, duration }, call);
      return delay();
    }
  },
};
