/**
 * Which strategy a database gets, and why. Pure: the same facts give the same decision, and nothing is looked up here.
 *
 * The first row that fits decides:
 *
 * 1. in memory or temporary       → `shared`: a further connection would be another, empty database
 * 2. network or unknown storage   → `shared` with a rollback journal, until `portable` is built
 * 3. heavy queries, or threads    → `executor`, where a thread can import the registry's module
 * 4. cannot or may not be written → `per-context`, readers only
 * 5. the WAL-reset bug            → `shared` with a rollback journal
 * 6. WAL refused                  → `shared` with a rollback journal
 * 7. a local file with WAL        → `per-context`
 *
 * A strategy that was asked for by name is held against the same rows and refused where it cannot be safe.
 */
import { StrategyError } from '../errors.ts';
import { hasWalResetBug, strategyNames, type Facts, type PathFacts, type StrategyName } from './facts.ts';
import { findHazards } from './hazards.ts';

/** A strategy that was not taken, and why. */
export interface Rejection {
  readonly strategy: StrategyName;
  readonly because: string;
}

/** How calls reach the database, and everything that led to it. Each sentence is meant to be read by a person. */
export interface Decision {
  readonly strategy: StrategyName;
  /** How SQLite makes a write atomic here: what is in force, not what was wished for. */
  readonly journal: 'wal' | 'rollback' | 'memory';
  readonly reasons: readonly string[];
  readonly rejected: readonly Rejection[];
  /** What can go wrong here whatever the strategy, and what to do about it. */
  readonly hazards: readonly string[];
  readonly facts: Facts;
}

/** The journal mode to ask SQLite for. `keep` asks for none: the file cannot be changed, or there is no file. */
export type JournalPlan = 'wal' | 'delete' | 'keep';

/** The strategies of this version, the one with more concurrency first. */
type BuiltStrategy = 'per-context' | 'shared' | 'executor';
const built: readonly BuiltStrategy[] = ['per-context', 'shared', 'executor'];

/**
 * Which journal mode to ask for, decided before anything is opened: where WAL is not safe even trying it is not, because
 * SQLite maps its shared memory in order to find out.
 */
export function journalPlan(path: PathFacts, sqliteVersion: string, readonly: boolean): JournalPlan {
  if (isTransient(path) || readonly || !isWritable(path)) return 'keep';
  return isLocal(path) && !hasWalResetBug(sqliteVersion) ? 'wal' : 'delete';
}

/**
 * Chooses the strategy for a database.
 *
 * @throws {StrategyError} the strategy that was asked for is not built yet or cannot be safe here
 */
export function decide(facts: Facts): Decision {
  const automatic = chooseAutomatically(facts);
  const { requested } = facts;
  const asked = requested !== 'auto';
  if (asked) refuseIfImpossible(requested, facts, automatic.strategy);
  const strategy = asked ? requested : automatic.strategy;

  const reasons =
    strategy === automatic.strategy
      ? [...(asked ? [`'${strategy}' was asked for, and 'auto' would have chosen it too.`] : []), ...automatic.reasons]
      : [`'${strategy}' was asked for and is safe here.`];
  return {
    strategy,
    journal: journalOf(facts),
    reasons,
    rejected: strategyNames
      .filter((name) => name !== strategy)
      .map((name) => ({ strategy: name, because: whyNot(name, facts, automatic) })),
    hazards: findHazards(facts),
    facts,
  };
}

interface Choice {
  readonly strategy: BuiltStrategy;
  readonly reasons: readonly string[];
}

/** The table at the head of this file, row by row. */
function chooseAutomatically(facts: Facts): Choice {
  if (isTransient(facts)) {
    return {
      strategy: 'shared',
      reasons: [`The database is ${transience(facts)}: every further connection would be another, empty database.`],
    };
  }
  if (!isLocal(facts)) {
    return {
      strategy: 'shared',
      reasons: [
        `${describeStorage(facts)}. WAL needs memory shared on one host, so one connection with a rollback journal ` +
          "is the least that can go wrong until 'portable' is built.",
      ],
    };
  }
  if (wantsExecutor(facts) && objectionToExecutor(facts) === undefined) {
    return { strategy: 'executor', reasons: reasonsForExecutor(facts) };
  }
  if (isForReadingOnly(facts)) {
    return {
      strategy: 'per-context',
      reasons: [`${whyReadingOnly(facts)}, so every connection is a reader and there is nothing to serialise.`],
    };
  }
  if (facts.walResetBug) {
    return {
      strategy: 'shared',
      reasons: [
        `SQLite ${facts.sqliteVersion} has the WAL-reset bug (3.7.0 to 3.51.2), which can corrupt a WAL database that ` +
          'has several connections: one connection with a rollback journal is not touched by it.',
      ],
    };
  }
  if (!facts.walObtained) {
    return {
      strategy: 'shared',
      reasons: [
        `SQLite was asked for WAL and answered '${facts.journalMode}': without WAL a reader keeps a writer from ` +
          'committing, so one connection takes the calls in turn.',
      ],
    };
  }
  return {
    strategy: 'per-context',
    reasons: [
      `${describeStorage(facts)}, and in WAL mode (SQLite ${facts.sqliteVersion}): readers keep the state they began ` +
        'with while a write is open, and writes take turns in one lane.',
    ],
  };
}

/** Why a strategy cannot be had or cannot be safe here; `undefined` where it can. One handle is safe everywhere. */
function objection(strategy: StrategyName, facts: Facts): string | undefined {
  switch (strategy) {
    case 'shared':
      return undefined;
    case 'per-context':
      return objectionToSeveralConnections(facts);
    case 'executor':
      return objectionToExecutor(facts);
    case 'portable':
      return (
        'it is not built in this version. It is for files that several hosts reach: a lock file would be taken around ' +
        `every access. ${isTransient(facts) || isLocal(facts) ? 'This one needs none.' : `On ${facts.storage.fileSystem} it would be the right one.`}`
      );
    case 'remote':
      return (
        'it is not built in this version. It is for data that has outgrown one machine: ' +
        'calls would go to a libSQL server, and this is a file.'
      );
  }
}

function objectionToSeveralConnections(facts: Facts): string | undefined {
  if (isTransient(facts))
    return `every further connection to a database ${transience(facts)} would be another, empty one.`;
  if (!isLocal(facts)) {
    return (
      `several connections need WAL or locks that can be trusted, and ${facts.storage.fileSystem} ` +
      `${facts.storage.kind === 'network' ? 'gives neither between hosts' : 'is not known to give either'}.`
    );
  }
  if (isForReadingOnly(facts)) return undefined;
  if (facts.walResetBug) {
    return `SQLite ${facts.sqliteVersion} has the WAL-reset bug: several connections on one WAL file can corrupt it.`;
  }
  if (!facts.walObtained) {
    return (
      `SQLite answered '${facts.journalMode}' instead of WAL: an open reader would keep the writer from committing, ` +
      'and on one thread the two would wait for each other for ever.'
    );
  }
  return undefined;
}

function wantsExecutor({ heavy, threads }: Facts): boolean {
  return heavy || threads > 1;
}

function reasonsForExecutor({ heavy, threads }: Facts): string[] {
  const reasons: string[] = [];
  if (heavy) {
    reasons.push(
      "Its queries are 'heavy': a thread of its own runs them, and the event loop of the callers stays free meanwhile.",
    );
  }
  if (threads > 1) {
    reasons.push(
      `${threads} threads call: one thread owns the database, and each of the others reaches it through a port.`,
    );
  }
  return reasons;
}

/** One handle in a thread of its own is safe wherever one handle is; what it needs is the registry's module. */
function objectionToExecutor({ registry, thread }: Facts): string | undefined {
  if (thread === 'executor') {
    return 'this thread was itself started to own a database, and would start threads without end.';
  }
  if (registry?.importable !== false) return undefined;
  return (
    `a worker thread must import the registry's module, and ${registry.url} is no file that exists. ` +
    'Give defineRepositories the import.meta.url of the module that exports the registry, as it is at run time.'
  );
}

function whyNot(strategy: StrategyName, facts: Facts, automatic: Choice): string {
  const reason = objection(strategy, facts);
  if (reason !== undefined) return capitalise(reason);
  if (strategy === automatic.strategy) return `'auto' would have chosen it. ${automatic.reasons.join(' ')}`;
  if (strategy === 'executor') {
    return "A call to another thread costs more than a short query. It is for queries that hold up the event loop ('heavy') and for callers in several threads ('threads').";
  }
  if (automatic.strategy === 'executor') {
    return 'Every query would run on the event loop of its caller, and hold it up for as long as it takes.';
  }
  return isForReadingOnly(facts)
    ? 'One connection would make readers take turns that have no reason to.'
    : 'One connection would make every read wait while a transaction is open.';
}

function refuseIfImpossible(requested: StrategyName, facts: Facts, automatic: BuiltStrategy): void {
  const reason = objection(requested, facts);
  if (reason === undefined) return;
  const safe = built.filter((name) => objection(name, facts) === undefined);
  // What 'auto' would choose comes first: it is what most callers should take.
  const alternatives = [automatic, ...safe.filter((name) => name !== automatic)];
  throw new StrategyError(
    `strategy: '${requested}' cannot be used for ${nameOf(facts)}: ${reason} ` +
      `What works here: ${["'auto'", ...alternatives.map((name) => `'${name}'`)].join(', ')}.`,
    { strategy: requested, alternatives },
  );
}

function journalOf(facts: Facts): Decision['journal'] {
  switch (facts.journalMode) {
    case 'wal':
      return 'wal';
    case 'memory':
    case 'off':
      return 'memory';
    default:
      return 'rollback';
  }
}

function isTransient({ storage }: PathFacts): boolean {
  return storage.kind === 'memory' || storage.kind === 'temporary';
}

function isLocal({ storage }: PathFacts): boolean {
  return storage.kind === 'local';
}

function isWritable({ writable }: PathFacts): boolean {
  return writable.file && writable.directory;
}

function isForReadingOnly(facts: Facts): boolean {
  return facts.readonly || !isWritable(facts);
}

function whyReadingOnly(facts: Facts): string {
  if (facts.readonly) return 'It was opened for reading only';
  if (!facts.writable.file) return 'This process may not write the file';
  return 'This process may not write the directory, where SQLite would keep its journal';
}

function transience({ storage }: PathFacts): string {
  return storage.kind === 'memory' ? 'in memory' : 'temporary';
}

function describeStorage({ storage }: PathFacts): string {
  const { fileSystem, mountPoint, kind } = storage;
  const where = mountPoint === undefined ? fileSystem : `${fileSystem} (mounted at ${mountPoint})`;
  if (kind === 'unknown') return `The file is on ${where}, which is not known to be local`;
  return `The file is on ${where}, a ${kind} file system`;
}

function nameOf(facts: Facts): string {
  if (facts.storage.kind === 'temporary') return 'a temporary database';
  return `'${facts.file}'`;
}

function capitalise(sentence: string): string {
  return sentence.charAt(0).toUpperCase() + sentence.slice(1);
}
