/** A process of its own with a crowd of callers, each of which reads and transfers by turns. See `crowd.ts`. */
import { batchLoop } from './batch-loop.ts';
import { type CrowdOrder, type CrowdReport } from './crowd.ts';
import { BUSY_ACCOUNTS } from './durable.ts';
import { openRaw, rawRead, transferSteps } from './raw.ts';
import { key } from './schema.ts';
import { type InThread, openSluice } from './sluice.ts';

/** What the callers call. */
interface Ledger {
  readonly read: (account: number) => unknown;
  readonly send: (from: number, to: number) => Promise<unknown>;
  /** How often the lock was looked for in vain, and how many batches there were, where anybody counts. */
  readonly counts: () => Pick<CrowdReport, 'busyRetries' | 'batches'>;
  readonly close: () => unknown;
}

const [, , order = '{}'] = process.argv;
const { file, side, callers, duration, first } = JSON.parse(order) as CrowdOrder;

const ledger = side === 'hand-written' ? byHand() : await openedBy(side);
process.send?.('ready');
process.once('message', () => {
  void run();
});

async function run(): Promise<void> {
  const transfers: number[] = [];
  const reads: number[] = [];
  const errors: string[] = [];
  const start = performance.now();
  const until = start + duration;
  const caller = async (_: unknown, at: number): Promise<void> => {
    for (let call = first + at * 7; performance.now() < until; call += 3) {
      try {
        const asked = performance.now();
        await ledger.read(key(call, BUSY_ACCOUNTS));
        const read = performance.now();
        await ledger.send(key(call + 1, BUSY_ACCOUNTS), key(call + 2, BUSY_ACCOUNTS));
        reads.push(read - asked);
        transfers.push(performance.now() - read);
      } catch (error) {
        errors.push(String(error));
      }
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  const time = performance.now() - start;
  const counts = ledger.counts();
  await ledger.close();
  const report: CrowdReport = { time, transfers, reads, errors, ...counts };
  process.send?.(report, () => {
    process.disconnect();
  });
}

async function openedBy(strategy: InThread): Promise<Ledger> {
  const db = await openSluice(file, strategy, 'full');
  const { accounts, transfers } = db.api;
  return {
    read: (account) => accounts.byId(account),
    send: (from, to) => transfers.send(from, to, 1),
    counts: () => {
      const { busyRetries = 0, batches = 0 } = db.stats().writes ?? {};
      return { busyRetries, batches };
    },
    close: () => db.close(),
  };
}

function byHand(): Ledger {
  const handle = openRaw(file, 'full');
  handle.pragma('busy_timeout = 20000');
  const read = rawRead(handle);
  const steps = transferSteps(handle);
  const submit = batchLoop(handle);
  return {
    read,
    send: (from, to) => submit(() => steps(from, to, 1)),
    counts: () => ({ busyRetries: 0, batches: 0 }),
    close: () => handle.close(),
  };
}
