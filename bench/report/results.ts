import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { findPackageJSON } from 'node:module';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { type CaseResult } from './case.ts';

const folder = join(dirname(import.meta.dirname), 'results');

/** What was measured, where and with what: no paths, names or addresses of the machine. */
export interface StoredResult extends CaseResult {
  readonly case: string;
  readonly date: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly cores: number;
}

export function stored(name: string, result: CaseResult, date: Date): StoredResult {
  return { case: name, date: date.toISOString().slice(0, 10), versions: versions(), cores: cpus().length, ...result };
}

/** Writes `bench/results/<case>.json`. */
export function store(result: StoredResult): void {
  mkdirSync(folder, { recursive: true });
  // Four digits are more than a noisy machine can tell; more would only make every run a long diff.
  const text = JSON.stringify(
    result,
    (_, value: unknown) => {
      if (typeof value !== 'number') return value;
      return Number.isFinite(value) ? Number(value.toPrecision(4)) : undefined;
    },
    2,
  );
  writeFileSync(join(folder, `${result.case}.json`), `${text}\n`);
}

/** Reads what was stored, or nothing if that case was never run. */
export function readStored(name: string): StoredResult | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8')) as StoredResult;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function versions(): Record<string, string> {
  const handle = new Sqlite(':memory:');
  const sqlite = String(handle.prepare('SELECT sqlite_version()').pluck().get());
  handle.close();
  return {
    sluice: packageVersion('sluice'),
    node: process.versions.node,
    'better-sqlite3': packageVersion('better-sqlite3'),
    'drizzle-orm': packageVersion('drizzle-orm'),
    sqlite,
  };
}

function packageVersion(name: string): string {
  const file = findPackageJSON(name, import.meta.url);
  if (file === undefined) throw new Error(`package ${name} is not installed`);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
