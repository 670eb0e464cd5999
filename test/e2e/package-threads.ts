/** The executor of the installed package: its thread's file is found, and the registry, in whatever form the application has. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

/** The project that the package was installed in. */
export interface Consumer {
  readonly project: string;
  /** Of the development, where the compiler and the bundler are. */
  readonly root: string;
  readonly write: (name: string, text: string) => void;
  readonly run: (command: string, ...args: string[]) => { status: number | null; out: string; err: string };
}

const TYPED = (annotation: string): string => `
  const notes = sqliteTable('notes', { id: integer().primaryKey(), text: text().notNull() });
  const repository = defineRepository(notes, {
    writes: (db) => ({ thread: (text${annotation}) => (db.insert(notes).values({ text }).run(), threadId) }),
  });`;
const IMPORTS = `
  import { threadId } from 'node:worker_threads';
  import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core';
  import { defineRepositories, defineRepository } from 'sluice';`;
/** Opens a file in three threads, calls it here and in a thread of its own, and says who answered. */
const MAIN = `
  new Sqlite(file).exec('CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)').close();
  const db = await open({ file, repositories: registry, threads: 2, readers: 2 });
  const port = db.port();
  const caller = new Worker(new URL(callerFile, import.meta.url), { workerData: { port }, transferList: [port] });
  const [there] = await once(caller, 'message');
  const here = await db.api.notes.thread('b');
  const rows = await db.api.notes.find({}, { orderBy: 'id' });
  await db.close();
  console.log(JSON.stringify({ strategy: db.decision.strategy, same: here === there, inMain: here === 0, rows }));`;
const CALLER = (registry: string): string => `
  import { parentPort, workerData } from 'node:worker_threads';
  import { connect } from 'sluice';
  import { registry } from '${registry}';
  const db = connect(workerData.port, registry);
  const answered = db.blocking.notes.thread('a');
  await db.close();
  parentPort.postMessage(answered);
  parentPort.close();`;
const app = (registry: string, caller: string, file: string): string => `
  import { once } from 'node:events';
  import { Worker } from 'node:worker_threads';
  import Sqlite from 'better-sqlite3';
  import { open } from 'sluice';
  import { registry } from '${registry}';
  const file = '${file}';
  const callerFile = '${caller}';
  ${MAIN}`;

/** Its laws. */
export function threadsOfThePackage({ project, root, write, run }: Consumer): void {
  const bin = (...path: string[]): string => join(root, 'node_modules', ...path);

  function expectThreads(name: string): void {
    const { status, out, err } = run(process.execPath, name);
    expect(err).toBe('');
    expect(status).toBe(0);
    expect(JSON.parse(out)).toEqual({
      strategy: 'executor',
      same: true,
      inMain: false,
      rows: [
        { id: 1, text: 'a' },
        { id: 2, text: 'b' },
      ],
    });
  }

  test('runs a registry in JavaScript', () => {
    const registry = `${TYPED('')} export const registry = defineRepositories(import.meta.url, { notes: repository });`;
    write('registry.mjs', IMPORTS + registry);
    write('caller.mjs', CALLER('./registry.mjs'));
    write('threads.mjs', app('./registry.mjs', './caller.mjs', 'threads-mjs.db'));
    expectThreads('threads.mjs');
  });

  test('runs a registry in CommonJS', () => {
    write(
      'registry.cjs',
      `const { threadId } = require('node:worker_threads');
      const { integer, sqliteTable, text } = require('drizzle-orm/sqlite-core');
      const { defineRepositories, defineRepository } = require('sluice');
      ${TYPED('')}
      const url = require('node:url').pathToFileURL(__filename).href;
      module.exports = { registry: defineRepositories(url, { notes: repository }) };`,
    );
    write('caller-of-cjs.mjs', CALLER('./registry.cjs'));
    write('threads-of-cjs.mjs', app('./registry.cjs', './caller-of-cjs.mjs', 'threads-cjs.db'));
    expectThreads('threads-of-cjs.mjs');
  });

  test('runs a registry in TypeScript, as it is and compiled by tsc', () => {
    const registry = `${TYPED(': string')} export const registry = defineRepositories(import.meta.url, { notes: repository });`;
    mkdirSync(join(project, 'src'), { recursive: true });
    write('src/package.json', '{ "type": "module" }');
    write('src/registry.ts', IMPORTS + registry);
    write('src/caller.ts', CALLER('./registry.ts'));
    write('src/threads.ts', app('./registry.ts', './caller.ts', 'threads-ts.db'));
    expectThreads('src/threads.ts');

    write(
      'tsconfig.threads.json',
      JSON.stringify({
        compilerOptions: {
          ...{ module: 'nodenext', target: 'es2023', rootDir: 'src', outDir: 'out', types: [], skipLibCheck: true },
          ...{ rewriteRelativeImportExtensions: true, noCheck: true },
        },
        include: ['src'],
      }),
    );
    run(process.execPath, bin('typescript/bin/tsc'), '-p', 'tsconfig.threads.json');
    write('out/package.json', '{ "type": "module" }');
    write('out/threads.js', app('./registry.js', './caller.js', 'threads-tsc.db'));
    expectThreads('out/threads.js');
  });

  test('runs a registry of a bundle that has it in a file of its own', () => {
    write('bundled.mjs', app('./registry.mjs', './caller.js', 'threads-bundle.db'));
    const options = ['--bundle', '--splitting', '--minify', '--platform=node', '--format=esm', '--outdir=bundle'];
    const outside = ['--external:sluice', '--external:better-sqlite3'];
    const built = run(bin('.bin/esbuild'), 'bundled.mjs', 'caller.mjs', ...options, ...outside);
    expect(built).toMatchObject({ status: 0 });
    write('bundle/package.json', '{ "type": "module" }');
    expectThreads('bundle/bundled.js');
  });

  test('says what to do where a bundle has it in the file that opens the database, or has this package inside', () => {
    const options = ['--bundle', '--platform=node', '--format=esm', '--external:better-sqlite3'];
    for (const [name, outside, message] of [
      ['one', ['--external:sluice'], /StrategyError.*is being imported.*keep the registry in a module of its own/s],
      ['all', [], /ExecutorError.*there is no worker\.js.*leave "sluice" out of the bundle/s],
    ] as const) {
      write('one.mjs', app('./registry.mjs', './caller.mjs', `threads-${name}.db`));
      const built = run(bin('.bin/esbuild'), 'one.mjs', ...options, ...outside, `--outfile=bundle/${name}.mjs`);
      expect(built).toMatchObject({ status: 0 });
      const { status, err } = run(process.execPath, `bundle/${name}.mjs`);
      expect(status).toBe(1);
      expect(err).toMatch(message);
    }
  });
}
