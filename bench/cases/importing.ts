/**
 * What `import 'sluice'` adds to the modules that it needs: the built library in fresh processes, beside processes that
 * import exactly the Drizzle subpaths and the driver that it imports.
 */
import { execFile, execFileSync } from 'node:child_process';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { inRounds } from '../measure/rounds.ts';
import { difference, summarize } from '../measure/summary.ts';
import { atMost, row } from '../report/build.ts';
import { type Case } from '../report/case.ts';

const root = join(import.meta.dirname, '..', '..');
const run = promisify(execFile);

export const importing: Case = {
  name: 'import',
  about: 'import of the built library in fresh processes, beside the modules that it needs',
  async run({ workspace, quick }) {
    const rounds = quick ? 3 : 11;
    const dist = build(workspace.folder);
    const needed = neededBy(join(dist, 'index.js'));
    const child = (name: string, modules: readonly string[]): (() => Promise<number>) => {
      const script = join(workspace.folder, `${name}.mjs`);
      const imports = modules.map((module) => `await import(${JSON.stringify(module)});`);
      writeFileSync(
        script,
        // Processor time: what loading costs, whatever else this machine is doing meanwhile.
        `const before = process.cpuUsage();\n${imports.join('\n')}
const { user, system } = process.cpuUsage(before);\nconsole.log((user + system) / 1000);\n`,
      );
      return async () => Number((await run(process.execPath, [script])).stdout);
    };
    const samples = await inRounds(rounds, {
      'modules it needs': child('needed', needed),
      sluice: child('sluice', ['./dist/index.js']),
      'drizzle-orm, the usual way': child('usual', ['drizzle-orm', 'drizzle-orm/better-sqlite3']),
      // What a service's own schema imports anyway, so what is left of it there.
      'drizzle-orm/sqlite-core': child('schema', ['drizzle-orm/sqlite-core']),
      'sqlite-core, then sluice': child('both', ['drizzle-orm/sqlite-core', './dist/index.js']),
    });
    return {
      settings: { rounds, needed: needed.join(' ') },
      tables: [
        {
          title: 'Import in a fresh process, processor time',
          unit: 'ms',
          rows: [row('import', samples, 'modules it needs')],
        },
      ],
      requirements: [
        atMost('more than the modules it needs', difference(samples.sluice, samples['modules it needs']), 40, ' ms'),
        atMost('the whole of it (no requirement; for the record)', summarize(samples.sluice), Infinity, ' ms'),
      ],
    };
  },
};

/** Compiles the library as it is published, where the repository's own dependencies are found. */
function build(folder: string): string {
  const dist = join(folder, 'dist');
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
  execFileSync(process.execPath, [tsc, '-p', join(root, 'tsconfig.build.json'), '--outDir', dist], {
    stdio: 'inherit',
  });
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ type: 'module' }));
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
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
