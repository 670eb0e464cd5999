/**
 * Imports the ledger's CSV through the api: every line its own durable write, many of them in flight.
 *
 * Order needs no care. Sluice runs the writes of one `Database` first come first served, so a transfer that is
 * submitted after the account it needs also runs after it, without anybody waiting for an answer in between.
 */
import { ConstraintError } from 'sluice';
import { type Row } from './csv.ts';
import { LedgerError } from './errors.ts';
import { type LedgerApi } from './repositories.ts';

/** The two calls that an import makes. */
export interface ImportApi {
  readonly accounts: Pick<LedgerApi['accounts'], 'open'>;
  readonly transfers: Pick<LedgerApi['transfers'], 'send'>;
}

/** A line that was not imported. */
export interface BadLine {
  readonly line: number;
  readonly reason: string;
}

export interface ImportReport {
  /** Lines read, the good and the bad; blank ones do not count. */
  read: number;
  /** Newly imported, by kind. */
  accounts: number;
  transfers: number;
  /** Good lines whose account or transfer was there already. */
  repeated: number;
  /** How many lines were refused, and the first {@link listed} of them in the order of the file. */
  bad: number;
  badLines: BadLine[];
  /** The last line that was read. */
  lastLine: number;
  /** Milliseconds from submitting each line to its acknowledgement. */
  latencies: number[];
  /** Milliseconds that the import took. */
  elapsed: number;
  /** Set when the signal ended the import before the end of the file. */
  stopped: boolean;
}

export interface ImportOptions {
  /** Lines submitted and not yet acknowledged, at most. More would only make other writers wait longer for their turn. */
  readonly inFlight?: number;
  /** Ends the import after what is in flight. */
  readonly signal?: AbortSignal;
  /** Told after each line: what was done so far, and the byte in the file that it stands at. */
  readonly onProgress?: (report: Readonly<ImportReport>, position: number) => void;
}

/** A file full of bad lines should not fill the memory with reasons. */
const listed = 1000;

/**
 * Imports all rows. A line that the data is to blame for is reported and the rest goes on; anything else, such as a full
 * disk, ends the import and is thrown once everything in flight has ended.
 */
export async function importRows(
  api: ImportApi,
  rows: AsyncIterable<Row>,
  { inFlight = 64, signal, onProgress }: ImportOptions = {},
): Promise<ImportReport> {
  const report = emptyReport();
  const started = performance.now();
  const gate = createGate(inFlight);
  let failure: { error: unknown } | undefined;

  const refuse = (line: number, reason: string) => {
    report.bad += 1;
    if (report.badLines.length < listed) report.badLines.push({ line, reason });
  };
  const submit = async (row: Exclude<Row, { kind: 'bad' }>) => {
    const before = performance.now();
    try {
      const repeated = await write(api, row);
      report.latencies.push(performance.now() - before);
      if (repeated) report.repeated += 1;
      else if (row.kind === 'account') report.accounts += 1;
      else report.transfers += 1;
    } catch (error) {
      const reason = blame(error);
      if (reason === undefined) failure ??= { error };
      else refuse(row.line, reason);
    }
    onProgress?.(report, row.end);
  };

  try {
    for await (const row of rows) {
      if (signal?.aborted || failure) break;
      report.read += 1;
      report.lastLine = row.line;
      if (row.kind === 'bad') {
        refuse(row.line, row.reason);
        onProgress?.(report, row.end);
      } else await gate.enter(() => submit(row));
    }
  } finally {
    await gate.empty();
  }
  if (failure) throw failure.error;
  report.badLines.sort((one, other) => one.line - other.line);
  report.elapsed = performance.now() - started;
  report.stopped = signal?.aborted ?? false;
  return report;
}

/** Whether the row was there already. */
async function write(api: ImportApi, row: Exclude<Row, { kind: 'bad' }>): Promise<boolean> {
  if (row.kind === 'account') return (await api.accounts.open(row.account)).repeated;
  const { source, destination, cents, key, at } = row.transfer;
  return (await api.transfers.send(source, destination, cents, key, at)).repeated;
}

/** What is wrong with the line; `undefined` when the line is not to blame. */
function blame(error: unknown): string | undefined {
  if (error instanceof LedgerError) return error.message;
  if (!(error instanceof ConstraintError)) return undefined;
  const columns = error.columns.length > 0 ? error.columns.join(', ') : (error.constraint ?? 'row');
  return error.kind === 'unique' ? `${columns} is taken by another row` : `${columns} breaks a rule (${error.kind})`;
}

function emptyReport(): ImportReport {
  const counts = { read: 0, accounts: 0, transfers: 0, repeated: 0, bad: 0, lastLine: 0, elapsed: 0 };
  return { ...counts, badLines: [], latencies: [], stopped: false };
}

/** Lets `limit` tasks run at a time: `enter` resolves when the task has begun, `empty` when all have ended. */
function createGate(limit: number) {
  let running = 0;
  let wake: (() => void) | undefined;
  const change = () => new Promise<void>((resolve) => (wake = resolve));
  return {
    enter: async (task: () => Promise<void>) => {
      while (running >= limit) await change();
      running += 1;
      void task().finally(() => {
        running -= 1;
        wake?.();
      });
    },
    empty: async () => {
      while (running > 0) await change();
    },
  };
}
