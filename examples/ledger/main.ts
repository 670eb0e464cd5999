/**
 * `npm start`: a ledger service on a real file. It opens the database, says how calls will reach it and why, imports a
 * CSV while an HTTP service answers over the same api, and holds the books against what was acknowledged.
 */
import { mkdirSync } from 'node:fs';
import { once } from 'node:events';
import { dirname, relative } from 'node:path';
import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { BroadcastChannel } from 'node:worker_threads';
import { type Database, open, SluiceError } from 'sluice';
import { type Check, checkLedger } from './checks.ts';
import { compare } from './compare.ts';
import { CsvFileError, openCsv, type Row } from './csv.ts';
import { drive, type DriveReport } from './drive.ts';
import { grouped } from './format.ts';
import { importRows, type ImportReport } from './import.ts';
import { type Options, readOptions, usage, UsageError } from './options.ts';
import { createBar, createSteps, isInteractive } from './progress.ts';
import {
  createPaint,
  describeBadLines,
  describeChecks,
  describeDecision,
  describeDrive,
  describeImport,
  type Paint,
  rate,
} from './report.ts';
import { ledger, sentChannel } from './repositories.ts';
import { startServices } from './services.ts';

const interactive = isInteractive(process.stdout, process.env);
const colour = interactive && !process.env.NO_COLOR;
const paint: Paint = createPaint(colour);
const say = (text: string) => process.stdout.write(`${text}\n`);

/** Runs the example and gives its exit code. */
async function main(args: readonly string[]): Promise<number> {
  const options = readOptions(args);
  if (options.help) {
    process.stdout.write(usage);
    return 0;
  }
  const stop = onInterrupt();
  if (options.compare)
    return (await compare({ csv: options.csv, threads: options.threads, signal: stop, say })) ? 0 : 1;
  // The CSV first: nothing is created for a file that cannot be imported.
  const rows = await openCsv(options.csv);
  mkdirSync(dirname(options.file), { recursive: true });
  const migrations = new URL('../../drizzle', import.meta.url);
  const { file, strategy, threads } = options;
  await using db = await open({ file, repositories: ledger, migrations, strategy, threads: Math.max(1, threads) });
  say(`Database: ${shorten(options.file)}`);
  say(describeDecision(db.decision, paint));

  const services = await startServices(db, threads, options.port);
  try {
    const addresses = services.origins.join(', ');
    say(`\nService: ${addresses}${threads > 0 ? ` (${threads} threads)` : ''}`);
    const holds = await work(db, options, rows, services.origins, stop);
    if (stop.aborted) return holds ? 130 : 1;
    if (options.serve) {
      say(`\nServing on ${addresses}; Ctrl-C ends it.`);
      await once(stop, 'abort');
      say('Closing.');
    }
    return holds ? 0 : 1;
  } finally {
    await services.close();
  }
}

/** Imports, drives and checks; whether all is as it must be. */
async function work(
  db: Database<typeof ledger>,
  { csv }: Options,
  rows: AsyncIterable<Row>,
  origins: readonly string[],
  signal: AbortSignal,
): Promise<boolean> {
  const before = { accounts: await db.api.accounts.count(), transfers: await db.api.transfers.count() };
  let announced = 0;
  const count = () => {
    announced += 1;
  };
  sentChannel.subscribe(count);
  const broadcast = new BroadcastChannel('ledger:sent');
  broadcast.onmessage = count;
  const importing = importFile(db, csv, rows, signal);
  const driving = drive({ origins, clients: 8, until: importing, atLeast: 2000, signal });
  // The clients never fail, so an import that fails is thrown once they have ended, too.
  const driven = await driving;
  const imported = await importing;
  sentChannel.unsubscribe(count);
  // What another thread announced may still be on its way.
  await until(() => announced >= imported.transfers + driven.keys.length, 2000);
  broadcast.close();

  say(`\n${describeBadLines(imported, shorten(csv))}`);
  say(`\n${describeImport(imported)}\n\n${describeDrive(driven)}`);
  const checks = await checkLedger(db, {
    accounts: before.accounts + imported.accounts + driven.opened,
    transfers: before.transfers + imported.transfers + driven.keys.length,
    keys: driven.keys,
  });
  checks.push(...checkAnswers(imported, driven, announced));
  say(`\n${describeChecks(checks, paint)}`);
  for (const surprise of driven.surprises.slice(0, 10)) say(`  ${surprise}`);
  if (signal.aborted) {
    const where = imported.stopped ? `at line ${grouped(imported.lastLine)}` : 'after the import';
    say(`\nStopped by Ctrl-C ${where}. What was acknowledged is stored; run it again to go on.`);
  }
  return checks.every((check) => check.holds);
}

async function importFile(
  db: Database<typeof ledger>,
  csv: string,
  rows: AsyncIterable<Row>,
  signal: AbortSignal,
): Promise<ImportReport> {
  const { size } = await stat(csv);
  const progress = interactive
    ? createBar(process.stdout, 'Importing', { colour })
    : createSteps(process.stdout, 'Importing');
  const started = performance.now();
  try {
    return await importRows(db.api, rows, {
      signal,
      onProgress: ({ read }, position) => {
        // A pipe has no size, and a file may grow while it is read.
        const fraction = size > 0 ? Math.min(1, position / size) : 0;
        progress.update(fraction, () => `${grouped(read)} lines, ${rate(read, performance.now() - started, 'lines')}`);
      },
    });
  } finally {
    progress.end();
  }
}

/** What the answers themselves show: the statuses over HTTP, and the announcements after each commit. */
function checkAnswers(imported: ImportReport, driven: DriveReport, announced: number): Check[] {
  const surprises = driven.surprises.length;
  const sent = imported.transfers + driven.keys.length;
  return [
    {
      law: 'every HTTP answer is the right one',
      holds: surprises === 0,
      detail: surprises === 0 ? `${grouped(driven.requests)} answers` : `${surprises} are not`,
    },
    {
      law: 'every new transfer is announced once, after its commit',
      holds: announced === sent,
      detail: `${grouped(announced)} announced, ${grouped(sent)} acknowledged`,
    },
  ];
}

async function until(came: () => boolean, patience: number): Promise<void> {
  const deadline = performance.now() + patience;
  while (!came() && performance.now() < deadline) await sleep(5);
}

/** The first Ctrl-C asks for an orderly end, a second one does not ask. */
function onInterrupt(): AbortSignal {
  const controller = new AbortController();
  let first = 0;
  const handle = () => {
    // npm passes on the Ctrl-C that the terminal has sent already, so one key press arrives here twice.
    if (controller.signal.aborted && performance.now() - first > 500) process.exit(130);
    if (controller.signal.aborted) return;
    first = performance.now();
    controller.abort();
  };
  // Whoever read the output may have left, as `head` does: then there is nobody to go on for.
  process.stdout.on('error', () => {
    controller.abort();
  });
  process.on('SIGINT', handle);
  process.on('SIGTERM', handle);
  return controller.signal;
}

function shorten(file: string): string {
  const short = relative(process.cwd(), file);
  return short.startsWith('..') ? file : short;
}

/** Mistakes and refusals that explain themselves are shown without a stack. */
function explain(error: unknown): number {
  if (error instanceof UsageError) {
    console.error(`${error.message}\nSee npm start -- --help.`);
    return 2;
  }
  const plain =
    error instanceof CsvFileError || error instanceof SluiceError || (error instanceof Error && 'syscall' in error);
  console.error(plain ? `${error.name}: ${error.message}` : error);
  return 1;
}

process.exitCode = await main(process.argv.slice(2)).catch(explain);
