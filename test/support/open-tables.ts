import Sqlite from 'better-sqlite3';
import {
  type Database,
  defineRepositories,
  open,
  type OpenOptions,
  type Registry,
  type Repositories,
} from '../../src/index.ts';
import { type TempDir } from './temp-dir.ts';

/** Makes a file with these tables in the test's folder and opens it with these repositories; closed after the test. */
export async function openTables<const M extends Repositories>(
  dir: TempDir,
  tables: string,
  repositories: M,
  options: Omit<Partial<OpenOptions<Registry<M>>>, 'file' | 'repositories'> = {},
): Promise<Database<Registry<M>>> {
  const file = dir.file('tables.db');
  const handle = new Sqlite(file);
  handle.pragma('synchronous = OFF');
  handle.exec(tables);
  handle.close();
  const db = await open({
    ...options,
    file,
    repositories: defineRepositories(import.meta.url, repositories),
    durability: 'normal',
  });
  dir.atEnd(() => db.close());
  return db;
}

/**
 * A repository as JavaScript calls it: what the types would refuse reaches the method. The types are the subject of
 * `test/types`.
 */
export function untyped(repository: object): Readonly<Record<string, (...args: unknown[]) => Promise<unknown>>> {
  return repository as Readonly<Record<string, (...args: unknown[]) => Promise<unknown>>>;
}
