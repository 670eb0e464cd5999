/** A table whose rows are large, for tests that fill a WAL. */
import { existsSync, statSync } from 'node:fs';
import Sqlite from 'better-sqlite3';
import { count, sql } from 'drizzle-orm';
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { type Database, defineRepositories, defineRepository, type OpenOptions } from '../../src/index.ts';
import { type StrategyUnderTest } from './strategies.ts';
import { type TempDir } from './temp-dir.ts';

export const MIB = 1024 * 1024;

const notes = sqliteTable('notes', { id: integer().primaryKey(), body: text().notNull() });

const noteRepository = defineRepository(notes, {
  reads: (db) => {
    const size = db.select({ n: count() }).from(notes).prepare();
    return { size: () => size.get()?.n ?? 0 };
  },
  writes: (db) => {
    const add = db
      .insert(notes)
      .values({ body: sql.placeholder('body') })
      .returning({ id: notes.id })
      .prepare();
    const body = 'x'.repeat(4000);
    return {
      /** Reads RETURNING with `get`, after which SQLite by itself runs no checkpoint. */
      add: () => add.get({ body }).id,
      /** So many MiB in one call. */
      fill(mib: number) {
        for (let at = 0; at < mib * 256; at++) add.get({ body });
      },
    };
  },
});

export const notebook = defineRepositories(import.meta.url, { notes: noteRepository });

export type Notebook = Database<typeof notebook>;

export function createNotebook(file: string): void {
  const handle = new Sqlite(file);
  handle.pragma('synchronous = OFF');
  handle.exec('CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT NOT NULL)');
  handle.close();
}

/** Opens the notebook in the test's folder, made at first use; closed after the test. */
export async function openNotebook(
  dir: TempDir,
  strategy: Pick<StrategyUnderTest, 'open'>,
  options: Omit<Partial<OpenOptions<typeof notebook>>, 'repositories' | 'strategy'> = {},
): Promise<Notebook> {
  const file = options.file ?? dir.file();
  if (file !== ':memory:' && !existsSync(file)) createNotebook(file as string);
  const db = await strategy.open({ durability: 'normal', ...options, file, repositories: notebook });
  dir.atEnd(() => db.close({ drain: 2000 }));
  return db;
}

/** Bytes of the WAL. `stat` does not open it. */
export function walOf(dir: TempDir): number {
  return statSync(`${dir.file()}-wal`, { throwIfNoEntry: false })?.size ?? 0;
}

/** Writes some MiB in many calls. */
export async function write({ api }: Pick<Notebook, 'api'>, mib: number): Promise<void> {
  for (let at = 0; at < mib * 4; at++) await Promise.all(Array.from({ length: 64 }, () => api.notes.add()));
}
