/** Durable single-row inserts from 1 to 1 024 callers at once: one transaction each, the limit, and the write lane. */
import { inRounds } from '../measure/rounds.ts';
import { ratio } from '../measure/summary.ts';
import { atLeast, row } from '../report/build.ts';
import { type Case, type Requirement, type Row } from '../report/case.ts';
import { limit, raw, type Side, sluice } from '../sides/durable.ts';

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
    const duration = quick ? 150 : 300;
    const rows: Row[] = [];
    const requirements: Requirement[] = [];
    for (const { callers, raw: timesRaw, limit: ofLimit } of REQUIRED) {
      const at = (side: Side) => async () => (await side(workspace, { callers, duration })).rate;
      const samples = await inRounds(rounds, {
        raw: at(raw('insert')),
        limit: at(limit),
        'per-context': at(sluice('per-context', 'insert')),
        shared: at(sluice('shared', 'insert')),
      });
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
    requirements.push(...(await crowd()));
    return {
      settings: { rounds, milliseconds: duration, synchronous: 'FULL', fileSystem: workspace.fileSystem },
      tables: [{ title: 'Durable single-row inserts, callers at once', unit: 'calls a second', rows }],
      requirements,
    };

    /** 1 024 callers beside 256, in rounds of their own: a ratio needs both in one round. */
    async function crowd(): Promise<Requirement[]> {
      const found: Requirement[] = [];
      for (const strategy of ['per-context', 'shared'] as const) {
        const at = (callers: number) => async () =>
          (await sluice(strategy, 'insert')(workspace, { callers, duration })).rate;
        const samples = await inRounds(rounds, { few: at(256), many: at(1024) });
        found.push(atLeast(`1024 callers beside 256, ${strategy}`, ratio(samples.many, samples.few), 1));
      }
      return found;
    }
  },
};
