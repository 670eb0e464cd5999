/** A folder for each test, and what must hold in it when the test is over. */
import { mkdtempSync, readdirSync, readlinkSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { afterEach, beforeEach, expect } from 'vitest';

/** The folder of the test that runs. */
export class TempDir {
  #path: string | undefined;
  readonly #endings: (() => unknown)[] = [];

  get path(): string {
    return (this.#path ??= realpathSync(mkdtempSync(join(tmpdir(), 'sluice-contract-'))));
  }

  /** The path of a file in it. Databases are called `*.db`: these are checked at the end. */
  file(name = 'ledger.db'): string {
    return join(this.path, name);
  }

  /** A raw handle, as another library or another part of the program would have one. It never waits for a lock. */
  raw(file = this.file()): Sqlite.Database {
    const handle = new Sqlite(file, { timeout: 0 });
    this.atEnd(() => handle.close());
    return handle;
  }

  /** Runs a function after the test; the last one first. */
  atEnd(ending: () => unknown): void {
    this.#endings.push(ending);
  }

  /** The files of this folder that this process has open. */
  descriptors(): string[] {
    return openFiles().filter((file) => file.startsWith(this.path));
  }

  /** Ends what the test opened, and holds the folder against the laws that every test ends with. */
  async end(): Promise<void> {
    for (const ending of this.#endings.splice(0).reverse()) await ending();
    if (this.#path === undefined) return;
    const path = this.#path;
    this.#path = undefined;
    try {
      expect(
        openFiles().filter((file) => file.startsWith(path)),
        'files still open after the test',
      ).toEqual([]);
      for (const name of readdirSync(path)) if (name.endsWith('.db')) expectSound(join(path, name));
    } finally {
      rmSync(path, { recursive: true });
    }
  }
}

/** A folder of its own for each test of this `describe`. */
export function useTempDir(): TempDir {
  const dir = new TempDir();
  beforeEach(() => {
    expect(dir.descriptors()).toEqual([]);
  });
  afterEach(() => dir.end());
  return dir;
}

/** A database that nobody has open any more: whole, with every foreign key satisfied. */
export function expectSound(file: string): void {
  const handle = new Sqlite(file);
  try {
    expect(handle.pragma('integrity_check', { simple: true }), `integrity of ${file}`).toBe('ok');
    expect(handle.pragma('foreign_key_check'), `foreign keys of ${file}`).toEqual([]);
  } finally {
    handle.close();
  }
}

/** Linux says what a process has open; elsewhere this check sees nothing. */
function openFiles(): string[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc/self/fd').flatMap((descriptor) => {
    try {
      return [readlinkSync(`/proc/self/fd/${descriptor}`)];
    } catch {
      return []; // the descriptor that listed the folder itself
    }
  });
}
