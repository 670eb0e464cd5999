import { parseArgs } from 'node:util';
import { cases } from './cases.ts';
import { type Case } from './report/case.ts';

/** What the command line asks for. */
export interface BenchOptions {
  readonly selected: readonly Case[];
  readonly quick: boolean;
  readonly json: boolean;
  readonly strict: boolean;
  readonly help: boolean;
  readonly dir: string | undefined;
}

/** @throws where the command line asks for what there is not */
export function readOptions(argv: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      only: { type: 'string' },
      dir: { type: 'string' },
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      strict: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const names = values.only?.split(',').map((name) => name.trim());
  for (const name of names ?? []) {
    if (!cases.some((known) => known.name === name)) {
      throw new Error(`--only: there is no case "${name}"; there are ${cases.map((known) => known.name).join(', ')}`);
    }
  }
  const selected = cases.filter(({ name }) => names?.includes(name) ?? true);
  const { quick, json, strict, help } = values;
  return { selected, quick, json, strict, help, dir: values.dir };
}

export const usage = `Usage: npm run bench -- [options]

Measures sluice beside raw better-sqlite3, bare Drizzle and a hand-written batch loop, all in the same run. What counts
is the ratio within a round; its median and quartiles over the rounds are printed. Results go to bench/results/, and
docs/bench-durable-inserts.svg is drawn from them.

  --only NAMES  cases to run, separated by commas
  --quick       fewer and shorter rounds: a look; nothing is written to bench/results/
  --json        print the results as JSON
  --dir FOLDER  where the database files go (the system's temporary folder); durable figures need a real disk
  --strict      exit 1 when a requirement is missed
  --help        this text

Cases:
${cases.map(({ name, about }) => `  ${name.padEnd(12)}${about}`).join('\n')}
`;
