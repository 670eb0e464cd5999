/**
 * What a database file says about itself, without leaving a trace.
 *
 * It is the header that is read, not a connection that is opened: even a read-only connection to a WAL database creates
 * its `-wal` and `-shm` files and leaves them behind, and it stops at a journal that wants to be rolled back.
 *
 * Only for a process that has no database open, as the command line has none: closing the descriptor used here would drop
 * SQLite's POSIX locks on the same file (https://sqlite.org/howtocorrupt.html, section 2.2).
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { CorruptError, StorageError } from '../errors.ts';
import { type PathFacts } from './facts.ts';
import { openHandle } from './handle.ts';

/** What was found. All figures are 0 for a file that is empty or does not exist. */
export interface Probe {
  readonly sqliteVersion: string;
  /** What the file is set to. Of the journal modes only `wal` is kept in the file; all others are `delete` here. */
  readonly journalMode: 'wal' | 'delete' | 'memory';
  /** Pages in the main file; a `-wal` beside it may hold more. */
  readonly pageCount: number;
  /** In bytes. */
  readonly pageSize: number;
  readonly applicationId: number;
  readonly userVersion: number;
}

/**
 * Reads the header of a database file, and SQLite's version from a handle in memory. Creates and changes nothing.
 *
 * @throws {CorruptError} the file is not a database, or encrypted
 * @throws {StorageError} the file cannot be read
 */
export function probeFile(path: PathFacts): Probe {
  const sqliteVersion = readSqliteVersion();
  const isTransient = path.storage.kind === 'memory' || path.storage.kind === 'temporary';
  const empty = { pageCount: 0, pageSize: 0, applicationId: 0, userVersion: 0 };
  if (isTransient) return { sqliteVersion, journalMode: 'memory', ...empty };
  if (!path.exists || path.size === 0) return { sqliteVersion, journalMode: 'delete', ...empty };
  return { sqliteVersion, ...parseHeader(readHeader(path), path) };
}

/** The header's length: https://sqlite.org/fileformat2.html#the_database_header */
const headerLength = 100;

function parseHeader(header: Buffer, path: PathFacts): Omit<Probe, 'sqliteVersion'> {
  if (header.length < headerLength || header.toString('latin1', 0, 16) !== 'SQLite format 3\0') {
    throw new CorruptError(
      `${path.file} is not a SQLite database: it does not begin with SQLite's header (or it is encrypted)`,
    );
  }
  // Offset 16: "The database page size in bytes … or the value 1 representing a page size of 65536."
  const storedPageSize = header.readUInt16BE(16);
  const pageSize = storedPageSize === 1 ? 65_536 : storedPageSize;
  // Offset 18: "File format write version. 1 for legacy; 2 for WAL."
  const journalMode = header.readUInt8(18) === 2 ? 'wal' : 'delete';
  // Offset 28: the size in pages, valid "only if … the change counter at offset 24 matches … offset 92".
  const isCounted = header.readUInt32BE(24) === header.readUInt32BE(92) && header.readUInt32BE(28) > 0;
  const pageCount = isCounted ? header.readUInt32BE(28) : Math.floor(path.size / Math.max(pageSize, 1));
  return {
    journalMode,
    pageSize,
    pageCount,
    applicationId: header.readUInt32BE(68),
    userVersion: header.readInt32BE(60),
  };
}

function readHeader(path: PathFacts): Buffer {
  try {
    const descriptor = openSync(path.realPath, 'r');
    try {
      const header = Buffer.alloc(headerLength);
      return header.subarray(0, readSync(descriptor, header, 0, headerLength, 0));
    } finally {
      closeSync(descriptor);
    }
  } catch (cause) {
    throw new StorageError(`${path.file} cannot be read: ${String(cause)}`, { cause });
  }
}

function readSqliteVersion(): string {
  const handle = openHandle(':memory:', 'write');
  try {
    return String(handle.prepare('SELECT sqlite_version()').pluck().get());
  } finally {
    handle.close();
  }
}
