import { statSync } from 'node:fs';
import { WriteLane } from './write-lane.ts';

/** One file that is open here: every `Database` on it shares its write lane. */
export interface OpenFile {
  /** Real path and inode: two names of one file are one entry, and a file replaced under a name is another. */
  readonly key: string;
  readonly lane: WriteLane;
  /** How many `Database`s hold it. */
  users: number;
}

/** The registry of open files, one for each thread: the only mutable state of the module. */
const openFiles = new Map<string, OpenFile>();

/** How many `Database`s have this file open here. */
export function openCount(realPath: string): number {
  return openFiles.get(keyOf(realPath))?.users ?? 0;
}

/** Enters the file (which exists by now), or a private entry for a database without one. */
export function enterFile(realPath: string | undefined): OpenFile {
  if (realPath === undefined) return { key: '', lane: new WriteLane(), users: 1 };
  const key = keyOf(realPath);
  const known = openFiles.get(key);
  if (known !== undefined) {
    known.users += 1;
    return known;
  }
  const entry: OpenFile = { key, lane: new WriteLane(), users: 1 };
  openFiles.set(key, entry);
  return entry;
}

/** Leaves the file; the last one out removes it. */
export function leaveFile(file: OpenFile): void {
  file.users -= 1;
  if (file.users === 0 && openFiles.get(file.key) === file) openFiles.delete(file.key);
}

function keyOf(realPath: string): string {
  const stat = statSync(realPath, { bigint: true, throwIfNoEntry: false });
  // The inode alone decides: hard links are other paths to the same file and must share one lane.
  return stat === undefined ? realPath : `${stat.dev.toString()}:${stat.ino.toString()}`;
}
