import { type Repositories } from '../repository/types.ts';
import { StorageError } from '../errors.ts';
import { type AsyncDriver } from './async-bench.ts';
import { defineCancelled } from './cancelled.ts';
import { Connection } from './connection.ts';
import { type Handle, openHandle } from './handle.ts';
import { type Durability, type PragmaOptions } from './durability.ts';
import { applyPragmas, obtainJournalMode } from './pragmas.ts';
import { type JournalPlan } from './decide.ts';
import { translateError } from './sqlite-errors.ts';

/** What every connection of one `Database` has in common. */
export interface ConnectorSettings {
  /** As it is given to SQLite. */
  readonly file: string;
  readonly repositories: Repositories;
  /** What `loadAsyncDriver` gave for these repositories. */
  readonly asyncDriver: AsyncDriver | undefined;
  readonly durability: Durability;
  readonly pragmas: PragmaOptions;
}

/** A connection, and what opening it showed. */
export interface OpenedConnection {
  readonly connection: Connection;
  /** The journal mode that is in force. */
  readonly journalMode: string;
  readonly sqliteVersion: string;
}

/** Opens a `Database`'s connections, each verified. */
export class Connector {
  readonly #settings: ConnectorSettings;

  constructor(settings: ConnectorSettings) {
    this.#settings = settings;
  }

  /**
   * Opens the connection that may write, and with it creates the file, asks for the journal and says which one it got.
   * @throws {StorageError | CorruptError | BusyError}
   */
  writer(journal: JournalPlan): OpenedConnection {
    return this.#open('writer', journal);
  }

  /** Opens a connection that can only read: opened so, and `query_only` besides. */
  reader(): OpenedConnection {
    return this.#open('reader', 'keep');
  }

  #open(role: 'writer' | 'reader', journal: JournalPlan): OpenedConnection {
    const { file, durability, pragmas } = this.#settings;
    let handle: Handle | undefined;
    try {
      handle = openHandle(file, role === 'reader' ? 'read' : 'write');
      // Opens the file at last, and tells a database from anything else.
      handle.prepare('SELECT count(*) FROM sqlite_schema').get();
      const journalMode = obtainJournalMode(handle, journal);
      applyPragmas(handle, { role, durability, pragmas, journalMode });
      defineCancelled(handle);
      return {
        connection: new Connection(handle, role, this.#settings),
        journalMode,
        sqliteVersion: linkedSqliteVersion(),
      };
    } catch (error) {
      handle?.close();
      const translated = translateError(error, { operation: `open ${file}` });
      // better-sqlite3 throws a plain TypeError for a folder that does not exist.
      if (handle === undefined && translated instanceof TypeError) {
        throw new StorageError(`open ${file}: ${translated.message}`, { cause: error });
      }
      throw translated;
    }
  }
}

let linkedVersion: string | undefined;

/** The version of the SQLite that better-sqlite3 carries. The same for every handle, so asked once. */
export function linkedSqliteVersion(): string {
  if (linkedVersion === undefined) {
    const handle = openHandle(':memory:', 'write');
    linkedVersion = String(handle.prepare('SELECT sqlite_version()').pluck().get());
    handle.close();
  }
  return linkedVersion;
}
