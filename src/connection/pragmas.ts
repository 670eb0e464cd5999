/**
 * The pragma profile: applied in this order and read back on every connection, in every thread.
 *
 * | pragma | writer | reader | why |
 * |---|---|---|---|
 * | `busy_timeout` | 5 ms while a file is converted to WAL, else 0 | 0 | every wait is ours and asynchronous; the conversion takes several locks in a row, and each may be free a moment later |
 * | `journal_mode` | as planned | – | a property of the file: set once, by the first writer |
 * | `synchronous` | NORMAL, FULL, or EXTRA | same | from `durability`: `full` is FULL in WAL mode and EXTRA with a rollback journal |
 * | `foreign_keys` | ON | ON | off by default in SQLite's own builds |
 * | `temp_store` | MEMORY | MEMORY | no temporary files beside the database |
 * | `cache_size` | -16000 | same | 16 MB a connection |
 * | `journal_size_limit` | 64 MiB | – | a longer WAL is emptied once nobody reads from it, see maintenance/checkpoint.ts |
 * | `wal_autocheckpoint` | 0 | – | checkpoints run between batches instead of inside COMMIT |
 * | `trusted_schema` | OFF | OFF | a hostile file's views and triggers call no unsafe function |
 * | `query_only` | OFF | ON | a write hidden in a read is refused by SQLite itself |
 *
 * @see https://www.sqlite.org/pragma.html
 */
import { OptionError, StorageError } from '../errors.ts';
import { type JournalPlan } from './decide.ts';
import { type Durability, type PragmaOptions } from './durability.ts';
import { type Handle } from './handle.ts';

/** What a connection's pragmas are derived from. */
export interface PragmaProfile {
  readonly durability: Durability;
  /** The journal mode that was obtained. */
  readonly journalMode: string;
  readonly role: 'writer' | 'reader';
  readonly pragmas: PragmaOptions;
}

/** Pragmas whose value a promise rests on: they follow from other options and cannot be overridden. */
const OWNED = new Map([
  ['journal_mode', 'it follows from the strategy'],
  ['synchronous', 'use the option "durability"'],
  ['query_only', 'use the option "readonly"'],
  ['foreign_keys', 'Sluice keeps foreign keys on'],
  ['busy_timeout', 'use the option "timeout"'],
  ['locking_mode', 'an exclusive lock would shut out the readers'],
  ['writable_schema', 'it would allow a handler to damage the file'],
  ['read_uncommitted', 'a read must never see uncommitted rows'],
  ['defer_foreign_keys', 'it belongs to one transaction'],
]);

/** In the order in which they are set. */
const PROFILE: Readonly<Record<PragmaProfile['role'], PragmaOptions>> = {
  writer: {
    temp_store: 2,
    cache_size: -16_000,
    journal_size_limit: 64 * 1024 * 1024,
    wal_autocheckpoint: 0,
    trusted_schema: 0,
  },
  reader: { temp_store: 2, cache_size: -16_000, trusted_schema: 0 },
};

/** @throws {OptionError} for a name that is no identifier, a value of another type, or a pragma that Sluice owns. */
export function validatePragmas(pragmas: PragmaOptions): PragmaOptions {
  for (const [name, value] of Object.entries(pragmas)) {
    if (!/^[a-z_]+$/.test(name)) {
      throw new OptionError(`open: pragma ${JSON.stringify(name)} is not a pragma's name; use its lower-case name`);
    }
    const owner = OWNED.get(name);
    if (owner !== undefined) throw new OptionError(`open: pragma "${name}" cannot be set; ${owner}`);
    const valid =
      typeof value === 'boolean' ||
      (typeof value === 'number' && Number.isSafeInteger(value)) ||
      (typeof value === 'string' && /^[\w-]+$/.test(value));
    if (!valid) {
      throw new OptionError(`open: pragma "${name}" has the value ${JSON.stringify(value)}; give a word or an integer`);
    }
  }
  return pragmas;
}

/**
 * Asks for a journal mode and returns the one that was really obtained; SQLite answers with the old mode instead of
 * failing where it cannot change it.
 */
export function obtainJournalMode(handle: Handle, request: JournalPlan): string {
  const mode = (source: string): string => String(firstValue(handle.pragma(source))).toLowerCase();
  const current = mode('journal_mode');
  // A file that is in WAL mode already needs none of the locks of a conversion.
  if (request === 'keep' || request === current) return current;
  handle.pragma(`busy_timeout = ${CONVERTING}`);
  try {
    return mode(`journal_mode = ${request}`);
  } finally {
    handle.pragma('busy_timeout = 0');
  }
}

/** Milliseconds that SQLite itself may wait, once in a file's life; whoever opens tries again after that. */
const CONVERTING = 5;

/** Applies the profile and reads every value back. @throws {StorageError} where a value did not take. */
export function applyPragmas(handle: Handle, profile: PragmaProfile): void {
  set(handle, 'synchronous', synchronous(profile));
  set(handle, 'foreign_keys', 1);
  for (const [name, value] of Object.entries({ ...PROFILE[profile.role], ...profile.pragmas }))
    set(handle, name, value);
  set(handle, 'query_only', profile.role === 'reader' ? 1 : 0);
  set(handle, 'busy_timeout', 0);
}

/**
 * With a rollback journal a commit is the unlinking of the journal, and only EXTRA syncs the folder after it: under FULL a
 * power cut can bring the journal back, and with it undo a commit that was acknowledged.
 *
 * @see https://www.sqlite.org/pragma.html#pragma_synchronous
 */
function synchronous({ durability, journalMode }: PragmaProfile): number {
  if (durability === 'normal') return 1;
  return journalMode === 'wal' ? 2 : 3;
}

function set(handle: Handle, name: string, value: string | number | boolean): void {
  const wanted = typeof value === 'boolean' ? Number(value) : value;
  handle.pragma(`${name} = ${String(wanted)}`);
  const actual = firstValue(handle.pragma(name));
  if (actual === undefined) {
    throw new OptionError(
      `open: there is no pragma "${name}" that can be read back; see https://www.sqlite.org/pragma.html`,
    );
  }
  // SQLite compares words without case, and answers some of them with a number.
  if (String(actual).toLowerCase() === String(wanted).toLowerCase()) return;
  throw new StorageError(
    `open: pragma ${name} was set to ${String(wanted)} but reads back ${JSON.stringify(actual)}; ` +
      'give a value as SQLite answers it, and one that this file system supports',
  );
}

function firstValue(rows: unknown): string | number | bigint | undefined {
  const row: unknown = Array.isArray(rows) ? rows[0] : undefined;
  if (typeof row !== 'object' || row === null) return undefined;
  const value: unknown = Object.values(row)[0];
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint' ? value : undefined;
}
