import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { QueueFullError } from '../../src/index.ts';
import { type LedgerDatabase } from '../support/ledger.ts';
import { watchLoop } from '../support/loop-watch.ts';
import { openLedger } from '../support/open-ledger.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { gate, rejection, until } from '../support/waiting.ts';

const CALLS = 10_000;

const KINDS: readonly { name: string; ask: (db: LedgerDatabase, at: number) => Promise<unknown> }[] = [
  { name: 'writes', ask: (db, at) => db.api.entries.run(String(at), ['row']) },
  { name: 'transactions', ask: (db, at) => db.transaction((api) => api.entries.run(String(at), ['row'])) },
  { name: 'reads', ask: (db, at) => db.api.entries.exists({ part: at }) },
  { name: 'snapshots', ask: (db, at) => db.snapshot((api) => api.entries.exists({ part: at })) },
];

/** Promise 10 for as many calls as may wait: bounded memory, and an event loop that goes on. */
export function longQueues(strategy: StrategyUnderTest): void {
  describe('10. Long queues', () => {
    const dir = useTempDir();

    test.for(KINDS)(
      'ten thousand waiting $name are bounded, let timers run, and all are served',
      // Through another thread each transaction is a round trip, and there may be others on the machine.
      { timeout: 120_000 },
      async ({ name, ask }) => {
        const reading = name === 'reads' || name === 'snapshots';
        const db = await openLedger(dir, strategy, { durability: 'normal', readers: 1, timeout: 60_000 });
        const [begun, held] = [gate(), gate()];
        const hold = async (): Promise<void> => {
          begun.open();
          await held.passed;
        };
        const holder = reading && strategy.readsDuringTransaction ? db.snapshot(hold) : db.transaction(hold);
        await begun.passed;

        const before = process.memoryUsage().heapUsed;
        const calls = Array.from({ length: CALLS }, (_, at) => ask(db, at));
        await turn();
        const waiting = (): number => {
          const { writes, readers } = db.stats();
          return (writes?.queued ?? 0) + readers.waiting;
        };
        // Into another thread they are still on their way.
        if (!strategy.inThread) await until('all calls to arrive', () => waiting() >= CALLS);
        expect(waiting(), 'the calls that wait').toBe(CALLS);
        // With whatever garbage lies about, which only makes it look like more.
        const each = (process.memoryUsage().heapUsed - before) / CALLS;
        const refused = await rejection(ask(db, CALLS), QueueFullError);
        expect(refused.limit).toBe(CALLS);

        held.open();
        const loop = watchLoop(dir);
        await Promise.all([holder, ...calls]);
        const [longest] = await loop.stop();
        expect(each, 'bytes a waiting call').toBeLessThan(8192);
        expect(longest, 'ms that the event loop stood still').toBeLessThan(100);
        expect(await db.api.entries.count()).toBe(reading ? 0 : CALLS);
      },
    );
  });
}
