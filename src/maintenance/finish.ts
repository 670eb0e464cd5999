import { type Connection } from '../connection/connection.ts';

/**
 * What SQLite recommends before the last connection closes: the planner's statistics brought up to date where that is
 * cheap, and the WAL emptied into the database. Both are improvements that may fail without loss: another process that
 * reads keeps the WAL, and the next one to open the file recovers it.
 *
 * @see https://www.sqlite.org/pragma.html#pragma_optimize
 */
export function finishFile(connection: Connection): void {
  const { handle } = connection;
  try {
    handle.pragma('optimize');
    handle.pragma('wal_checkpoint(TRUNCATE)');
  } catch {
    // Busy or read-only by now: nothing is lost, see above.
  }
}
