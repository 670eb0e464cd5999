/** Crowds of callers in processes of their own, all on one file. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { type InThread } from './sluice.ts';

/** A strategy, or the batch loop of `batch-loop.ts` on a raw handle, which waits for SQLite's lock inside SQLite. */
export type CrowdSide = InThread | 'hand-written';

export interface CrowdOrder {
  readonly file: string;
  readonly side: CrowdSide;
  readonly callers: number;
  /** Milliseconds. */
  readonly duration: number;
  /** Where in the row of accounts it begins. */
  readonly first: number;
}

/** What one process has done. */
export interface CrowdReport {
  /** Milliseconds. */
  readonly time: number;
  /** Milliseconds from each call to its answer. */
  readonly transfers: readonly number[];
  readonly reads: readonly number[];
  readonly errors: readonly string[];
  /** How often another process was found holding the lock. */
  readonly busyRetries: number;
  readonly batches: number;
}

/** Runs so many processes at once, which begin together. @throws when one of them ends without a report */
export async function crowds(processes: number, order: Omit<CrowdOrder, 'first'>): Promise<CrowdReport[]> {
  const children = await Promise.all(
    Array.from({ length: processes }, async (_, at) => {
      const told: CrowdOrder = { ...order, first: at * 1013 };
      const child = fork(join(import.meta.dirname, 'crowd-main.ts'), [JSON.stringify(told)], {
        execArgv: ['--conditions=sluice-source'],
        serialization: 'advanced',
      });
      const lost = once(child, 'exit').then(([code]): never => {
        throw new Error(`a process of the crowd ended without a report, with ${String(code)}`);
      });
      lost.catch(() => undefined);
      await Promise.race([once(child, 'message'), lost]);
      return { child, lost };
    }),
  );
  return Promise.all(
    children.map(async ({ child, lost }) => {
      const answer = once(child, 'message') as Promise<[CrowdReport]>;
      child.send('begin');
      const [report] = await Promise.race([answer, lost]);
      await lost.catch(() => undefined);
      return report;
    }),
  );
}
