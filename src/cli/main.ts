#!/usr/bin/env node
import '../runtime.ts'; // First: an older Node must be refused before a command loads better-sqlite3.
import { readFileSync } from 'node:fs';
import { nearMiss } from '../near-miss.ts';
import { OWN_FOLDER } from '../own-folder.ts';
import { parseCommandLine, UsageError } from './usage.ts';

/** Runs one command on the arguments after its name. Gives the exit code: 0 all is well, 1 a problem was found. */
type Command = (args: readonly string[], output: NodeJS.WriteStream) => number;

/** Loaded when they are called, so that `--help` costs nothing and runs where a command could not. */
const commands = new Map<string, { summary: string; load: () => Promise<Command> }>([
  [
    'doctor',
    {
      summary: 'what a database file is, which strategy it gets, why, and what can go wrong',
      load: async () => (await import('./doctor.ts')).doctor,
    },
  ],
]);

const help = `Usage: sluice COMMAND [options]

Commands:
${[...commands].map(([name, { summary }]) => `  ${name.padEnd(10)}${summary}`).join('\n')}

Options:
  -h, --help     this text; after a command: that command's
  -v, --version  the version

Exit codes: 0 all is well, 1 a problem was found, 2 the command line was not understood.
`;

async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name !== undefined && !name.startsWith('-')) {
    const command = commands.get(name);
    if (!command) throw new UsageError(`unknown command "${name}"${nearMiss(name, [...commands.keys()])}`);
    return (await command.load())(rest, process.stdout);
  }
  const { values } = parseCommandLine(args, {
    help: { type: 'boolean', short: 'h' },
    version: { type: 'boolean', short: 'v' },
  });
  if (values.version === true) process.stdout.write(`${readVersion()}\n`);
  else if (values.help === true) process.stdout.write(help);
  else throw new UsageError('no command was given');
  return 0;
}

function readVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../package.json', OWN_FOLDER), 'utf8'));
  return (manifest as { version: string }).version;
}

// A reader that has seen enough (`sluice doctor … | head -3`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  process.stderr.write(`sluice: ${error.message}\nTry 'sluice --help'.\n`);
  process.exitCode = 2;
}
