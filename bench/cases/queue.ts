/** What a call weighs while it waits for the write lane. */
import { summarize } from '../measure/summary.ts';
import { atMost } from '../report/build.ts';
import { type Case } from '../report/case.ts';
import { entry } from '../sides/schema.ts';
import { openSluice } from '../sides/sluice.ts';
import { settledHeap } from './opening.ts';

/** As many as may wait by default. */
const CALLS = 10_000;

export const queue: Case = {
  name: 'queue',
  about: 'memory of 10 000 queued calls while a transaction holds the write lane',
  async run({ workspace, quick }) {
    const sizes: Record<string, number[]> = { 'with its row': [], 'without its row': [] };
    for (let round = -1; round < (quick ? 1 : 5); round++) {
      const rows = Array.from({ length: CALLS }, (_, at) => entry(at));
      sizes['with its row']?.push(...(round < 0 ? [] : [await weigh(entry)]));
      sizes['without its row']?.push(...(round < 0 ? [] : [await weigh((at) => rows[at] ?? entry(at))]));
    }
    return {
      settings: { calls: CALLS },
      tables: [],
      requirements: Object.entries(sizes).map(([what, figures]) =>
        atMost(`memory a queued call, ${what}`, summarize(figures), 1024, ' B'),
      ),
    };

    async function weigh(row: typeof entry): Promise<number> {
      const file = workspace.fresh();
      const db = await openSluice(file, 'per-context', 'full');
      await db.api.entries.append(entry(0));
      // Called from outside the transaction: from inside they would join it and not wait.
      let end = (): void => undefined;
      let transaction: Promise<void> | undefined;
      await new Promise<void>((begun) => {
        transaction = db.transaction(() => {
          begun();
          return new Promise<void>((resolve) => {
            end = resolve;
          });
        });
      });
      const before = await settledHeap();
      const queued = Array.from({ length: CALLS }, (_, at) => db.api.entries.append(row(at)));
      const each = ((await settledHeap()) - before) / CALLS;
      const { queued: waiting } = db.stats().writes ?? { queued: 0 };
      if (waiting !== CALLS) throw new Error(`${waiting} calls wait, not ${CALLS}: the figure would mean nothing`);
      end();
      await transaction;
      await Promise.all(queued);
      await db.close();
      workspace.discard(file);
      return each;
    }
  },
};
