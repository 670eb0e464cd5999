import { type Connection } from '../connection/connection.ts';
import { InternalError } from '../errors.ts';

/**
 * What SQLite recommends before the last connection closes: the planner's statistics brought up to date where that is
 * cheap, and the WAL emptied into the database. Both are improvements that may fail without loss: another process that
 * reads keeps the WAL, and the next one to open the file recovers it.
 *
 * @see https://www.sqlite.org/pragma.html#pragma_optimize
 */
function finishFile(connection: Connection): void {
  const { handle } = connection;
  try {
    handle.pragma('optimize');
    handle.pragma('wal_checkpoint(TRUNCATE)');
  } catch {
    // Busy or read-only by now: nothing is lost, see above.
  }
}

/** @throws {InternalError} one of these cannot be closed */
export function refuseUnderWay(readers: readonly Connection[], writer: Connection | undefined): void {
  const all = writer === undefined ? readers : [...readers, writer];
  if (all.some((connection) => connection.makeClean() === 'broken')) {
    throw new InternalError('close: a statement is still under way on a connection; nothing was closed');
  }
}

/**
 * Closes a `Database`'s connections, all or none: one on which a statement is still under way cannot be closed, and then the
 * others stay open too, so that the close can be tried again.
 *
 * @param writer finishes the file before it is closed; absent for a database that is only read
 * @throws {InternalError} nothing was closed
 */
export function closeTogether(readers: readonly Connection[], writer: Connection | undefined): void {
  refuseUnderWay(readers, writer);
  for (const reader of readers) reader.close();
  if (writer === undefined) return;
  finishFile(writer);
  writer.close();
}
