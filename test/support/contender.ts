/** Another process that fights for the file until it is told to stop. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { type TempDir } from './temp-dir.ts';

const main = fileURLToPath(new URL('./contender-main.ts', import.meta.url));

export interface Contended {
  /** How many it has committed. */
  readonly rows: number;
  /** Milliseconds that each call took, through the library. */
  readonly waits: readonly number[];
}

export interface Contender {
  /** Ends it. @throws when one of its calls failed */
  stop(): Promise<Contended>;
}

/** Starts it. @param how what it writes through: better-sqlite3 itself, or the library @param name of its calls */
export async function startContender(
  dir: TempDir,
  file: string,
  how: 'raw' | 'sluice',
  name: string = how,
): Promise<Contender> {
  const child = fork(main, [file, how, name], { execArgv: ['--conditions=sluice-source'] });
  const ended = once(child, 'exit');
  dir.atEnd(async () => {
    if (child.exitCode === null) child.kill('SIGKILL');
    await ended;
  });
  await Promise.race([once(child, 'message'), ended]);
  return {
    async stop() {
      if (child.exitCode !== null) throw new Error(`the other process (${how}) has ended with ${child.exitCode}`);
      const answer = once(child, 'message') as Promise<[Contended]>;
      child.send('stop');
      const failed = ended.then(([code]): never => {
        throw new Error(`the other process (${how}) has ended with ${String(code)}`);
      });
      const [report] = await Promise.race([answer, failed]);
      return report;
    },
  };
}
