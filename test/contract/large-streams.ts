import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import Sqlite from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createLedger, type LedgerDatabase } from '../support/ledger.ts';
import { openLedger } from '../support/open-ledger.ts';
import { iterate } from '../support/streaming.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';

const ROWS = 200_000;

type Stream = AsyncIterable<unknown>;
const STREAMS: readonly (readonly [name: string, make: (db: LedgerDatabase) => Stream])[] = [
  ['of a table', (db) => db.api.entries.stream()],
  ['of a table, by another order', (db) => db.api.entries.stream({}, { orderBy: ['call', 'part'] })],
  ['of a table, consistent', (db) => db.api.entries.stream({}, { consistent: true })],
  ['of a handler', (db) => db.api.entries.each(100)],
];

/** What streams are for: tables that nobody wants to hold, beside work that nobody wants to hold up. */
export function largeStreams(strategy: StrategyUnderTest): void {
  describe('Streams of 200 000 rows', () => {
    const dir = useTempDir();
    let collectGarbage: () => void;
    beforeAll(() => {
      setFlagsFromString('--expose-gc');
      collectGarbage = runInNewContext('gc') as () => void;
    });
    afterAll(() => {
      setFlagsFromString('--no-expose-gc');
    });

    const openLarge = async (): Promise<LedgerDatabase> => {
      createLedger(dir.file());
      const handle = new Sqlite(dir.file());
      handle.exec(`
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${ROWS})
        INSERT INTO entries (id, call, part) SELECT n, 'call-' || (n % 1000), n FROM numbers`);
      handle.close();
      return openLedger(dir, strategy);
    };

    test.for(STREAMS)('one %s holds a batch in memory and not the table', async ([, make]) => {
      const db = await openLarge();
      const held = (): number => {
        collectGarbage();
        return process.memoryUsage().heapUsed;
      };
      const before = held();
      let most = 0;
      let seen = 0;
      const rows = iterate(make(db));
      while ((await rows.next()).done !== true) if (++seen % 40_000 === 0) most = Math.max(most, held() - before);
      expect(seen).toBe(ROWS);
      const all = await db.api.entries.find();
      const whole = held() - before;
      expect(all).toHaveLength(ROWS);
      expect(most / 1e6, `MB at most; the whole table takes ${Math.round(whole / 1e6)}`).toBeLessThan(whole / 1e6 / 4);
    });

    test.for(STREAMS)('the event loop turns beside one %s', async ([, make]) => {
      const db = await openLarge();
      let turns = 0;
      const over = new AbortController();
      const tick = (): void => {
        turns += 1;
        if (!over.signal.aborted) setImmediate(tick);
      };
      setImmediate(tick);
      // Time of this process and not of the clock: what others do on the machine is not the stream's doing.
      const since = process.cpuUsage();
      const rows = iterate(make(db));
      while ((await rows.next()).done !== true);
      const { user, system } = process.cpuUsage(since);
      over.abort();
      expect((user + system) / 1000 / turns, `ms for a turn of the event loop, of ${turns}`).toBeLessThan(20);
    });

    test.for(STREAMS)('writes are made beside one %s', async ([, make]) => {
      const db = await openLarge();
      const over = new AbortController();
      let written = 0;
      const writing = (async () => {
        while (!over.signal.aborted) {
          await db.api.entries.run(`written-${written}`, ['row']);
          written += 1;
        }
      })();
      let seen = 0;
      let byHalfTime = 0;
      const rows = iterate(make(db));
      while ((await rows.next()).done !== true) if (++seen === ROWS / 2) byHalfTime = written;
      over.abort();
      await writing;
      expect(seen).toBeGreaterThanOrEqual(ROWS);
      expect(byHalfTime).toBeGreaterThan(0);
    });
  });
}
