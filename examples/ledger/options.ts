/** The command line of the example. */
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';

export interface Options {
  readonly file: string;
  readonly csv: string;
  readonly serve: boolean;
  readonly port: number;
  /** As `open` takes it. */
  readonly strategy: 'auto' | 'shared' | 'per-context' | 'executor';
  /** Threads that answer requests; 0: the main thread does. */
  readonly threads: number;
  readonly compare: boolean;
  readonly help: boolean;
}

/** The command line cannot be used. The message says what to write instead. */
export class UsageError extends Error {}

export const usage = `Usage: npm start -- [options]

Runs the example ledger: opens a database, imports a CSV through the api while an HTTP service
answers over the same database, checks that no cent was lost, and prints what happened.

  --file FILE   the database (default: examples/ledger/data/ledger.db, made when missing)
  --fresh       a new database file beside the default one, to see the whole import again
  --csv FILE    the CSV to import (default: examples/ledger/data.csv)
  --serve       keep the service running afterwards, until Ctrl-C
  --port N      the port on 127.0.0.1 (default: any free one)
  --strategy S  auto, shared, per-context or executor (default: auto)
  --threads N   answer requests in N worker threads, which reach the database through ports
  --compare     run the same load under every strategy on files of its own, and print one table
  --help        this text

A file that is there is kept and added to. Importing the same CSV again adds nothing twice.
Exit code: 0 all checks hold, 1 something failed, 2 wrong usage, 130 ended by Ctrl-C.
`;

const known = {
  file: { type: 'string' },
  fresh: { type: 'boolean' },
  csv: { type: 'string' },
  serve: { type: 'boolean' },
  port: { type: 'string' },
  strategy: { type: 'string' },
  threads: { type: 'string' },
  compare: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

const strategies = ['auto', 'shared', 'per-context', 'executor'] as const;

/** Reads the command line. @throws UsageError */
export function readOptions(args: readonly string[], now = new Date()): Options {
  const { file, fresh = false, csv, serve = false, port = '0', compare = false, help = false, ...given } = parse(args);
  const strategy = strategies.find((name) => name === (given.strategy ?? 'auto'));
  if (strategy === undefined) throw new UsageError(`--strategy ${given.strategy}: use ${strategies.join(', ')}`);
  const { threads = '0' } = given;
  if (!/^\d{1,2}$/.test(threads))
    throw new UsageError(`--threads ${JSON.stringify(threads)}: give a number from 0 to 99`);
  if (file === '' || csv === '') throw new UsageError(`--${file === '' ? 'file' : 'csv'} needs a file name`);
  if (fresh && file !== undefined) throw new UsageError('--fresh picks the file itself: use it without --file');
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
    throw new UsageError(`--port ${JSON.stringify(port)}: a port is a number from 0 to 65535`);
  }
  const name = fresh ? `ledger-${now.toISOString().replaceAll(/[:.]/g, '-')}.db` : 'ledger.db';
  return {
    file: file ?? fileURLToPath(new URL(`data/${name}`, import.meta.url)),
    csv: csv ?? fileURLToPath(new URL('data.csv', import.meta.url)),
    serve,
    port: Number(port),
    strategy,
    threads: Number(threads),
    compare,
    help,
  };
}

function parse(args: readonly string[]) {
  // Node's own strict mode refuses too, but has no eye for what was meant.
  const { tokens } = parseArgs({ args: [...args], options: known, strict: false, tokens: true });
  for (const token of tokens) {
    if (token.kind !== 'option' || token.name in known) continue;
    const near = Object.keys(known).find((name) => isNear(name, token.name));
    throw new UsageError(`there is no option ${token.rawName}${near ? `; did you mean --${near}?` : ''}`);
  }
  try {
    return parseArgs({ args: [...args], options: known, strict: true, allowPositionals: false }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

/** One begins with the other, or at most two letters have to be put in, taken out or changed. */
function isNear(name: string, given: string): boolean {
  if (given.length > 2 && (name.startsWith(given) || given.startsWith(name))) return true;
  let row = Array.from({ length: given.length + 1 }, (_, index) => index);
  for (const [at, letter] of Array.from(name).entries()) {
    const next = [at + 1];
    for (const [index, other] of Array.from(given).entries()) {
      const change = (row[index] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(change, (row[index + 1] ?? 0) + 1, (next[index] ?? 0) + 1));
    }
    row = next;
  }
  return (row.at(-1) ?? Infinity) <= 2;
}
