/** Runs the writing process under strace and gives back what it did to the disk. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { Disk, type Image } from './disk.ts';
import { type DiskEvent, parseTrace, TRACED } from './trace.ts';

/** How the process opens its database. */
export interface Scenario {
  readonly strategy: 'shared' | 'per-context';
  readonly durability: 'full' | 'normal';
  readonly journal: 'wal' | 'rollback';
  readonly seed: number;
}

/** The name of the database in the folder of the recording, and in every image of it. */
export const DATABASE = 'pairs.db';

const child = fileURLToPath(new URL('child.ts', import.meta.url));

/** Why nothing can be recorded here; `undefined` where it can. */
export function obstacleToRecording(): string | undefined {
  if (process.platform !== 'linux') return 'strace is a tool of Linux';
  const { error, status, stderr } = spawnSync('strace', ['-f', '-y', '-xx', '-o', '/dev/null', 'true'], {
    encoding: 'utf8',
  });
  if (error !== undefined) return `strace cannot be started (${error.message})`;
  return status === 0 ? undefined : `strace may not trace (${stderr.trim().split('\n')[0] ?? ''})`;
}

/** @throws where the process failed, or the recording does not add up to what it left on the real disk */
export async function record(scenario: Scenario): Promise<DiskEvent[]> {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'sluice-power-cut-')));
  try {
    const folder = join(root, 'disk');
    mkdirSync(folder);
    const trace = join(root, 'trace');
    const options = ['-f', '-y', '-xx', '-s', String(2 ** 24), '-o', trace, '-e', `trace=${TRACED}`];
    const command = [process.execPath, child, join(folder, DATABASE), JSON.stringify(scenario)];
    // With io_uring libuv could write files without a system call for each.
    const env = { ...process.env, UV_USE_IO_URING: '0' };
    const running = spawn('strace', [...options, ...command], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const [said, complaints] = await Promise.all([text(running.stdout), text(running.stderr), once(running, 'close')]);
    if (running.signalCode !== 'SIGKILL') throw new Error(`the writing process failed: ${complaints}`);
    const events = parseTrace(readFileSync(trace, 'utf8'), folder);
    refuseUnlessComplete(events, said, folder);
    return events;
  } finally {
    rmSync(root, { recursive: true });
  }
}

/** Everything that was said and written is in the events: nothing reached the disk by a way that was not traced. */
function refuseUnlessComplete(events: readonly DiskEvent[], said: string, folder: string): void {
  const acknowledged = events.flatMap((event) => (event.kind === 'ack' ? [`ack ${event.id}\n`] : []));
  if (acknowledged.join('') !== said) throw new Error('the trace does not have every acknowledgement');
  const disk = new Disk();
  for (const event of events) disk.apply(event);
  const seen = disk.seen();
  const real = realFiles(folder);
  for (const name of new Set([...seen.keys(), ...real.keys()])) {
    const [traced, found] = [seen.get(name), real.get(name)];
    if (traced === undefined || found === undefined || !traced.equals(found)) {
      throw new Error(`the trace does not account for ${name}`);
    }
  }
}

function realFiles(folder: string): Image {
  const names = readdirSync(folder).filter((name) => !name.endsWith('-shm'));
  return new Map(names.map((name) => [name, readFileSync(join(folder, name))]));
}
