/** Many processes on one file beside one process with as many callers: what the fight for SQLite's lock costs. */
import Sqlite from 'better-sqlite3';
import { quantile, ratio, summarize } from '../measure/summary.ts';
import { atLeast, atMost, row } from '../report/build.ts';
import { type Case, type Requirement, type Row } from '../report/case.ts';
import { crowds, type CrowdSide } from '../sides/crowd.ts';
import { SEEDED } from '../sides/schema.ts';

const PROCESSES = 8;
const CALLERS = 16;

interface Figures {
  /** Calls a second. */
  readonly rate: number;
  /** Milliseconds. */
  readonly median: number;
  readonly p99: number;
  readonly longest: number;
  readonly errors: number;
  readonly retries: number;
  readonly batch: number;
}

export const processes: Case = {
  name: 'processes',
  about:
    '8 processes × 16 callers that read and transfer on one file, beside one process with 128 and with 16; also by hand',
  async run({ workspace, quick }) {
    const rounds = quick ? 1 : 3;
    const duration = quick ? 4000 : 20_000;
    const rates: Row[] = [];
    const waits: Row[] = [];
    const others: Row[] = [];
    const requirements: Requirement[] = [];
    for (const side of ['hand-written', 'per-context', 'shared'] as const) {
      const many: Figures[] = [];
      const one: Figures[] = [];
      const few: Figures[] = [];
      for (let round = 0; round < rounds; round++) {
        one.push(await measure(side, 1, PROCESSES * CALLERS));
        many.push(await measure(side, PROCESSES, CALLERS));
        few.push(await measure(side, 1, CALLERS));
      }
      const all = (figure: keyof Figures) => ({
        'one process': one.map((each) => each[figure]),
        'eight processes': many.map((each) => each[figure]),
        'one process, 16 callers': few.map((each) => each[figure]),
      });
      rates.push(row(side, all('rate'), 'one process'));
      for (const figure of ['median', 'p99', 'longest'] as const) {
        waits.push(row(`${figure}, ${side}`, all(figure), 'one process'));
      }
      if (side === 'hand-written') continue;
      others.push(row(`transfers a batch, ${side}`, all('batch'), 'one process'));
      others.push(row(`found it taken, ${side}`, all('retries'), 'one process'));
      const { 'one process': alone, 'eight processes': together } = all('rate');
      const longest = many.map((each) => each.longest / each.median);
      requirements.push(
        atMost(`errors, ${side}`, summarize(many.map(({ errors }) => errors)), 0, ''),
        atLeast(`throughput beside one process, ${side}`, ratio(together, alone), 0.6),
        atMost(`the longest wait for a transfer beside the median, ${side}`, summarize(longest), 50),
      );
    }
    return {
      settings: { rounds, milliseconds: duration, processes: PROCESSES, callers: CALLERS, synchronous: 'FULL' },
      tables: [
        { title: 'Reads and transfers by turns, 128 callers (the last: 16)', unit: 'calls a second', rows: rates },
        { title: 'From a transfer to its answer', unit: 'ms', rows: waits },
        { title: 'Batches, and looks at the lock that was taken', unit: '', rows: others },
      ],
      requirements,
    };

    async function measure(side: CrowdSide, count: number, callers: number): Promise<Figures> {
      const file = workspace.fresh();
      const reports = await crowds(count, { file, side, callers, duration });
      const transfers = reports.flatMap((report) => report.transfers);
      assertConserved(file, transfers.length);
      workspace.discard(file);
      return {
        rate: reports.reduce(
          (sum, { transfers: sent, reads, time }) => sum + (sent.length + reads.length) / (time / 1000),
          0,
        ),
        median: quantile(transfers, 0.5),
        p99: quantile(transfers, 0.99),
        longest: quantile(transfers, 1),
        errors: reports.reduce((sum, { errors }) => sum + errors.length, 0),
        retries: reports.reduce((sum, { busyRetries }) => sum + busyRetries, 0),
        batch: transfers.length / reports.reduce((sum, { batches }) => sum + batches, 0),
      };
    }
  },
};

/** @throws where money came about or was lost, or a transfer that was acknowledged is not there */
function assertConserved(file: string, acknowledged: number): void {
  const handle = new Sqlite(file, { readonly: true });
  const cents = handle.prepare('SELECT sum(cents) FROM accounts').pluck().get();
  const sent = handle.prepare('SELECT count(*) FROM transfers').pluck().get();
  handle.close();
  if (cents !== SEEDED * 1_000_000)
    throw new Error(`the accounts hold ${String(cents)} cents, not ${SEEDED * 1_000_000}`);
  if (sent !== acknowledged)
    throw new Error(`${acknowledged} transfers were acknowledged, and there are ${String(sent)}`);
}
