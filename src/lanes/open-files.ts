import { statSync } from 'node:fs';
import { OptionError } from '../errors.ts';
import { WriteLane } from './write-lane.ts';

/** One file that is open here: every `Database` on it shares its write lane. */
export interface OpenFile {
  /** Device and inode: a file that was replaced under its name is another one. */
  readonly key: string;
  /** The one name under which it is open here: SQLite finds the journal by the name. */
  readonly realPath: string;
  readonly lane: WriteLane;
  /** How many `Database`s hold it. */
  users: number;
  /** How many of them may write. */
  writers: number;
}

/** The registry of open files, one for each thread: with the claims the only mutable state of the module. */
const openFiles = new Map<string, OpenFile>();
/** Files that another thread is opening for this one. */
const claims = new Map<string, { readonly realPath: string; openings: number }>();

/** How many `Database`s have this file open here. */
export function openCount(realPath: string): number {
  return openFiles.get(keyOf(realPath))?.users ?? 0;
}

/** How many `Database`s that may write have this file open here. */
export function writerCount(realPath: string): number {
  return openFiles.get(keyOf(realPath))?.writers ?? 0;
}

/**
 * Refuses a file that is open here under another name: a second hard link, or what was renamed meanwhile. Connections of the
 * two names would write two journals and one memory of which pages are in them, and the file would be corrupted.
 *
 * @see https://sqlite.org/howtocorrupt.html "Multiple links to the same file", and "Unlinking or renaming … while in use"
 * @throws {OptionError}
 */
export function refuseOtherName(realPath: string): void {
  const key = keyOf(realPath);
  const known = openFiles.get(key) ?? claims.get(key);
  if (known === undefined || known.realPath === realPath) return;
  throw new OptionError(
    `open ${realPath}: this file is open here already as ${known.realPath}, another name of it (a hard link, or it was renamed), ` +
      `and SQLite keeps a journal for each name, so that using both would corrupt it; open it as ${known.realPath}, ` +
      'or close it there first',
  );
}

/**
 * Keeps the other names of a file out while another thread is opening it, which only then can be entered here.
 *
 * @returns ends that
 * @throws {OptionError} as {@link refuseOtherName}
 */
export function claimName(realPath: string): () => void {
  refuseOtherName(realPath);
  const key = keyOf(realPath);
  const claim = claims.get(key) ?? { realPath, openings: 0 };
  claims.set(key, claim);
  claim.openings += 1;
  return () => {
    claim.openings -= 1;
    if (claim.openings === 0) claims.delete(key);
  };
}

/**
 * Enters the file (which exists by now), or a private entry for a database without one.
 * @param wal whether it is in WAL mode
 * @throws {OptionError} as {@link refuseOtherName}
 */
export function enterFile(realPath: string | undefined, access: 'read' | 'write', wal: boolean): OpenFile {
  const writers = access === 'write' ? 1 : 0;
  if (realPath === undefined) {
    return { key: '', realPath: '', lane: new WriteLane('a database in memory', 'no-wal'), users: 1, writers };
  }
  refuseOtherName(realPath);
  const key = keyOf(realPath);
  const known = openFiles.get(key);
  if (known !== undefined) {
    known.users += 1;
    known.writers += writers;
    return known;
  }
  const entry: OpenFile = { key, realPath, lane: new WriteLane(realPath, wal ? 'wal' : 'no-wal'), users: 1, writers };
  openFiles.set(key, entry);
  return entry;
}

/** Leaves the file; the last one out removes it. */
export function leaveFile(file: OpenFile, access: 'read' | 'write'): void {
  file.users -= 1;
  if (access === 'write') file.writers -= 1;
  if (file.users === 0 && openFiles.get(file.key) === file) openFiles.delete(file.key);
}

function keyOf(realPath: string): string {
  const stat = statSync(realPath, { bigint: true, throwIfNoEntry: false });
  // The inode alone decides: hard links are other paths to the same file.
  return stat === undefined ? realPath : `${stat.dev.toString()}:${stat.ino.toString()}`;
}
