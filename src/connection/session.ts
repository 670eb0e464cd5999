/**
 * Drizzle's session for the handlers of one connection.
 *
 * Drizzle's own for better-sqlite3 fills in placeholders and maps rows by looking at the query again for each call and each
 * row. Here a query is looked at once, when it is first run, and what is not prepared is compiled once for each text.
 */
import { entityKind, is } from 'drizzle-orm/entity';
import { Param, Placeholder, type Query, type SQL } from 'drizzle-orm/sql/sql';
import { BaseSQLiteDatabase } from 'drizzle-orm/sqlite-core/db';
import { SQLiteSyncDialect } from 'drizzle-orm/sqlite-core/dialect';
import { type SelectedFieldsOrdered } from 'drizzle-orm/sqlite-core/query-builders/select.types';
import {
  type PreparedQueryConfig,
  type SQLiteExecuteMethod,
  SQLitePreparedQuery,
  SQLiteSession,
  SQLiteTransaction,
} from 'drizzle-orm/sqlite-core/session';
import { StatementCache } from '../repository/statement-cache.ts';
import { type RunResult } from '../repository/types.ts';
import { type GuardedClient, type GuardedStatement } from './guarded-client.ts';
import { type JoinedTables, rowReader, type RowReader } from './row-reader.ts';

type NoTables = Record<string, never>;
type SyncQuery = PreparedQueryConfig & { type: 'sync' };
/** Drizzle's relational queries map their rows themselves. */
type MapRows = (rows: unknown[][]) => unknown;
type Values = Readonly<Record<string, unknown>>;

/** The Drizzle database that handlers are made with. */
export function handlerDatabase(client: GuardedClient): BaseSQLiteDatabase<'sync', RunResult> {
  const dialect = new SQLiteSyncDialect();
  return new BaseSQLiteDatabase('sync', dialect, new HandlerSession(client, dialect), undefined);
}

class HandlerSession extends SQLiteSession<'sync', RunResult, NoTables, NoTables> {
  static override readonly [entityKind] = 'SluiceSession';
  readonly #client: GuardedClient;
  readonly #dialect: SQLiteSyncDialect;
  /** Of queries that are built anew for each call: their texts are few. */
  readonly #statements: StatementCache<GuardedStatement>;

  constructor(client: GuardedClient, dialect: SQLiteSyncDialect) {
    super(dialect);
    this.#client = client;
    this.#dialect = dialect;
    this.#statements = new StatementCache((source) => client.prepare(source));
  }

  override prepareQuery(
    query: Query,
    fields: SelectedFieldsOrdered | undefined,
    method: SQLiteExecuteMethod,
    _arrays?: boolean,
    mapRows?: MapRows,
  ): HandlerQuery {
    return new HandlerQuery(this.#client.prepare(query.sql), query, fields, method, mapRows);
  }

  override prepareOneTimeQuery(
    query: Query,
    fields: SelectedFieldsOrdered | undefined,
    method: SQLiteExecuteMethod,
    _arrays?: boolean,
    mapRows?: MapRows,
  ): HandlerQuery {
    return new HandlerQuery(this.#statements.get(query.sql), query, fields, method, mapRows);
  }

  /** Without the `DrizzleError` that Drizzle puts around what `run` throws, and around nothing else. */
  override run(query: SQL): RunResult {
    return this.prepareOneTimeQuery(this.#dialect.sqlToQuery(query), undefined, 'run').run();
  }

  /** A savepoint inside the call, undone when `run` throws. Drizzle nests them by calling it again. */
  override transaction<T>(run: (tx: HandlerTransaction) => T): T {
    return this.#client.savepoint(() => run(new HandlerTransaction('sync', this.#dialect, this, undefined)));
  }
}

class HandlerTransaction extends SQLiteTransaction<'sync', RunResult, NoTables, NoTables> {
  static override readonly [entityKind] = 'SluiceTransaction';
}

/** One query, prepared or about to be run. */
class HandlerQuery extends SQLitePreparedQuery<SyncQuery> {
  static override readonly [entityKind] = 'SluiceQuery';
  readonly #statement: GuardedStatement;
  readonly #fields: SelectedFieldsOrdered | undefined;
  readonly #mapRows: MapRows | undefined;
  #parameters: Parameters | undefined;
  #reader: RowReader | undefined;
  /** Set by Drizzle once the query is made. */
  declare joinsNotNullableMap?: JoinedTables;

  constructor(
    statement: GuardedStatement,
    query: Query,
    fields: SelectedFieldsOrdered | undefined,
    method: SQLiteExecuteMethod,
    mapRows: MapRows | undefined,
  ) {
    super('sync', method, query);
    this.#statement = statement;
    this.#fields = fields;
    this.#mapRows = mapRows;
  }

  override run(values?: Values): RunResult {
    return this.#statement.run(...this.#fill(values));
  }

  override all(values?: Values): unknown {
    const statement = this.#statement;
    if (this.#mapRows !== undefined) return this.#mapRows(this.values(values) as unknown[][]);
    const reader = this.#rowReader();
    if (reader === undefined) return statement.all(...this.#fill(values));
    const rows = (reader.takes === 'object' ? statement : statement.raw()).all(...this.#fill(values));
    return reader.asIs ? rows : rows.map(reader.read);
  }

  override get(values?: Values): unknown {
    if (this.#mapRows !== undefined) {
      const row = first(this.#statement.raw(), this.#fill(values));
      return row === undefined ? undefined : this.#mapRows([row as unknown[]]);
    }
    const reader = this.#rowReader();
    const statement = reader?.takes === 'array' ? this.#statement.raw() : this.#statement;
    const row = first(statement, this.#fill(values));
    return row === undefined || reader === undefined ? row : reader.read(row);
  }

  override values(values?: Values): unknown {
    return this.#statement.raw().all(...this.#fill(values));
  }

  #fill(values: Values | undefined): unknown[] {
    return (this.#parameters ??= new Parameters(this.query.params)).fill(values);
  }

  #rowReader(): RowReader | undefined {
    if (this.#fields === undefined) return undefined;
    return (this.#reader ??= rowReader(this.#fields, this.#statement.columns, this.joinsNotNullableMap));
  }
}

/** What a statement gives first. One that writes is read to its end: reset before it is done, it would skip SQLite's checkpoint. */
function first(statement: GuardedStatement, params: unknown[]): unknown {
  return statement.readonly ? statement.get(...params) : statement.all(...params)[0];
}

interface Hole {
  readonly at: number;
  readonly name: string;
  /** Whose value it is, where that has a codec. */
  readonly encoder: Param['encoder'] | undefined;
}

/** The parameters of a query: what it was built with, and the placeholders between. */
class Parameters {
  readonly #given: readonly unknown[];
  readonly #holes: readonly Hole[];

  constructor(given: readonly unknown[]) {
    this.#given = given;
    this.#holes = given.flatMap((param, at) => hole(param, at) ?? []);
  }

  /** @throws where a placeholder is given no value */
  fill(values: Values | undefined): unknown[] {
    const params = [...this.#given];
    for (const { at, name, encoder } of this.#holes) {
      if (values === undefined || !(name in values)) throw new Error(`No value for placeholder "${name}" was provided`);
      const value = values[name];
      params[at] = encoder === undefined ? value : encoder.mapToDriverValue(value);
    }
    return params;
  }
}

function hole(param: unknown, at: number): Hole | undefined {
  if (is(param, Placeholder)) return { at, name: param.name, encoder: undefined };
  if (!is(param, Param) || !is(param.value, Placeholder)) return undefined;
  return { at, name: param.value.name, encoder: param.encoder };
}
