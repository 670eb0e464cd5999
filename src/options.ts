import { type ResourceLimits } from 'node:worker_threads';
import { strategyNames, type StrategyName } from './connection/facts.ts';
import { type Durability, type PragmaOptions } from './connection/durability.ts';
import { validatePragmas } from './connection/pragmas.ts';
import { OptionError } from './errors.ts';
import { type BatchLimits } from './lanes/limits.ts';
import { nearMiss } from './near-miss.ts';
import { describe, isPlain } from './plain.ts';
import { type ErrorClass, type Registry, type Repositories } from './repository/types.ts';

/** Options of `open`. */
export interface OpenOptions<G extends Registry = Registry> {
  /** A path, a `file:` URL object, or `':memory:'`. Strings that look like URIs are refused. */
  readonly file: string | URL;
  /** What `defineRepositories` made. */
  readonly repositories: G;
  /** A drizzle-kit folder (a path or a `file:` URL object) to bring the database up to date before the first call. */
  readonly migrations?: string | URL;
  /** `'auto'` (default) or a strategy by name, refused with a `StrategyError` where it cannot be safe. */
  readonly strategy?: 'auto' | StrategyName;
  /**
   * `'full'` (default): an acknowledged write survives a power cut. `'normal'`: it survives a crash of the process, and
   * the last moments may be lost with the power.
   */
  readonly durability?: Durability;
  /**
   * Read connections at most; 4 by default. On one thread they buy isolation for snapshots, not parallelism. Handlers that
   * yield share one more. Under `executor` each that is asked for is a thread of its own, and reads run in parallel.
   */
  readonly readers?: number;
  /** Milliseconds that a call may wait for its turn; 5000 by default. */
  readonly timeout?: number;
  /** Calls that may wait at most; 10 000 by default. One more is a `QueueFullError`. */
  readonly maxQueue?: number;
  /** Bounds of one batch of the write lane: calls (1000 by default) and milliseconds (5 by default). */
  readonly batch?: { readonly calls?: number; readonly slice?: number };
  /** Pragmas to set beside the profile, applied and read back on every connection. */
  readonly pragmas?: PragmaOptions;
  /** Open for reading only; the file must exist. */
  readonly readonly?: boolean;
  /** Queries run so long that they would hold up the event loop: a thread of their own takes them (`executor`). */
  readonly heavy?: boolean;
  /** How many threads call; more than one leads to `executor`, whose ports they share. 1 by default. */
  readonly threads?: number;
  /** Memory limits of the executor's threads, as `new Worker` takes them. */
  readonly resourceLimits?: ResourceLimits;
}

/** Options with nothing left to decide. */
export interface Settings {
  readonly file: string | URL;
  readonly repositories: Repositories;
  readonly migrations: string | URL | undefined;
  readonly strategy: 'auto' | StrategyName;
  readonly durability: Durability;
  readonly readers: number;
  readonly timeout: number;
  readonly maxQueue: number;
  readonly batch: BatchLimits;
  readonly pragmas: PragmaOptions;
  readonly readonly: boolean;
  /** The module that the registry lives in. */
  readonly url: string;
  /** The registry's own classes of errors. */
  readonly errors: readonly ErrorClass[];
  readonly heavy: boolean;
  readonly threads: number;
  readonly resourceLimits: ResourceLimits | undefined;
  /** Threads that read beside the executor's writer: as many as `readers` says, if it was given. */
  readonly readerThreads: number;
}

const KNOWN = [
  'file',
  'repositories',
  'migrations',
  'strategy',
  'durability',
  'readers',
  'timeout',
  'maxQueue',
  'batch',
  'pragmas',
  'readonly',
  'heavy',
  'threads',
  'resourceLimits',
];

/** Timers overflow beyond this many milliseconds, and would fire at once. */
const MAX_TIMEOUT = 2 ** 31 - 1;

/** Defaults, arguments, interpretation, validation. @throws {OptionError} naming the option and its value */
export function readOptions(options: unknown): Settings {
  if (!isPlain(options)) throw new OptionError(`open: takes one object of options, not ${describe(options)}`);
  refuseUnknown(options, KNOWN, 'open');
  const batch = options.batch ?? {};
  if (!isPlain(batch)) throw new OptionError(`open: "batch" is ${describe(batch)}; give { calls, slice }`);
  refuseUnknown(batch, ['calls', 'slice'], 'open: batch');

  const { url, repositories, errors = [] } = registry(options.repositories);
  return {
    file: file(options.file),
    url,
    repositories,
    errors,
    migrations: migrations(options.migrations),
    strategy: oneOf('strategy', options.strategy ?? 'auto', ['auto', ...strategyNames] as const),
    durability: oneOf('durability', options.durability ?? 'full', ['full', 'normal'] as const),
    readers: integer('readers', options.readers ?? 4, 1, 1000),
    timeout: integer('timeout', options.timeout ?? 5000, 0, MAX_TIMEOUT),
    maxQueue: integer('maxQueue', options.maxQueue ?? 10_000, 1, Number.MAX_SAFE_INTEGER),
    batch: {
      calls: integer('batch.calls', batch.calls ?? 1000, 1, 1_000_000),
      slice: integer('batch.slice', batch.slice ?? 5, 1, 10_000),
    },
    pragmas: pragmas(options.pragmas ?? {}),
    readonly: oneOf('readonly', options.readonly ?? false, [true, false] as const),
    heavy: oneOf('heavy', options.heavy ?? false, [true, false] as const),
    threads: integer('threads', options.threads ?? 1, 1, 10_000),
    resourceLimits: resourceLimits(options.resourceLimits),
    readerThreads: options.readers === undefined ? 0 : integer('readers', options.readers, 1, 1000),
  };
}

function refuseUnknown(options: Record<string, unknown>, known: readonly string[], where: string): void {
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) {
      throw new OptionError(
        `${where}: unknown option "${name}"${nearMiss(name, known) || `; use ${known.join(', ')}`}`,
      );
    }
  }
}

function file(value: unknown): string | URL {
  if (typeof value === 'string' || value instanceof URL) return value;
  throw new OptionError(`open: "file" is ${describe(value)}; give a path, a file: URL object or ':memory:'`);
}

function registry(value: unknown): Registry {
  if (isPlain(value) && typeof value.url === 'string' && isPlain(value.repositories))
    return value as object as Registry;
  throw new OptionError(
    `open: "repositories" is ${describe(value)}; give what defineRepositories(import.meta.url, …) made`,
  );
}

function migrations(value: unknown): string | URL | undefined {
  if (value === undefined || (typeof value === 'string' && value !== '') || value instanceof URL) return value;
  throw new OptionError(`open: "migrations" is ${describe(value)}; give the folder that drizzle-kit generates into`);
}

function pragmas(value: unknown): PragmaOptions {
  if (!isPlain(value))
    throw new OptionError(`open: "pragmas" is ${describe(value)}; give an object of names and values`);
  return validatePragmas(value as PragmaOptions);
}

function resourceLimits(value: unknown): ResourceLimits | undefined {
  if (value === undefined) return undefined;
  const known = ['maxYoungGenerationSizeMb', 'maxOldGenerationSizeMb', 'codeRangeSizeMb', 'stackSizeMb'];
  if (!isPlain(value)) throw new OptionError(`open: "resourceLimits" is ${describe(value)}; give { ${known[1]} }`);
  refuseUnknown(value, known, 'open: resourceLimits');
  for (const [name, limit] of Object.entries(value)) {
    if (typeof limit === 'number' && limit > 0) continue;
    throw new OptionError(`open: "resourceLimits.${name}" is ${describe(limit)}; give megabytes`);
  }
  return value;
}

function oneOf<const T extends string | boolean>(name: string, value: unknown, allowed: readonly T[]): T {
  const found = allowed.find((candidate) => candidate === value);
  if (found !== undefined) return found;
  const hint = typeof value === 'string' ? nearMiss(value, allowed.map(String)) : '';
  throw new OptionError(
    `open: "${name}" is ${describe(value)}; use ${allowed.map((word) => JSON.stringify(word)).join(', ')}${hint}`,
  );
}

function integer(name: string, value: unknown, least: number, most: number): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most) return value;
  throw new OptionError(`open: "${name}" is ${describe(value)}; give a whole number from ${least} to ${most}`);
}
