import Sqlite from 'better-sqlite3';

/** One open `better-sqlite3` database object. It never crosses a thread and never leaves `connection/` and its lease. */
export type Handle = Sqlite.Database;
/** A statement compiled on a {@link Handle}. */
export type NativeStatement = Sqlite.Statement;

/** How to open a handle. */
export interface HandleOptions {
  readonly readonly: boolean;
  /** SQLite's own busy timeout in ms while opening. It blocks the thread: keep it for opening, then set it to 0. */
  readonly busyTimeout: number;
}

/** Opens the file. The only place in Sluice where a handle is made. */
export function openHandle(file: string, options: HandleOptions): Handle {
  return new Sqlite(file, { readonly: options.readonly, timeout: options.busyTimeout });
}
