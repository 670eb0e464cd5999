import { isMainThread } from 'node:worker_threads';
import { type Connection } from './connection/connection.ts';
import { Connector, linkedSqliteVersion } from './connection/connector.ts';
import { decide, type Decision, type JournalPlan, journalPlan } from './connection/decide.ts';
import { type Facts, hasWalResetBug, lookUpPath, lookUpRegistry, type PathFacts } from './connection/facts.ts';
import { type Database } from './database.ts';
import { MigrationError, OptionError, StorageError, StrategyError } from './errors.ts';
import { isExecutorThread, moduleBeingImported } from './executor/importing.ts';
import { enterFile, leaveFile, openCount, type OpenFile, writerCount } from './lanes/open-files.ts';
import { retryBusy } from './lanes/retry.ts';
import { Writer } from './lanes/writer.ts';
import { isBehind, migrate, readMigrations } from './migrations/migrate.ts';
import { type OpenOptions, readOptions, type Settings } from './options.ts';
import { describe } from './plain.ts';
import { type Registry } from './repository/types.ts';
import { SluiceDatabase } from './sluice-database.ts';
import { Executor, startThreads } from './strategies/executor.ts';
import { PerContext } from './strategies/per-context.ts';
import { Shared } from './strategies/shared.ts';
import { type Strategy } from './strategies/strategy.ts';

/** SQLite itself waits while a connection is being opened, and the thread with it: never longer than this, in ms. */
const MAX_OPENING_WAIT = 5000;

type Migrations = ReturnType<typeof readMigrations>;

/**
 * Opens a database: looks the facts up, decides how calls may reach the file, brings it up to date, and gives the api.
 *
 * Every connection's pragmas are set and read back. Whatever fails on the way closes what was opened.
 *
 * @example
 * await using db = await open({ file: 'ledger.db', repositories: ledger, migrations: 'drizzle' });
 * await db.api.accounts.insert({ owner: 'ann' });
 * @throws {OptionError} an option that cannot be used as given; nothing was opened
 * @throws {StrategyError} the strategy asked for cannot be safe here; nothing was opened
 * @throws {CorruptError} the file is not a database
 * @throws {StorageError} the file cannot be opened
 * @throws {MigrationError} the migrations do not apply; none was applied
 */
export async function open<G extends Registry>(options: OpenOptions<G>): Promise<Database<G>> {
  refuseWhileImporting();
  const settings = readOptions(options);
  const { strategy, decision, leave } = await openHere(settings);
  return new SluiceDatabase<G>(strategy, decision, leave, settings);
}

/** A strategy that has been opened. */
export interface Opened {
  readonly strategy: Strategy;
  readonly decision: Decision;
  /** Takes the file out of the registry of open files. */
  readonly leave: () => void;
}

/** What `open` does, short of the `Database` around it. */
export async function openHere(settings: Settings): Promise<Opened> {
  const path = lookUpPath(settings.file);
  refuseReadonlyNothing(settings, path);
  const migrations = settings.migrations === undefined ? [] : readMigrations(settings.migrations);
  // Decided once on what is expected, so that a strategy that cannot be safe is refused before a file exists.
  const sqliteVersion = linkedSqliteVersion();
  const plan = writerCount(path.realPath) > 0 ? 'keep' : journalPlan(path, sqliteVersion, settings.readonly);
  const expected = decide(gather(settings, path, { sqliteVersion, journalMode: expectedJournal(path, plan) }));
  if (expected.strategy === 'executor') return openThreads(settings, path);

  const connector = new Connector({
    file: path.file,
    repositories: settings.repositories,
    durability: settings.durability,
    pragmas: settings.pragmas,
    busyTimeout: Math.min(settings.timeout, MAX_OPENING_WAIT),
  });
  const onlyReads = settings.readonly || !path.writable.file || !path.writable.directory;
  // SQLite waits itself while WAL is being obtained, but not for every lock that may be in the way.
  const opened = await retryBusy(`open ${path.file}`, performance.now() + settings.timeout, () =>
    onlyReads ? connector.reader() : connector.writer(plan),
  );
  const { connection } = opened;
  let file: OpenFile | undefined;
  try {
    // Looked up again: by now the file exists, and has an identity.
    const decision = decide(gather(settings, lookUpPath(settings.file), opened));
    file = enterFile(isTransient(path) ? undefined : decision.facts.realPath, onlyReads ? 'read' : 'write');
    const strategy = onlyReads
      ? startReading(settings, connector, connection, decision, migrations)
      : await start(settings, connector, connection, decision, file, migrations);
    const entered = file;
    const leave = (): void => {
      leaveFile(entered, onlyReads ? 'read' : 'write');
    };
    return { strategy, decision, leave };
  } catch (error) {
    connection.close();
    if (file !== undefined) leaveFile(file, onlyReads ? 'read' : 'write');
    throw error;
  }
}

/** Has other threads open it. What they found of the file decides here as it would have if it had been opened here. */
async function openThreads(settings: Settings, path: PathFacts): Promise<Opened> {
  const threads = await startThreads(settings, path);
  const seen = threads.description.decision.facts;
  const strategy = new Executor(threads, settings);
  try {
    const decision = decide(gather(settings, lookUpPath(settings.file), seen));
    const access = settings.readonly ? 'read' : 'write';
    const file = enterFile(isTransient(path) ? undefined : decision.facts.realPath, access);
    const leave = (): void => {
      leaveFile(file, access);
    };
    return { strategy, decision, leave };
  } catch (error) {
    await strategy.close();
    throw error;
  }
}

/** A registry's module that opens a database when it is imported would open one in each thread that imports it. */
function refuseWhileImporting(): void {
  const url = moduleBeingImported();
  if (url === undefined) return;
  throw new StrategyError(
    `open: called while ${url} is being imported by the thread that is to own its database, which would start threads without ` +
      'end; keep the registry in a module of its own, which opens nothing, and call open in another one',
    { strategy: 'executor', alternatives: ['per-context', 'shared'] },
  );
}

async function start(
  settings: Settings,
  connector: Connector,
  connection: Connection,
  decision: Decision,
  file: OpenFile,
  migrations: Migrations,
): Promise<Strategy> {
  const { repositories, readers, maxQueue, timeout } = settings;
  const openReader = (): Connection => connector.reader().connection;
  const reopen = isTransient(decision.facts) ? undefined : (): Connection => connector.writer('keep').connection;
  const writer = new Writer(file.lane, connection, settings, reopen);
  if (migrations.length > 0 && isBehind(connection, migrations)) {
    await writer.hold('migration', undefined, (held) => migrate(held, migrations, timeout));
  }
  if (decision.strategy === 'shared') return new Shared(repositories, writer, timeout);
  return new PerContext({ repositories, writer, firstReader: undefined, openReader, readers, maxQueue, timeout });
}

/** A database that nobody here may write has readers only; under `shared` one, which is then the one handle. */
function startReading(
  { repositories, readers, maxQueue, timeout }: Settings,
  connector: Connector,
  firstReader: Connection,
  decision: Decision,
  migrations: Migrations,
): Strategy {
  if (migrations.length > 0 && isBehind(firstReader, migrations)) {
    throw new MigrationError(
      `open ${decision.facts.file}: migrations are pending, and the database can only be read; open it for writing once`,
    );
  }
  return new PerContext({
    repositories,
    writer: undefined,
    firstReader,
    openReader: () => connector.reader().connection,
    readers: decision.strategy === 'shared' ? 1 : readers,
    maxQueue,
    timeout,
  });
}

/** What the caller asks and what was found, as `decide` wants it. */
function gather(settings: Settings, path: PathFacts, seen: { sqliteVersion: string; journalMode: string }): Facts {
  return {
    ...path,
    readonly: settings.readonly,
    journalMode: seen.journalMode,
    walObtained: seen.journalMode === 'wal',
    sqliteVersion: seen.sqliteVersion,
    walResetBug: hasWalResetBug(seen.sqliteVersion),
    thread: isExecutorThread() ? 'executor' : isMainThread ? 'main' : 'worker',
    openInThisProcess: openCount(path.realPath),
    requested: settings.strategy,
    heavy: settings.heavy,
    threads: settings.threads,
    registry: lookUpRegistry(settings.url),
  };
}

/** What the journal will be if SQLite grants the plan. */
function expectedJournal(path: PathFacts, plan: JournalPlan): string {
  if (isTransient(path)) return 'memory';
  return plan === 'delete' ? 'delete' : 'wal';
}

function isTransient({ storage }: PathFacts): boolean {
  return storage.kind === 'memory' || storage.kind === 'temporary';
}

function refuseReadonlyNothing(settings: Settings, path: PathFacts): void {
  if (!settings.readonly) return;
  if (isTransient(path)) {
    throw new OptionError(
      `open: ${describe(settings.file)} is a new, empty database each time; it cannot be "readonly"`,
    );
  }
  if (!path.exists) {
    throw new StorageError(
      `open ${path.file}: there is no such file, and "readonly" does not create one; check the path`,
    );
  }
}
