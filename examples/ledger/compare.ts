/** `--compare`: the same import and the same clients under every strategy, each on a file of its own, in one table. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { open } from 'sluice';
import { checkLedger } from './checks.ts';
import { openCsv } from './csv.ts';
import { drive } from './drive.ts';
import { grouped } from './format.ts';
import { importRows } from './import.ts';
import { ledger } from './repositories.ts';
import { startServices } from './services.ts';

/** Milliseconds between two looks at the event loop. */
const RESOLUTION = 1;

export interface Comparison {
  readonly csv: string;
  /** Threads that answer requests under `executor`; 0: the main thread does, as under the others. */
  readonly threads: number;
  readonly signal: AbortSignal;
  readonly say: (text: string) => void;
}

const strategies = ['shared', 'per-context', 'executor'] as const;

/** Runs them one after the other; whether every check held. */
export async function compare({ csv, threads, signal, say }: Comparison): Promise<boolean> {
  const rows: string[][] = [['strategy', 'import', 'requests', 'p50', 'p99', 'loop p99', 'errors', 'books']];
  let all = true;
  for (const strategy of strategies) {
    const folder = mkdtempSync(join(tmpdir(), 'ledger-compare-'));
    try {
      const { cells, holds } = await run(strategy, join(folder, 'ledger.db'), {
        csv,
        threads: strategy === 'executor' ? threads : 0,
        signal,
      });
      rows.push(cells);
      all &&= holds;
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
  say(columns(rows));
  return all;
}

async function run(
  strategy: (typeof strategies)[number],
  file: string,
  { csv, threads, signal }: Omit<Comparison, 'say'>,
): Promise<{ cells: string[]; holds: boolean }> {
  const migrations = new URL('../../drizzle', import.meta.url);
  await using db = await open({ file, repositories: ledger, migrations, strategy });
  const services = await startServices(db, threads, 0);
  const loop = monitorEventLoopDelay({ resolution: RESOLUTION });
  try {
    loop.enable();
    const importing = importRows(db.api, await openCsv(csv), { signal, onProgress: () => undefined });
    const driven = await drive({ origins: services.origins, clients: 8, until: importing, atLeast: 2000, signal });
    const imported = await importing;
    loop.disable();
    const checks = await checkLedger(db, {
      accounts: imported.accounts + driven.opened,
      transfers: imported.transfers + driven.keys.length,
      keys: driven.keys,
    });
    const broken = checks.filter(({ holds }) => !holds);
    const sorted = driven.latencies.toSorted((one, other) => one - other);
    const at = (share: number): string => `${(sorted[Math.ceil(share * sorted.length) - 1] ?? 0).toFixed(1)} ms`;
    const errors = driven.surprises.length;
    return {
      cells: [
        threads > 0 ? `${strategy}, ${threads} threads` : strategy,
        `${perSecond(imported.latencies.length, imported.elapsed)} lines/s`,
        `${perSecond(driven.requests, driven.elapsed)}/s`,
        at(0.5),
        at(0.99),
        // Node's histogram holds the whole time between two looks.
        `${(loop.percentile(99) / 1e6 - RESOLUTION).toFixed(1)} ms`,
        String(errors),
        broken.length === 0 ? 'right' : broken.map(({ law }) => law).join(', '),
      ],
      holds: errors === 0 && broken.length === 0,
    };
  } finally {
    await services.close();
  }
}

function perSecond(count: number, milliseconds: number): string {
  return grouped(Math.round((count * 1000) / Math.max(1, milliseconds)));
}

function columns(rows: readonly (readonly string[])[]): string {
  const [first = []] = rows;
  const widths = first.map((_, at) => Math.max(...rows.map((row) => row[at]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
