/** `npm run bench`: runs the cases, prints what they found, stores it and draws the chart. */
import { drawChart } from './chart.ts';
import { type BenchOptions, readOptions, usage } from './options.ts';
import { printCase, printRequirement } from './report/print.ts';
import { store, stored, type StoredResult } from './report/results.ts';
import { Workspace } from './sides/workspace.ts';

async function main(options: BenchOptions): Promise<number> {
  const { selected, quick, json, strict, dir } = options;
  using workspace = new Workspace(dir);
  const say = (text: string): void => {
    if (!json) console.log(text);
  };
  if (workspace.isMemory) {
    say('The files lie in memory, where fsync costs nothing: durable figures mean nothing. Give a disk with --dir.');
  }
  const results: StoredResult[] = [];
  for (const each of selected) {
    if (!json) process.stderr.write(`… ${each.name}: ${each.about}\n`);
    const result = stored(each.name, await each.run({ workspace, quick }), new Date());
    results.push(result);
    say(printCase(each.name, result));
    if (!quick) store(result);
  }
  if (!quick) drawChart();
  if (json) console.log(JSON.stringify(results, undefined, 2));
  const required = results.flatMap(({ requirements }) => requirements).filter(({ limit }) => Number.isFinite(limit));
  const missed = required.filter(({ pass }) => !pass);
  say(`\n${required.length - missed.length} of ${required.length} requirements met`);
  for (const each of missed) say(printRequirement(each));
  return strict && missed.length > 0 ? 1 : 0;
}

let options: BenchOptions | undefined;
try {
  options = readOptions(process.argv.slice(2));
} catch (error) {
  console.error(`${(error as Error).message}\n\n${usage}`);
  process.exitCode = 2;
}
if (options?.help === true) console.log(usage);
else if (options !== undefined) process.exitCode = await main(options);
