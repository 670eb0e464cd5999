/** A process of its own with a crowd of callers, each of which reads and transfers by turns. See `crowd.ts`. */
import { key } from './schema.ts';
import { BUSY_ACCOUNTS } from './durable.ts';
import { type CrowdOrder, type CrowdReport } from './crowd.ts';
import { openSluice } from './sluice.ts';

const [, , order = '{}'] = process.argv;
const { file, strategy, callers, duration, first } = JSON.parse(order) as CrowdOrder;

const db = await openSluice(file, strategy, 'full');
process.send?.('ready');
process.once('message', () => {
  void run();
});

async function run(): Promise<void> {
  const transfers: number[] = [];
  const reads: number[] = [];
  const errors: string[] = [];
  const { accounts, transfers: ledger } = db.api;
  const start = performance.now();
  const until = start + duration;
  const caller = async (_: unknown, at: number): Promise<void> => {
    for (let call = first + at * 7; performance.now() < until; call += 3) {
      try {
        const asked = performance.now();
        await accounts.byId(key(call, BUSY_ACCOUNTS));
        const read = performance.now();
        await ledger.send(key(call + 1, BUSY_ACCOUNTS), key(call + 2, BUSY_ACCOUNTS), 1);
        reads.push(read - asked);
        transfers.push(performance.now() - read);
      } catch (error) {
        errors.push(String(error));
      }
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  const time = performance.now() - start;
  const { busyRetries = 0, batches = 0 } = db.stats().writes ?? {};
  await db.close();
  const report: CrowdReport = { time, transfers, reads, errors, busyRetries, batches };
  process.send?.(report, () => {
    process.disconnect();
  });
}
