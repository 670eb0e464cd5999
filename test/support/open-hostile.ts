import { existsSync, realpathSync } from 'node:fs';
import Sqlite from 'better-sqlite3';
import { onTestFinished } from 'vitest';
import { type Database, open, type OpenOptions } from '../../src/index.ts';
import { CREATE_THINGS, hostile } from './hostile.ts';
import { createLedger } from './ledger.ts';
import { type TempDir } from './temp-dir.ts';

export type HostileDatabase = Database<typeof hostile>;

/** Opens the hostile repositories in a thread of their own; closed after the test. */
export async function openHostile(
  dir: TempDir,
  options: Omit<Partial<OpenOptions<typeof hostile>>, 'repositories'> = {},
): Promise<HostileDatabase> {
  const file = options.file ?? dir.file();
  if (typeof file === 'string' && file !== ':memory:' && !existsSync(file)) {
    createLedger(file);
    const handle = new Sqlite(file);
    handle.exec(CREATE_THINGS);
    handle.close();
  }
  const db = await open({ strategy: 'executor', file, repositories: hostile, ...options });
  dir.atEnd(() => db.close({ drain: 2000 }));
  return db;
}

/** The same over a file that keeps a rollback journal, in which a COMMIT waits for readers of other connections. */
export function openInRollback(...[dir, options]: Parameters<typeof openHostile>): Promise<HostileDatabase> {
  createLedger(dir.file());
  process.env.HOSTILE_ROLLBACK = realpathSync(dir.file());
  onTestFinished(() => {
    delete process.env.HOSTILE_ROLLBACK;
  });
  return openHostile(dir, options);
}
