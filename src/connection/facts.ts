/**
 * What is known about a database file before anything is decided: looked up, never declared and never guessed.
 *
 * The file itself is never opened here. POSIX drops *all* of a process's locks on a file as soon as it closes *any*
 * descriptor of it, SQLite's own locks included, so only `stat`, `access` and `readlink` are safe next to an open
 * database. See "How To Corrupt An SQLite Database File", https://sqlite.org/howtocorrupt.html, section 2.2.
 */
import { accessSync, constants, readlinkSync, realpathSync, statSync, type BigIntStats } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { OptionError, StorageError } from '../errors.ts';
import { lookUpStorage, type StorageFacts } from './storage.ts';

/** The five ways in which calls can reach connections. */
export const strategyNames = ['shared', 'per-context', 'executor', 'portable', 'remote'] as const;

/** The name of a strategy. */
export type StrategyName = (typeof strategyNames)[number];

/** What a path says about itself while nothing has been opened. */
export interface PathFacts {
  /** As it is given to SQLite: an absolute path, `':memory:'`, or `''` for a temporary database. */
  readonly file: string;
  /** The same with every symbolic link resolved, also where the last one points to a file that is yet to be created. */
  readonly realPath: string;
  readonly exists: boolean;
  /** Device and inode, the same for every name of one file. Absent while the file does not exist. */
  readonly identity?: string;
  /** How many names the file has; 0 while it does not exist. */
  readonly hardLinks: number;
  /** In bytes. */
  readonly size: number;
  readonly storage: StorageFacts;
  /** What this process may write. SQLite needs both: `-wal` and `-journal` are created beside the file. */
  readonly writable: { readonly file: boolean; readonly directory: boolean };
}

/** All that {@link decide} looks at. */
export interface Facts extends PathFacts {
  /** Opened for reading only because the caller asked for it. */
  readonly readonly: boolean;
  /** What SQLite answered after it was asked for a journal mode: `wal`, `delete`, `memory`, … */
  readonly journalMode: string;
  readonly walObtained: boolean;
  readonly sqliteVersion: string;
  /** SQLite is one of the versions that {@link hasWalResetBug} names. */
  readonly walResetBug: boolean;
  /** `executor`: a thread that was itself started to own a database. */
  readonly thread: 'main' | 'worker' | 'executor';
  /** How many `Database`s of this thread have the file open already. */
  readonly openInThisProcess: number;
  /** The `strategy` option. */
  readonly requested: 'auto' | StrategyName;
  /** The `heavy` option: queries run long enough to hold up the event loop. */
  readonly heavy: boolean;
  /** The `threads` option: how many threads call. */
  readonly threads: number;
  /** The registry's module, and whether another thread can import it; absent where no registry is known. */
  readonly registry?: RegistryFacts;
}

/** What is known of the module that a registry lives in. */
export interface RegistryFacts {
  readonly url: string;
  /** It is a file that exists, or carries its own source. */
  readonly importable: boolean;
}

/** Looks up whether a thread can import a registry's module. */
export function lookUpRegistry(url: string): RegistryFacts {
  try {
    const { protocol } = new URL(url);
    if (protocol === 'data:') return { url, importable: true };
    return {
      url,
      importable: protocol === 'file:' && statSync(new URL(url), { throwIfNoEntry: false })?.isFile() === true,
    };
  } catch {
    return { url, importable: false };
  }
}

/**
 * Looks up everything about a path that can be known without opening it.
 *
 * @param file a path, a `file:` URL object, `':memory:'`, or `''` for a temporary database
 * @throws {OptionError} it cannot name a database file: a URI string, another URL, a directory, a device, no parent
 * @throws {StorageError} the system refuses to look at it
 */
export function lookUpPath(file: string | URL): PathFacts {
  const given = toPath(file);
  if (given === ':memory:' || given === '') {
    const kind = given === '' ? 'temporary' : 'memory';
    const storage: StorageFacts = { kind, fileSystem: 'none', source: 'path' };
    const writable = { file: true, directory: true };
    return { file: given, realPath: given, exists: false, hardLinks: 0, size: 0, storage, writable };
  }

  const path = resolve(given);
  // better-sqlite3 trims its file name, and would open the neighbour that is called the same without the space.
  if (path !== path.trim()) throw new OptionError(`file: ${inspect(given)} ends in white space; give it another name`);

  const realPath = resolveLinks(path, given);
  const directory = dirname(realPath);
  const stats = attempt(given, () => statSync(realPath, { bigint: true, throwIfNoEntry: false }));
  if (stats) refuseUnlessRegularFile(stats, given);

  const directoryIsWritable = isWritable(directory);
  return {
    file: path,
    realPath,
    exists: stats !== undefined,
    ...(stats && { identity: `${stats.dev}:${stats.ino}` }),
    hardLinks: Number(stats?.nlink ?? 0),
    size: Number(stats?.size ?? 0),
    storage: attempt(given, () => lookUpStorage(realPath, directory)),
    writable: { file: stats ? isWritable(realPath) : directoryIsWritable, directory: directoryIsWritable },
  };
}

/**
 * Whether this SQLite can corrupt a WAL database that has several connections: 3.7.0 to 3.51.2. The branches that had
 * the fix carried back are counted among them, which costs speed there and no data.
 *
 * @see https://sqlite.org/wal.html#walresetbug
 */
export function hasWalResetBug(version: string): boolean {
  const [major = 0, minor = 0, patch = 0] = version.split('.').map(Number);
  const number = major * 1_000_000 + minor * 1_000 + patch;
  return number >= 3_007_000 && number <= 3_051_002;
}

function toPath(file: string | URL): string {
  if (file instanceof URL) return fromUrl(file);
  // Callers without types get here with anything.
  if (typeof file !== 'string') {
    throw new OptionError(`file: expected a path, a file: URL or ':memory:', got ${inspect(file)}`);
  }
  if (/^file:/i.test(file)) {
    throw new OptionError(
      `file: the string ${inspect(file)} is a URI, and this build of SQLite would create a file of that very name; ` +
        "give a plain path, a URL object (new URL('file:///…')), or ':memory:'",
    );
  }
  if (/^[a-z][a-z\d+.-]+:\/\//i.test(file)) {
    throw new OptionError(`file: ${inspect(file)} is the URL of a server, not a path; a database file is wanted here`);
  }
  if (file !== ':memory:' && /^\s*:memory:?\s*$/i.test(file)) {
    throw new OptionError(`file: ${inspect(file)} would be a file of that name; did you mean ':memory:'?`);
  }
  if (file !== '' && file.trim() === '') throw new OptionError('file: only white space; give a path');
  if (file.includes('\0')) {
    throw new OptionError(`file: ${inspect(file)} contains a NUL character, where SQLite would cut the path off`);
  }
  return file;
}

function fromUrl(url: URL): string {
  if (url.protocol !== 'file:') {
    throw new OptionError(`file: expected a file: URL, got ${inspect(url.href)}; a database file is wanted here`);
  }
  if (url.search !== '' || url.hash !== '') {
    throw new OptionError(
      `file: ${inspect(url.href)} carries ${inspect(url.search + url.hash)}, which would be ignored; ` +
        'leave it out and use the options of open()',
    );
  }
  try {
    return fileURLToPath(url);
  } catch (cause) {
    throw new OptionError(`file: ${inspect(url.href)} does not name a file of this machine`, { cause });
  }
}

/** Linux gives up after 40 links too; realpath reports a loop itself, a chain of dangling links ends here. */
const maxLinks = 40;

/** `realpath`, also for a file that does not exist yet. SQLite follows a dangling link and creates its target. */
function resolveLinks(path: string, given: string, links = 0): string {
  const existing = attempt(given, () => orUndefinedIfMissing(() => realpathSync.native(path)));
  if (existing !== undefined) return existing;

  const parent = attempt(given, () => orUndefinedIfMissing(() => realpathSync.native(dirname(path))));
  if (parent === undefined) {
    throw new OptionError(
      `file: ${inspect(given)} cannot be created, for the directory ${inspect(dirname(path))} does not exist; ` +
        'create it first or correct the path',
    );
  }
  const target = join(parent, basename(path));
  const link = attempt(given, () => orUndefinedIfMissing(() => readlinkSync(target), 'EINVAL'));
  if (link === undefined) return target;
  if (links === maxLinks) throw new OptionError(`file: ${inspect(given)} is behind too many symbolic links`);
  return resolveLinks(resolve(parent, link), given, links + 1);
}

function refuseUnlessRegularFile(stats: BigIntStats, given: string): void {
  if (stats.isFile()) return;
  if (stats.isDirectory()) {
    throw new OptionError(
      `file: ${inspect(given)} is a directory; name a file in it, such as ${inspect(join(given, 'data.db'))}`,
    );
  }
  const kind = stats.isFIFO() ? 'a pipe' : stats.isSocket() ? 'a socket' : 'a device';
  throw new OptionError(`file: ${inspect(given)} is ${kind}; a database needs a regular file`);
}

/** Asked of the system, not read from the mode bits: a medium mounted read-only refuses even root. */
function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function orUndefinedIfMissing<T>(lookUp: () => T, alsoMissing?: string): T | undefined {
  try {
    return lookUp();
  } catch (error) {
    const code = codeOf(error);
    if (code === 'ENOENT' || code === alsoMissing) return undefined;
    throw error;
  }
}

/** Gives the system's refusals a name of ours: a path of the wrong form is the caller's, the rest is the storage's. */
function attempt<T>(given: string, lookUp: () => T): T {
  try {
    return lookUp();
  } catch (cause) {
    switch (codeOf(cause)) {
      case 'ENOTDIR':
        throw new OptionError(`file: ${inspect(given)} leads through a file as if it were a directory`, { cause });
      case 'ELOOP':
        throw new OptionError(`file: ${inspect(given)} is a symbolic link that leads back to itself`, { cause });
      case 'ENAMETOOLONG':
        throw new OptionError(`file: ${inspect(given)} is too long a name for this system`, { cause });
      case 'EACCES':
      case 'EPERM':
        throw new StorageError(`file: this process may not look at ${inspect(given)}; check the permissions`, {
          cause,
        });
      default:
        throw new StorageError(`file: ${inspect(given)} could not be looked up: ${String(cause)}`, { cause });
    }
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
