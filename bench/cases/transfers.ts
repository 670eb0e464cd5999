/** A transfer is what a service really does in one call: two reads, two updates, two inserts. */
import { race } from '../measure/race.ts';
import { ratio } from '../measure/summary.ts';
import { atLeast, row } from '../report/build.ts';
import { type Case, type Requirement, type Row } from '../report/case.ts';
import { BUSY_ACCOUNTS, raw, sluice, transferLimit } from '../sides/durable.ts';

export const transfers: Case = {
  name: 'transfers',
  about: 'a durable transfer (two reads, two updates, two inserts), 1 to 256 callers',
  async run({ workspace, quick }) {
    const rounds = quick ? 3 : 9;
    const duration = quick ? 150 : 400;
    const rows: Row[] = [];
    const requirements: Requirement[] = [];
    for (const callers of [1, 64, 256]) {
      const samples = await race(
        rounds,
        { callers, duration },
        {
          raw: raw(workspace, 'transfer'),
          limit: transferLimit(workspace),
          'per-context': sluice(workspace, 'per-context', 'transfer'),
          shared: sluice(workspace, 'shared', 'transfer'),
        },
      );
      rows.push(row(String(callers), samples, 'raw'));
      if (callers !== 64) continue;
      for (const strategy of ['per-context', 'shared'] as const) {
        requirements.push(atLeast(`64 callers, ${strategy}, beside raw`, ratio(samples[strategy], samples.raw), 10));
      }
    }
    return {
      settings: {
        rounds,
        milliseconds: duration,
        accounts: BUSY_ACCOUNTS,
        synchronous: 'FULL',
        fileSystem: workspace.fileSystem,
      },
      tables: [{ title: 'Durable transfers, callers at once', unit: 'calls a second', rows }],
      requirements,
    };
  },
};
