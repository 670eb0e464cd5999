/** Durable single-row inserts from 1 to 1 024 callers at once: one transaction each, the limit, and the write lane. */
import { race } from '../measure/race.ts';
import { ratio } from '../measure/summary.ts';
import { atLeast, row } from '../report/build.ts';
import { type Case, type Requirement, type Row } from '../report/case.ts';
import { limit, raw, sluice } from '../sides/durable.ts';

/** The table of issue 3: callers, times raw, share of the limit. */
const REQUIRED = [
  { callers: 1, raw: 0.9, limit: undefined },
  { callers: 16, raw: 8, limit: 0.7 },
  { callers: 64, raw: 18, limit: 0.8 },
  { callers: 256, raw: 25, limit: 0.85 },
  { callers: 1024, raw: undefined, limit: undefined },
];

export const durable: Case = {
  name: 'durable',
  about: 'durable single-row inserts, 1 to 1 024 callers: raw, the hand-written batch loop, the api',
  async run({ workspace, quick }) {
    const rounds = quick ? 3 : 9;
    const duration = quick ? 150 : 400;
    const rows: Row[] = [];
    const requirements: Requirement[] = [];
    for (const { callers, raw: timesRaw, limit: ofLimit } of REQUIRED) {
      const samples = await race(
        rounds,
        { callers, duration },
        {
          raw: raw(workspace, 'insert'),
          limit: limit(workspace),
          'per-context': sluice(workspace, 'per-context', 'insert'),
          shared: sluice(workspace, 'shared', 'insert'),
        },
      );
      rows.push(row(String(callers), samples, 'raw'));
      for (const strategy of ['per-context', 'shared'] as const) {
        const who = `${callers} callers, ${strategy}`;
        if (timesRaw !== undefined) {
          requirements.push(atLeast(`${who}, beside raw`, ratio(samples[strategy], samples.raw), timesRaw));
        }
        if (ofLimit !== undefined) {
          requirements.push(atLeast(`${who}, beside the limit`, ratio(samples[strategy], samples.limit), ofLimit));
        }
      }
    }
    const at = (callers: number) => ({ callers, duration });
    for (const strategy of ['per-context', 'shared'] as const) {
      const side = sluice(workspace, strategy, 'insert');
      const samples = await race(rounds, at(256), { few: side, many: { side, options: at(1024) } });
      requirements.push(atLeast(`1024 callers beside 256, ${strategy}`, ratio(samples.many, samples.few), 1));
    }
    return {
      settings: { rounds, milliseconds: duration, synchronous: 'FULL', fileSystem: workspace.fileSystem },
      tables: [{ title: 'Durable single-row inserts, callers at once', unit: 'calls a second', rows }],
      requirements,
    };
  },
};
