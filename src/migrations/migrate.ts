/**
 * Brings a database up to date with a drizzle-kit folder, keeping Drizzle's own ledger (`__drizzle_migrations`), so that a
 * project can adopt it or go back.
 *
 * 1. `PRAGMA foreign_keys=OFF` outside any transaction; inside one it does nothing, and a rebuilt table would silently
 *    lose its children to ON DELETE CASCADE (https://www.sqlite.org/lang_altertable.html, "Making Other Kinds Of Table
 *    Schema Changes", step 1).
 * 2. BEGIN IMMEDIATE, and only then the ledger is read: of several processes one migrates and the others find it done.
 * 3. Every migration that is newer than the ledger's newest, in the journal's order.
 * 4. `foreign_key_check`, then COMMIT (step 10 of the manual's procedure). Whatever fails undoes everything.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { MigrationMeta } from 'drizzle-orm/migrator';
import { type Connection } from '../connection/connection.ts';
import { distinctKeys, violatedForeignKeys } from '../connection/foreign-keys.ts';
import { type Handle } from '../connection/handle.ts';
import { translateError } from '../connection/sqlite-errors.ts';
import { MigrationError, SluiceError } from '../errors.ts';
import { retryBusy } from '../lanes/retry.ts';

const LEDGER = '__drizzle_migrations';

/** The migrations of a folder. @throws {MigrationError} for a folder that drizzle-kit did not generate. */
export async function readMigrations(folder: string | URL): Promise<MigrationMeta[]> {
  const path = folder instanceof URL ? fileURLToPath(folder) : folder;
  if (!existsSync(path)) {
    throw new MigrationError(`migrate: there is no folder ${path}; give the "out" folder of drizzle.config.ts`);
  }
  // Every module of Drizzle costs milliseconds and a megabyte: this one only those who have migrations.
  const { readMigrationFiles } = await import('drizzle-orm/migrator');
  try {
    return readMigrationFiles({ migrationsFolder: path });
  } catch (cause) {
    throw new MigrationError(
      `migrate: ${path} is not a folder of drizzle-kit (${cause instanceof Error ? cause.message : String(cause)}); ` +
        'run drizzle-kit generate, and commit what it writes',
      { cause },
    );
  }
}

/** Whether a migration is newer than what the ledger has. Reads only. @throws {BusyError} while another connection writes */
export function isBehind(connection: Connection, migrations: readonly MigrationMeta[]): boolean {
  try {
    return pending(connection.handle, migrations).length > 0;
  } catch (error) {
    throw translateError(error, { operation: 'migrate', handle: connection.handle });
  }
}

/**
 * Applies what is pending, all or nothing. The caller holds the write lane.
 * @returns how many were applied
 */
export async function migrate(
  connection: Connection,
  migrations: readonly MigrationMeta[],
  timeout: number,
): Promise<number> {
  const { handle } = connection;
  handle.pragma('foreign_keys = OFF');
  try {
    await retryBusy('migrate', performance.now() + timeout, () => {
      connection.control('beginImmediate');
    });
    handle.exec(`CREATE TABLE IF NOT EXISTS ${LEDGER} (id SERIAL PRIMARY KEY, hash text NOT NULL, created_at numeric)`);
    const todo = pending(handle, migrations);
    for (const migration of todo) apply(handle, migration);
    const [broken] = todo.length === 0 ? [] : distinctKeys(violatedForeignKeys(handle));
    if (broken !== undefined) {
      throw new MigrationError(
        `migrate: afterwards rows of ${broken.table} (${broken.columns.join(', ')}) would refer to rows that ${broken.parent} ` +
          'does not have; nothing was applied: repair the rows or the migration',
      );
    }
    connection.control('commit');
    return todo.length;
  } finally {
    connection.rollback();
    handle.pragma('foreign_keys = ON');
  }
}

function apply(handle: Handle, migration: MigrationMeta): void {
  for (const statement of migration.sql) {
    try {
      handle.exec(statement);
    } catch (cause) {
      if (cause instanceof SluiceError) throw cause;
      throw new MigrationError(
        `migrate: ${cause instanceof Error ? cause.message : String(cause)}, in: ${statement.trim().slice(0, 200)}; nothing was applied`,
        { cause },
      );
    }
  }
  handle.prepare(`INSERT INTO ${LEDGER} (hash, created_at) VALUES (?, ?)`).run(migration.hash, migration.folderMillis);
}

function pending(handle: Handle, migrations: readonly MigrationMeta[]): MigrationMeta[] {
  const known = handle.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?").get(LEDGER);
  if (known === undefined) return [...migrations];
  const newest = handle.prepare(`SELECT max(created_at) AS at FROM ${LEDGER}`).get() as { at: unknown };
  return migrations.filter(({ folderMillis }) => newest.at === null || folderMillis > Number(newest.at));
}
