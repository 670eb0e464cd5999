import { getTableConfig } from 'drizzle-orm/sqlite-core/utils';
import { type SQLiteTable } from 'drizzle-orm/sqlite-core/table';
import { OptionError } from '../errors.ts';
import { describe } from '../plain.ts';
import {
  type AsyncReadDatabase,
  type AsyncReadTools,
  type AsyncRepository,
  type AsyncWriteDatabase,
  type AsyncWriteTools,
  type CheckAsyncHandlers,
} from './async-types.ts';
import { tableShape } from './table-shape.ts';
import { type CheckHandlers } from './handler-checks.ts';
import { type Row } from './table-types.ts';
import {
  type ErrorClass,
  type Handlers,
  type NoHandlers,
  type ReadDatabase,
  type ReadTools,
  type Registry,
  type Repositories,
  type Repository,
  type WriteDatabase,
  type WriteTools,
} from './types.ts';

/** What a repository adds to its table's own methods. */
export interface RepositoryDefinition<
  T extends SQLiteTable,
  R extends Handlers,
  W extends Handlers,
  K extends keyof Row<T> & string,
  V extends keyof Row<T> & string,
> {
  /** Makes the read handlers of one connection: runs once for each, so that what it prepares stays prepared. */
  readonly reads?: (db: ReadDatabase, tools: ReadTools) => R & CheckHandlers<R, 'read'>;
  /** Makes the write handlers of one connection. Each call of one is all or nothing. */
  readonly writes?: (db: WriteDatabase, tools: WriteTools) => W & CheckHandlers<W, 'write'>;
  /** The columns of a composite primary key, so that keys are typed; a single-column key needs none. */
  readonly key?: readonly K[];
  /** An integer column for optimistic locking: `update` must name the version that was read. */
  readonly version?: V;
}

const DEFINITION_OPTIONS = ['reads', 'writes', 'key', 'version'];

/**
 * Makes a repository of a Drizzle table. Without a definition it has the table's own methods (`get`, `find`, `insert`, …);
 * a handler of the same name replaces one of these.
 *
 * Handlers are synchronous: nothing slips in between their statements, many fit in one commit, and no lock outlives a
 * tick. They touch nothing but the database, because a handler may run again when a batch is replayed.
 *
 * @example
 * const accountRepository = defineRepository(accounts, {
 *   reads: (db) => {
 *     const byOwner = db.select().from(accounts).where(eq(accounts.owner, sql.placeholder('owner'))).prepare();
 *     return { byOwner: (owner: string) => byOwner.all({ owner }) };
 *   },
 * });
 * @throws {OptionError} for an unknown option, or a key or version that is no column of the table.
 */
export function defineRepository<
  T extends SQLiteTable,
  R extends Handlers = NoHandlers,
  W extends Handlers = NoHandlers,
  const K extends keyof Row<T> & string = never,
  const V extends keyof Row<T> & string = never,
>(
  table: T,
  definition: RepositoryDefinition<T, R, W, K, V> = {},
): Repository<T, NoInfer<R>, NoInfer<W>, NoInfer<K>, NoInfer<V>> {
  validateDefinition('defineRepository', table, definition);
  return {
    kind: 'sync',
    table,
    reads: definition.reads,
    writes: definition.writes,
    key: definition.key,
    version: definition.version,
  };
}

/** What {@link RepositoryDefinition} is to `defineRepository`, for handlers that `await`. */
export interface AsyncRepositoryDefinition<
  T extends SQLiteTable,
  R extends Handlers,
  W extends Handlers,
  K extends keyof Row<T> & string,
  V extends keyof Row<T> & string,
> {
  readonly reads?: (db: AsyncReadDatabase, tools: AsyncReadTools) => R & CheckAsyncHandlers<R>;
  readonly writes?: (db: AsyncWriteDatabase, tools: AsyncWriteTools) => W & CheckAsyncHandlers<W>;
  readonly key?: readonly K[];
  readonly version?: V;
}

/**
 * Makes a repository whose handlers `await` their queries: the form for code that must also run on a server. It is called
 * like any other, and both kinds may stand in one registry.
 *
 * A handler that awaits nothing but its `db` shares a transaction with the calls around it. One that waits for anything
 * else (a timer, the network) is undone and run again in a transaction of its own, during which all other writes wait;
 * `db.stats()` names it. Prefer `defineRepository` for code that stays on SQLite.
 *
 * @example
 * const notes = defineAsyncRepository(notesTable, {
 *   writes: (db) => ({
 *     async tag(id: number, tag: string) {
 *       const [note] = await db.select().from(notesTable).where(eq(notesTable.id, id));
 *       if (note !== undefined) await db.insert(tags).values({ note: id, tag });
 *     },
 *   }),
 * });
 * @throws {OptionError} as `defineRepository`
 */
export function defineAsyncRepository<
  T extends SQLiteTable,
  R extends Handlers = NoHandlers,
  W extends Handlers = NoHandlers,
  const K extends keyof Row<T> & string = never,
  const V extends keyof Row<T> & string = never,
>(
  table: T,
  definition: AsyncRepositoryDefinition<T, R, W, K, V> = {},
): AsyncRepository<T, NoInfer<R>, NoInfer<W>, NoInfer<K>, NoInfer<V>> {
  validateDefinition('defineAsyncRepository', table, definition);
  return {
    kind: 'async',
    table,
    reads: definition.reads,
    writes: definition.writes,
    key: definition.key,
    version: definition.version,
  };
}

/**
 * Collects repositories under the names that `db.api` gives them. `url` is the module's own `import.meta.url`, so that
 * another thread can import the same handlers.
 *
 * `errors` names the classes of errors that handlers throw. Where handlers run in another thread, one that is named arrives as
 * an instance of its class with its fields, made without calling the constructor; any other as an `Error` of that name.
 *
 * @example
 * export const ledger = defineRepositories(import.meta.url, { accounts: accountRepository, transfers: transferRepository });
 * @throws {OptionError} for a url that is none, a repository that is none, or two entries that are the same repository.
 */
export function defineRepositories<const M extends Repositories>(
  url: string,
  repositories: M,
  { errors = [] }: { readonly errors?: readonly ErrorClass[] } = {},
): Registry<M> {
  if (typeof url !== 'string' || !URL.canParse(url)) {
    throw new OptionError(`defineRepositories: the first argument is ${describe(url)}; give import.meta.url`);
  }
  const names = new Map<unknown, string>();
  const folded = new Map<string, string>();
  for (const [name, repository] of Object.entries(repositories)) {
    if (!isRepository(repository)) {
      throw new OptionError(`defineRepositories: "${name}" is ${describe(repository)}; make it with defineRepository`);
    }
    const twin = names.get(repository);
    if (twin !== undefined) {
      throw new OptionError(`defineRepositories: "${twin}" and "${name}" are one repository; name it once`);
    }
    names.set(repository, name);
    const alike = folded.get(name.toLowerCase());
    if (alike !== undefined) {
      throw new OptionError(`defineRepositories: "${alike}" and "${name}" are one name but for case; rename one`);
    }
    folded.set(name.toLowerCase(), name);
  }
  for (const [at, type] of errors.entries()) {
    if (typeof type !== 'function' || !(type.prototype instanceof Error)) {
      throw new OptionError(`defineRepositories: errors[${at}] is ${describe(type)}; give a class that extends Error`);
    }
  }
  return { url, repositories, errors };
}

function tableName(table: SQLiteTable): string {
  try {
    return getTableConfig(table).name;
  } catch (cause) {
    throw new OptionError(
      `defineRepository: the first argument is ${describe(table)}; give a table of sqliteTable(…)`,
      {
        cause,
      },
    );
  }
}

function isRepository(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'table' in value && 'reads' in value && 'writes' in value;
}

function validateDefinition(
  maker: string,
  table: SQLiteTable,
  definition: { readonly key?: readonly string[]; readonly version?: string },
): void {
  const where = `${maker}(${tableName(table)})`;
  for (const option of Object.keys(definition)) {
    if (!DEFINITION_OPTIONS.includes(option)) {
      throw new OptionError(`${where}: unknown option "${option}"; use ${DEFINITION_OPTIONS.join(', ')}`);
    }
  }
  const shape = tableShape(table);
  for (const column of [...(definition.key ?? []), ...(definition.version === undefined ? [] : [definition.version])]) {
    if (!shape.columns.has(column)) {
      throw new OptionError(`${where}: the table has no column "${column}"${shape.nearMiss(column)}`);
    }
  }
  const keyNames = shape.key.map((column) => column.name);
  if (definition.key !== undefined && String([...definition.key].sort()) !== String([...keyNames].sort())) {
    throw new OptionError(`${where}: the primary key is (${keyNames.join(', ')}), not (${definition.key.join(', ')})`);
  }
  if (definition.version !== undefined) {
    const type = shape.columns.get(definition.version)?.column.columnType;
    if (type !== 'SQLiteInteger') {
      throw new OptionError(
        `${where}: the version column "${definition.version}" is ${String(type)}; use an integer()`,
      );
    }
  }
}
