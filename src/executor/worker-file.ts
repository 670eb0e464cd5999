import { existsSync } from 'node:fs';
import { ExecutorError } from '../errors.ts';

/** How to start the thread: its file, and what Node must be told for it. */
export interface WorkerFile {
  readonly url: URL;
  /** `undefined`: as this process was started. */
  readonly execArgv: string[] | undefined;
}

/** The condition under which this package's own sources are imported instead of what they were compiled to. */
const SOURCE_CONDITION = '--conditions=sluice-source';

/**
 * Finds the file that the thread starts with: beside this one, or, where both were bundled, in the folder of its name.
 * A TypeScript file is run as it is, on Node's own type stripping, and so must be what it imports.
 *
 * @throws {ExecutorError} it is not there, as when an application was bundled together with this package
 */
export function findWorker(): WorkerFile {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  for (const place of [`./worker.${extension}`, `./executor/worker.${extension}`]) {
    const url = new URL(place, import.meta.url);
    if (existsSync(url)) return { url, execArgv: extension === 'ts' ? withSources() : undefined };
  }
  throw new ExecutorError(
    `executor: there is no worker.${extension} beside ${import.meta.url}; leave "sluice" out of the bundle (mark it as external)`,
  );
}

function withSources(): string[] | undefined {
  if (process.execArgv.some((option) => option.includes('sluice-source'))) return undefined;
  return [...process.execArgv, SOURCE_CONDITION];
}
