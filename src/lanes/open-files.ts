import { statSync } from 'node:fs';
import { WriteLane } from './write-lane.ts';

/** One file that is open here: every `Database` on it shares its write lane. */
export interface OpenFile {
  /** Real path and inode: two names of one file are one entry, and a file replaced under a name is another. */
  readonly key: string;
  readonly lane: WriteLane;
  /** How many `Database`s hold it. */
  users: number;
  /** How many of them may write. */
  writers: number;
}

/** The registry of open files, one for each thread: the only mutable state of the module. */
const openFiles = new Map<string, OpenFile>();

/** How many `Database`s have this file open here. */
export function openCount(realPath: string): number {
  return openFiles.get(keyOf(realPath))?.users ?? 0;
}

/** How many `Database`s that may write have this file open here. */
export function writerCount(realPath: string): number {
  return openFiles.get(keyOf(realPath))?.writers ?? 0;
}

/**
 * Enters the file (which exists by now), or a private entry for a database without one.
 * @param wal whether it is in WAL mode
 */
export function enterFile(realPath: string | undefined, access: 'read' | 'write', wal: boolean): OpenFile {
  const writers = access === 'write' ? 1 : 0;
  if (realPath === undefined) {
    return { key: '', lane: new WriteLane('a database in memory', 'no-wal'), users: 1, writers };
  }
  const key = keyOf(realPath);
  const known = openFiles.get(key);
  if (known !== undefined) {
    known.users += 1;
    known.writers += writers;
    return known;
  }
  const entry: OpenFile = { key, lane: new WriteLane(realPath, wal ? 'wal' : 'no-wal'), users: 1, writers };
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
  // The inode alone decides: hard links are other paths to the same file and must share one lane.
  return stat === undefined ? realPath : `${stat.dev.toString()}:${stat.ino.toString()}`;
}
