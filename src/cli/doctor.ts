import { statSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { decide, journalPlan, type Decision, type JournalPlan } from '../connection/decide.ts';
import { hasWalResetBug, lookUpPath, type PathFacts } from '../connection/facts.ts';
import { probeFile, type Probe } from '../connection/probe.ts';
import { SluiceError, StorageError } from '../errors.ts';
import { printDiagnosis } from './print-diagnosis.ts';
import { parseCommandLine, UsageError } from './usage.ts';

const help = `Usage: sluice doctor FILE [--json]

Says what FILE is, which strategy open() would choose for it and why, which it would not, and what can go wrong.
FILE need not exist. It is only looked at: nothing is created, changed or locked.

Options:
      --json  the same as one JSON object
  -h, --help  this text

Exit codes: 0 no hazard is known, 1 there is one or nothing could be decided, 2 the command line was not understood.
`;

/** What the doctor found. It is the `--json` output too. */
export interface Diagnosis {
  readonly file: string;
  /** As the file is now. */
  readonly header: Probe;
  /** Files that SQLite keeps beside the database: somebody has it open, or was not able to close it. */
  readonly beside: readonly { readonly name: string; readonly size: number }[];
  /** What `open()` would ask SQLite for. */
  readonly journalPlan: JournalPlan;
  /** What `open()` would decide, if SQLite grants what it is asked for. */
  readonly decision: Decision;
}

/** `sluice doctor FILE`: the decision and its facts, without opening the file. */
export function doctor(args: readonly string[], output: NodeJS.WriteStream): number {
  const { values, positionals } = parseCommandLine(args, {
    json: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  });
  if (values.help === true) {
    output.write(help);
    return 0;
  }
  const [file, ...rest] = positionals;
  if (file === undefined || rest.length > 0) {
    throw new UsageError(`doctor: expected one FILE, got ${positionals.length}`);
  }
  try {
    const diagnosis = diagnose(file);
    if (values.json === true) output.write(`${JSON.stringify(diagnosis, null, 2)}\n`);
    else printDiagnosis(diagnosis, output);
    return diagnosis.decision.hazards.length > 0 ? 1 : 0;
  } catch (error) {
    if (!(error instanceof SluiceError)) throw error;
    const { name, code, message } = error;
    if (values.json === true) output.write(`${JSON.stringify({ file, error: { name, code, message } }, null, 2)}\n`);
    else process.stderr.write(`sluice doctor: ${message}\n`);
    return 1;
  }
}

function diagnose(file: string): Diagnosis {
  const path = lookUpPath(file);
  if (isFile(path) && !path.exists && !path.writable.directory) {
    throw new StorageError(
      `${path.file} does not exist and cannot be created: this process may not write the directory`,
    );
  }
  const header = probeFile(path);
  const plan = journalPlan(path, header.sqliteVersion, false);
  const journalMode = plan === 'keep' ? header.journalMode : plan;
  const decision = decide({
    ...path,
    readonly: false,
    journalMode,
    walObtained: journalMode === 'wal',
    sqliteVersion: header.sqliteVersion,
    walResetBug: hasWalResetBug(header.sqliteVersion),
    thread: isMainThread ? 'main' : 'worker',
    openInThisProcess: 0,
    requested: 'auto',
    heavy: false,
    threads: 1,
  });
  return { file: path.file, header, beside: findBeside(path), journalPlan: plan, decision };
}

function isFile({ storage }: PathFacts): boolean {
  return storage.kind !== 'memory' && storage.kind !== 'temporary';
}

function findBeside(path: PathFacts): Diagnosis['beside'] {
  if (!isFile(path)) return [];
  return ['-wal', '-shm', '-journal'].flatMap((suffix) => {
    const stats = statSync(path.realPath + suffix, { throwIfNoEntry: false });
    return stats ? [{ name: suffix, size: stats.size }] : [];
  });
}
