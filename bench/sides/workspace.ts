/** A folder of the bench's own, and fresh files in it: copies of one seeded database, which nobody has open. */
import { copyFileSync, mkdtempSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import Sqlite from 'better-sqlite3';
import { DDL } from './schema.ts';

const TMPFS = 0x1021994;

export class Workspace implements Disposable {
  readonly folder: string;
  #files = 0;

  /** @param parent where to make the folder; every side's file lies in it, so all share one file system */
  constructor(parent: string = tmpdir()) {
    this.folder = mkdtempSync(join(resolve(parent), 'sluice-bench-'));
    const handle = new Sqlite(this.#template);
    handle.pragma('journal_mode = WAL');
    handle.exec(DDL);
    handle.close();
  }

  /** A seeded database that nobody has used. */
  fresh(): string {
    const file = join(this.folder, `${this.#files++}.db`);
    copyFileSync(this.#template, file);
    return file;
  }

  /** Deletes a database that everybody has closed. */
  discard(file: string): void {
    for (const suffix of ['', '-wal', '-shm']) rmSync(file + suffix, { force: true });
  }

  /** Memory has no fsync to save: durable figures taken there mean nothing. */
  get isMemory(): boolean {
    return statfsSync(this.folder).type === TMPFS;
  }

  /** The file system's name as the mount table gives it. */
  get fileSystem(): string {
    try {
      const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
      const found = mounts
        .map((line) => line.split(' '))
        .filter(([, point = '']) => this.folder === point || this.folder.startsWith(point === '/' ? '/' : `${point}/`))
        .sort(([, a = ''], [, b = '']) => b.length - a.length);
      return found[0]?.[2] ?? 'unknown';
    } catch {
      return 'unknown';
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  get #template(): string {
    return join(this.folder, 'template.db');
  }
}
