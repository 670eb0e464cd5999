import Sqlite from 'better-sqlite3';

/** One open `better-sqlite3` database object. It never crosses a thread and never leaves `connection/` and its lease. */
export type Handle = Sqlite.Database;
/** A statement compiled on a {@link Handle}. */
export type NativeStatement = Sqlite.Statement;

/**
 * Opens the file. The only place in Sluice where a handle is made. SQLite itself waits for no lock: that would put the
 * thread to sleep, and with it perhaps the very transaction that it waits for.
 */
export function openHandle(file: string, access: 'read' | 'write'): Handle {
  return new Sqlite(file, { readonly: access === 'read', timeout: 0 });
}
