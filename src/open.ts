import { isMainThread } from 'node:worker_threads';
import { loadAsyncDriver } from './connection/async-bench.ts';
import { CallSite } from './context/call-site.ts';
import { currentContext, deadlineOf } from './context/context.ts';
import { type Connection } from './connection/connection.ts';
import { Connector, linkedSqliteVersion } from './connection/connector.ts';
import { decide, type Decision, type JournalPlan, journalPlan } from './connection/decide.ts';
import { type Facts, hasWalResetBug, lookUpPath, lookUpRegistry, type PathFacts } from './connection/facts.ts';
import { type Database } from './database.ts';
import { MigrationError, OptionError, StorageError, StrategyError } from './errors.ts';
import { isExecutorThread, moduleBeingImported } from './executor/importing.ts';
import {
  claimName,
  enterFile,
  leaveFile,
  openCount,
  type OpenFile,
  refuseOtherName,
  writerCount,
} from './lanes/open-files.ts';
import { retryBusy } from './lanes/retry.ts';
import { Writer } from './lanes/writer.ts';
import { isBehind, migrate, readMigrations } from './migrations/migrate.ts';
import { type OpenOptions, readOptions, type Settings } from './options.ts';
import { describe } from './plain.ts';
import { rehearse } from './rehearsal.ts';
import { type Registry } from './repository/types.ts';
import { watchUnclosed } from './unclosed.ts';
import { SluiceDatabase } from './sluice-database.ts';
import { Executor, startThreads, type Threads } from './strategies/executor.ts';
import { PerContext } from './strategies/per-context.ts';
import { Shared } from './strategies/shared.ts';
import { type Strategy } from './strategies/strategy.ts';

type Migrations = Awaited<ReturnType<typeof readMigrations>>;

/**
 * Opens a database: looks the facts up, decides how calls may reach the file, brings it up to date, and gives the api.
 *
 * Every connection's pragmas are set and read back. Whatever fails on the way closes what was opened. A file that does not
 * exist is created only after migrations and factories have been run through once on a database in memory.
 *
 * @example
 * await using db = await open({ file: 'ledger.db', repositories: ledger, migrations: 'drizzle' });
 * await db.api.accounts.insert({ owner: 'ann' });
 * @throws {OptionError} an option that cannot be used as given, also a second name (hard link) of a file that is open here;
 *   nothing was opened
 * @throws {StrategyError} the strategy asked for cannot be safe here; nothing was opened
 * @throws {CorruptError} the file is not a database
 * @throws {StorageError} the file cannot be opened
 * @throws {MigrationError} the migrations do not apply; none was applied
 */
export async function open<G extends Registry>(options: OpenOptions<G>): Promise<Database<G>> {
  refuseWhileImporting();
  const site = new CallSite();
  const settings = readOptions(options);
  const { strategy, decision, leave } = await openHere(settings);
  const database = new SluiceDatabase<G>(strategy, decision, leave, settings);
  const release = async (): Promise<void> => {
    await strategy.idle();
    await strategy.close();
    leave();
  };
  watchUnclosed(database, { file: decision.facts.file, site, release });
  return database;
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
  const migrations = settings.migrations === undefined ? [] : await readMigrations(settings.migrations);
  const asyncDriver = await loadAsyncDriver(settings.repositories);
  let path = lookUpPath(settings.file);
  refuseReadonlyNothing(settings, path);
  // Decided once on what is expected, so that a strategy that cannot be safe is refused before a file exists.
  const sqliteVersion = linkedSqliteVersion();
  const plan = planOf(settings, path, sqliteVersion);
  const expected = decide(gather(settings, path, { sqliteVersion, journalMode: expectedJournal(path, plan) }));
  if (expected.strategy === 'executor') return await openThreads(settings, path);

  const common = {
    repositories: settings.repositories,
    asyncDriver,
    durability: settings.durability,
    pragmas: settings.pragmas,
  };
  if (!path.exists && !isTransient(path)) {
    await rehearse(common, migrations, settings.timeout);
    path = lookUpPath(settings.file);
  }
  // From here to the registry of open files nothing is awaited but SQLite's lock: what was looked up is what is opened.
  const connector = new Connector({ ...common, file: path.file });
  const onlyReads = settings.readonly || !path.writable.file || !path.writable.directory;
  const access = onlyReads ? 'read' : 'write';
  const { connection, decision, file } = await retryBusy(
    `open ${path.file}`,
    deadlineOf(currentContext(), settings.timeout),
    // In one go: an open of the same file under another name comes before it or after it, and one of the two is refused.
    () => {
      if (!isTransient(path)) refuseOtherName(path.realPath);
      const opened = onlyReads ? connector.reader() : connector.writer(planOf(settings, path, sqliteVersion));
      try {
        // Looked up again: by now the file exists, and has an identity.
        const decision = decide(gather(settings, lookUpPath(settings.file), opened));
        const realPath = isTransient(path) ? undefined : decision.facts.realPath;
        const file = enterFile(realPath, access, decision.journal === 'wal');
        return { connection: opened.connection, decision, file };
      } catch (error) {
        opened.connection.close();
        throw error;
      }
    },
  );
  try {
    const strategy = onlyReads
      ? startReading(settings, connector, connection, decision, file, migrations)
      : await start(settings, connector, connection, decision, file, migrations);
    const leave = (): void => {
      leaveFile(file, access);
    };
    return { strategy, decision, leave };
  } catch (error) {
    connection.close();
    leaveFile(file, access);
    throw error;
  }
}

/** Has other threads open it. What they found of the file decides here as it would have if it had been opened here. */
async function openThreads(settings: Settings, path: PathFacts): Promise<Opened> {
  // Before a thread has it open under this name: by then it may have made a journal of its own.
  const endClaim = isTransient(path) ? undefined : claimName(path.realPath);
  try {
    return await enterThreads(settings, path, await startThreads(settings, path));
  } finally {
    endClaim?.();
  }
}

async function enterThreads(settings: Settings, path: PathFacts, threads: Threads): Promise<Opened> {
  const seen = threads.description.decision.facts;
  const strategy = new Executor(threads, settings);
  try {
    const decision = decide(gather(settings, lookUpPath(settings.file), seen));
    const access = settings.readonly ? 'read' : 'write';
    const file = enterFile(isTransient(path) ? undefined : decision.facts.realPath, access, decision.journal === 'wal');
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
  const { repositories, timeout } = settings;
  const owner = {};
  const openReader = (): Connection => connector.reader().connection;
  const reopen = isTransient(decision.facts) ? undefined : (): Connection => connector.writer('keep').connection;
  const writer = new Writer(file.lane, connection, { ...settings, owner }, reopen);
  if (migrations.length > 0) {
    const context = currentContext();
    const deadline = deadlineOf(context, timeout);
    const behind = await retryBusy('migrate', deadline, () => isBehind(connection, migrations));
    if (behind) {
      await writer.hold('migration', context, (held) => migrate(held, migrations, deadline - performance.now()));
    }
  }
  const { checkpoints } = file.lane;
  const parts = { ...settings, owner, file: decision.facts.file };
  const strategy =
    decision.strategy === 'shared'
      ? new Shared(repositories, writer, timeout)
      : new PerContext({ ...parts, writer, firstReader: undefined, openReader, checkpoints });
  checkpoints?.addWriter(writer);
  return strategy;
}

/** A database that nobody here may write has readers only; under `shared` one, which is then the one handle. */
function startReading(
  { repositories, readers, maxQueue, timeout }: Settings,
  connector: Connector,
  firstReader: Connection,
  decision: Decision,
  file: OpenFile,
  migrations: Migrations,
): Strategy {
  if (migrations.length > 0 && isBehind(firstReader, migrations)) {
    throw new MigrationError(
      `open ${decision.facts.file}: migrations are pending, and the database can only be read; open it for writing once`,
    );
  }
  return new PerContext({
    owner: {},
    file: decision.facts.file,
    repositories,
    writer: undefined,
    firstReader,
    openReader: () => connector.reader().connection,
    readers: decision.strategy === 'shared' ? 1 : readers,
    maxQueue,
    timeout,
    checkpoints: file.lane.checkpoints,
  });
}

/** The journal to ask for; of a file that is written here already it has been asked. */
function planOf({ readonly }: Settings, path: PathFacts, sqliteVersion: string): JournalPlan {
  return writerCount(path.realPath) > 0 ? 'keep' : journalPlan(path, sqliteVersion, readonly);
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
