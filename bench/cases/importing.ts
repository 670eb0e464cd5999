/**
 * What `import 'sluice'` adds to the modules that it needs: the built package in fresh processes.
 *
 * Drizzle's modules take hundreds of milliseconds here, and leave so much garbage that a collection of up to 90 ms falls
 * within them or just after them, as chance has it. Of two such processes the difference says little. So what Sluice adds is
 * measured in one process: it loads exactly the modules of others that Sluice imports, their garbage is collected, and then
 * comes the import of Sluice. The processes beside it are for the whole of what an application pays.
 */
import { execFile, execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { inRounds, type Samples } from '../measure/rounds.ts';
import { difference, summarize } from '../measure/summary.ts';
import { atMost, row } from '../report/build.ts';
import { type Case } from '../report/case.ts';

const root = join(import.meta.dirname, '..', '..');
const run = promisify(execFile);

/** What importing a few modules came to. */
interface Cost {
  /** Processor time in ms: what loading takes, whatever else this machine is doing meanwhile. */
  readonly processor: number;
  /** In ms. */
  readonly elapsed: number;
  /** Bytes that stay when the garbage is gone. */
  readonly heap: number;
}

export const importing: Case = {
  name: 'import',
  about: 'import of the built package in fresh processes, beside the modules that it needs',
  async run({ workspace, quick }) {
    const rounds = quick ? 3 : 31;
    const needed = neededBy(join(build(workspace.folder), 'index.js'));
    const child = (name: string, measured: readonly string[], before: readonly string[] = []) => {
      const script = join(workspace.folder, `${name}.mjs`);
      writeFileSync(script, scriptOf(measured, before));
      return async () => JSON.parse((await run(process.execPath, ['--expose-gc', script])).stdout) as Cost;
    };
    const samples = await inRounds(rounds, {
      'modules it needs': child('needed', needed),
      sluice: child('sluice', ['sluice']),
      'drizzle-orm, the usual way': child('usual', ['drizzle-orm', 'drizzle-orm/better-sqlite3']),
      // What a service's own schema imports anyway, so what is left of it there.
      'drizzle-orm/sqlite-core': child('schema', ['drizzle-orm/sqlite-core']),
      'sqlite-core, then sluice': child('both', ['drizzle-orm/sqlite-core', 'sluice']),
      'sluice after what it needs': child('added', ['sluice'], needed),
    });
    const processor = figures(samples, ({ processor }) => processor);
    const elapsed = figures(samples, ({ elapsed }) => elapsed);
    const heap = figures(samples, ({ heap }) => heap / 1e6);
    const ours = 'sluice after what it needs';
    const base = 'modules it needs';
    return {
      settings: { rounds, needed: needed.join(' ') },
      tables: [
        { title: 'Import in a fresh process, processor time', unit: 'ms', rows: [row('import', processor, base)] },
        { title: 'The same, elapsed', unit: 'ms', rows: [row('import', elapsed, base)] },
        { title: 'What stays on the heap', unit: 'MB', rows: [row('import', heap, base)] },
      ],
      requirements: [
        atMost('added to the modules it needs, processor time', summarize(processor[ours]), 40, ' ms'),
        // On a busy machine the elapsed time says how long others had the processor.
        atMost('added to the modules it needs, elapsed', summarize(elapsed[ours]), Infinity, ' ms'),
        atMost(
          'two processes’ difference, processor time',
          difference(processor.sluice, processor[base]),
          Infinity,
          ' ms',
        ),
        atMost('two processes’ difference, elapsed', difference(elapsed.sluice, elapsed[base]), Infinity, ' ms'),
      ],
    };
  },
};

function figures<S extends string>(samples: Samples<S, Cost>, of: (cost: Cost) => number): Samples<S> {
  const entries = Object.entries<readonly Cost[]>(samples).map(([side, costs]) => [side, costs.map(of)]);
  return Object.fromEntries(entries) as Samples<S>;
}

function scriptOf(measured: readonly string[], before: readonly string[]): string {
  const load = (modules: readonly string[]) => modules.map((module) => `await import('${module}');`).join('\n');
  return `${load(before)}
globalThis.gc();
const heap = process.memoryUsage().heapUsed, usage = process.cpuUsage(), start = performance.now();
${load(measured)}
const elapsed = performance.now() - start, { user, system } = process.cpuUsage(usage);
globalThis.gc();
const stays = process.memoryUsage().heapUsed - heap;
console.log(JSON.stringify({ processor: (user + system) / 1000, elapsed, heap: stays }));
`;
}

/** Builds the package and puts it where a project has it, with the repository's own copies of what it needs. */
function build(folder: string): string {
  const modules = join(folder, 'node_modules');
  const dist = join(modules, 'sluice', 'dist');
  mkdirSync(dist, { recursive: true });
  execFileSync(process.execPath, [join(root, 'scripts', 'build.ts'), dist], { stdio: 'inherit' });
  copyFileSync(join(root, 'package.json'), join(modules, 'sluice', 'package.json'));
  for (const name of ['drizzle-orm', 'better-sqlite3']) {
    symlinkSync(join(root, 'node_modules', name), join(modules, name));
  }
  return dist;
}

/** The packages' modules that are imported statically from an entry file on, in the order in which they are met. */
function neededBy(entry: string): string[] {
  const imports = /^(?:(?:import|export)\b[^;]*?\bfrom|import)\s*["']([^"']+)["']/gm;
  const seen = new Set<string>();
  const found = new Set<string>();
  const follow = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    for (const [, module = ''] of readFileSync(file, 'utf8').matchAll(imports)) {
      if (module.startsWith('.')) follow(join(dirname(file), module));
      else if (!module.startsWith('node:')) found.add(module);
    }
  };
  follow(entry);
  if (found.size === 0) throw new Error(`no import was found from ${entry} on; the baseline would be nothing`);
  return [...found];
}
