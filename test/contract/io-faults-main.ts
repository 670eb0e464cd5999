/**
 * A process whose files may grow to a limit only (RLIMIT_FSIZE): SQLite's writes fail with EFBIG, at BEGIN, in a call, at
 * COMMIT or in a checkpoint, wherever the limit is met. Twelve calls that arrive together, then one more without a limit;
 * what was acknowledged goes to stdout. The same with ever higher limits until nothing is refused.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { SluiceError } from '../../src/index.ts';
import { createLedger, ledger } from '../support/ledger.ts';
import { strategiesNamed } from '../support/strategies.ts';

const [, , folder = '', title = ''] = process.argv;
const [strategy] = strategiesNamed(title);
if (strategy === undefined) throw new Error(`unknown strategy ${title}`);

// The signal's default is to end the process; with a listener the write fails instead.
process.on('SIGXFSZ', () => undefined);

function limitFiles(bytes: number | 'unlimited'): void {
  const { status } = spawnSync('prlimit', ['--pid', String(process.pid), `--fsize=${bytes}:unlimited`]);
  if (status !== 0) throw new Error('prlimit failed');
}

const report: { file: string; acknowledged: string[]; codes: string[] }[] = [];
const page = 4096;
for (let size = 0; ; size++) {
  const file = join(folder, `io-${size}.db`);
  createLedger(file);
  const db = await strategy.open({ file, repositories: ledger });
  // The shared memory beside the WAL has 32 KiB at least: growing beyond it is what can be refused.
  limitFiles(33 * 1024 + size * page);
  const calls = Array.from({ length: 12 }, (_, at) => `${at}`.padEnd(1800, '.'));
  const acknowledged: string[] = [];
  const codes: string[] = [];
  await Promise.all(
    calls.map(async (call, at) => {
      try {
        if (at % 4 === 3) await db.transaction((api) => api.entries.run(call));
        else await db.api.entries.run(call);
        acknowledged.push(call);
      } catch (error) {
        codes.push(error instanceof SluiceError ? error.code : String(error));
      }
    }),
  );
  limitFiles('unlimited');
  await db.api.entries.run('after');
  acknowledged.push('after');
  await db.close();
  report.push({ file, acknowledged, codes });
  if (codes.length === 0) break;
}
console.log(JSON.stringify(report));
