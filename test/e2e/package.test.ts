/** What is packed is what is tested: the tarball in an empty project, from an ES module, from CommonJS and from TypeScript. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { threadsOfThePackage } from './package-threads.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const temporary = realpathSync(mkdtempSync(join(tmpdir(), 'sluice-package-')));
const project = join(temporary, 'project');
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  version: string;
  peerDependencies: Record<string, string>;
};
let packed: string[] = [];
/** What a package must not hold. */
const FOREIGN = ['test', 'examples', 'schema'];

/** Packs a copy, so that a build of the working tree at the same time is not disturbed, and installs it. */
beforeAll(() => {
  const copy = join(temporary, 'copy');
  mkdirSync(copy);
  for (const name of ['src', 'scripts', 'package.json', 'tsconfig.json', 'tsconfig.build.json', ...FOREIGN]) {
    cpSync(join(root, name), join(copy, name), { recursive: true });
  }
  for (const name of ['README.md', 'LICENSE', 'CHANGELOG.md']) {
    if (existsSync(join(root, name))) cpSync(join(root, name), join(copy, name));
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  // npm runs prepack, and with it the build, by itself.
  npm(copy, 'pack', '--pack-destination', temporary);
  const tarball = join(temporary, `sluice-${manifest.version}.tgz`);
  packed = execFileSync('tar', ['-tzf', tarball], { encoding: 'utf8' }).trim().split('\n');

  mkdirSync(project);
  write('package.json', '{ "name": "consumer", "version": "1.0.0", "private": true }');
  npm(project, 'install', '--offline', '--legacy-peer-deps', '--no-audit', '--no-fund', tarball);
  // The peers as the consumer would have installed them, without the network. Nothing of our own development is there.
  for (const name of Object.keys(manifest.peerDependencies)) link(name);
}, 120_000);

afterAll(() => {
  rmSync(temporary, { recursive: true });
});

function npm(cwd: string, ...args: string[]): void {
  execFileSync('npm', args, { cwd, stdio: 'pipe', env: { ...process.env, npm_config_loglevel: 'error' } });
}

function link(name: string): void {
  mkdirSync(join(project, 'node_modules', name, '..'), { recursive: true });
  symlinkSync(join(root, 'node_modules', name), join(project, 'node_modules', name));
}

function write(name: string, text: string): void {
  writeFileSync(join(project, name), text);
}

function run(
  command: string,
  ...args: string[]
): { status: number | null; signal: string | null; out: string; err: string } {
  const { status, signal, stdout, stderr } = spawnSync(command, args, {
    cwd: project,
    encoding: 'utf8',
    // Not what this process was started with: the consumer knows no condition of ours.
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  return { status, signal, out: stdout, err: stderr };
}

/** Opens a file, inserts, reads, and says what it found. */
const BODY = `
  const notes = sqliteTable('notes', { id: integer().primaryKey(), text: text().notNull() });
  const repository = defineRepository(notes, {
    reads: (db) => {
      const long = db.select().from(notes).where(gt(sql\`length(\${notes.text})\`, sql.placeholder('least'))).prepare();
      return { long: (least) => long.all({ least }) };
    },
    writes: (db) => ({ clear: () => db.delete(notes).run().changes }),
  });
  async function main(url, file) {
    new Sqlite(file).exec('CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)').close();
    const db = await open({ file, repositories: defineRepositories(url, { notes: repository }) });
    await db.api.notes.insertMany([{ text: 'a' }, { text: 'bcd' }]);
    const found = { long: await db.api.notes.long(2), page: await db.api.notes.page({ limit: 1 }) };
    await db.api.notes.upsert({ id: 1, text: 'x' });
    let refused;
    try { await db.api.notes.find({ nope: 1 }); } catch (error) { refused = error instanceof OptionError && error.code; }
    const cleared = await db.transaction((api) => api.notes.clear());
    await db.close();
    console.log(JSON.stringify({ ...found, refused, cleared, strategy: db.decision.strategy }));
  }
`;

describe('the tarball', () => {
  test('holds what was built, and nothing of the sources, tests or examples', () => {
    expect(packed).toEqual(
      expect.arrayContaining(['package/dist/index.js', 'package/dist/index.d.ts', 'package/package.json']),
    );
    const foreign = packed.filter(
      (name) => !/^package\/(dist\/.+\.(js|d\.ts)|[A-Z]+(\.md)?|package\.json)$/.test(name),
    );
    expect(foreign).toEqual([]);
    expect(packed).toContain('package/LICENSE');
    expect(packed).toContain('package/README.md');
  });

  test('is few modules, of which each begins with the refusal of an older Node', () => {
    const folder = join(project, 'node_modules/sluice/dist');
    const modules = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.js'));
    expect(modules).toEqual(expect.arrayContaining(['index.js', 'cli.js', 'runtime.js']));
    expect(modules.length).toBeLessThan(15);
    for (const name of modules.filter((name) => name !== 'runtime.js')) {
      const [first, second] = readFileSync(join(folder, name), 'utf8').split('\n');
      expect(first?.startsWith('#!') === true ? second : first, name).toBe("import './runtime.js';");
    }
  });

  test('has each file that its manifest names to the consumer', () => {
    const { bin, exports } = JSON.parse(readFileSync(join(project, 'node_modules/sluice/package.json'), 'utf8')) as {
      bin: Record<string, string>;
      exports: Record<string, string | Record<string, string>>;
    };
    const named = [
      ...Object.values(bin),
      ...Object.values(exports).flatMap((entry) =>
        typeof entry === 'string' ? [entry] : [entry.types ?? '', entry.default ?? ''],
      ),
    ];
    for (const name of named) expect(packed).toContain(join('package', name));
  });

  test('brings no dependency of its own', () => {
    const installed = run(process.execPath, '-p', 'JSON.stringify(fs.readdirSync("node_modules").sort())');
    expect(JSON.parse(installed.out)).toEqual([
      '.bin',
      '.package-lock.json',
      'better-sqlite3',
      'drizzle-orm',
      'sluice',
    ]);
  });
});

describe('the installed package', () => {
  function expectUsed(name: string): void {
    const { status, out, err } = run(process.execPath, name);
    expect(err).toBe('');
    expect(status).toBe(0);
    expect(JSON.parse(out)).toMatchObject({
      long: [{ id: 2, text: 'bcd' }],
      page: { rows: [{ id: 1, text: 'a' }] },
      refused: 'SLUICE_OPTION',
      cleared: 2,
      strategy: 'per-context',
    });
  }

  test('works from an ES module', () => {
    write(
      'use.mjs',
      `import Sqlite from 'better-sqlite3';
      import { gt, sql } from 'drizzle-orm';
      import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core';
      import { defineRepositories, defineRepository, open, OptionError } from 'sluice';
      ${BODY}
      await main(import.meta.url, 'esm.db');`,
    );
    expectUsed('use.mjs');
  });

  test('works from CommonJS, whose Drizzle is another copy', () => {
    write(
      'use.cjs',
      `const Sqlite = require('better-sqlite3');
      const { gt, sql } = require('drizzle-orm');
      const { integer, sqliteTable, text } = require('drizzle-orm/sqlite-core');
      const { defineRepositories, defineRepository, open, OptionError } = require('sluice');
      ${BODY}
      main(require('node:url').pathToFileURL(__filename).href, 'cjs.db');`,
    );
    expectUsed('use.cjs');
  });

  test('names the consumer’s line where a transaction was called from', () => {
    write(
      'site.mjs',
      `import { integer, sqliteTable } from 'drizzle-orm/sqlite-core';
      import { defineRepositories, defineRepository, open } from 'sluice';
      const repositories = defineRepositories(import.meta.url, {
        notes: defineRepository(sqliteTable('notes', { id: integer().primaryKey() })),
      });
      const db = await open({ file: ':memory:', repositories });
      function holdTheLane() {
        return db.transaction(async () => {
          const waiting = db.detached(() => db.context({ timeout: 1 }, () => db.transaction(() => 1)));
          console.log(JSON.stringify(await waiting.catch(({ name, holder }) => ({ name, site: holder.site }))));
        });
      }
      await holdTheLane();
      await db.close();`,
    );
    const { out, err } = run(process.execPath, 'site.mjs');
    expect(err).toBe('');
    expect(JSON.parse(out)).toEqual({
      name: 'TimeoutError',
      site: expect.stringMatching(/^at holdTheLane \(.*\/site\.mjs:8:\d+\)$/) as unknown,
    });
  });

  test('has a command', () => {
    expect(run(join(project, 'node_modules/.bin/sluice'), '--version')).toMatchObject({
      status: 0,
      out: `${manifest.version}\n`,
    });
    expect(run('npm', 'exec', '--offline', '--', 'sluice', '--version').out).toBe(`${manifest.version}\n`);
  });
});

describe('the installed package’s executor', () => {
  threadsOfThePackage({ project, root, write, run });
});

describe('the declarations', () => {
  const source = `
    import { eq, sql } from 'drizzle-orm';
    import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core';
    import { type Database, defineRepositories, defineRepository, open } from 'sluice';
    const notes = sqliteTable('notes', { id: integer().primaryKey(), text: text().notNull() });
    export const repository = defineRepository(notes, {
      reads: (db) => {
        const byText = db.select().from(notes).where(eq(notes.text, sql.placeholder('text'))).prepare();
        return { byText: (text: string) => byText.all({ text }) };
      },
    });
    export const registry = defineRepositories('file:///notes.ts', { notes: repository });
    export async function use(): Promise<string[]> {
      await using db: Database<typeof registry> = await open({ file: 'notes.db', repositories: registry });
      const rows: { id: number; text: string }[] = await db.api.notes.byText('a');
      const row: { text: string } | undefined = await db.api.notes.get(1);
      // @ts-expect-error the key is a number
      await db.api.notes.get('1');
      return [...rows, row].map((found) => found?.text ?? '');
    }
  `;

  test.each([
    ['nodenext', 'nodenext', false],
    // Checked once is enough: here only how they are found differs.
    ['bundler', 'esnext', true],
  ])(
    'compile for a consumer under moduleResolution %s',
    (moduleResolution, module, skipLibCheck) => {
      for (const name of ['@types/node', '@types/better-sqlite3', 'undici-types'])
        if (!existsSync(join(project, 'node_modules', name))) link(name);
      write('use.mts', source);
      write(
        'tsconfig.json',
        JSON.stringify({
          compilerOptions: {
            module,
            moduleResolution,
            target: 'es2023',
            lib: ['es2023', 'esnext.disposable'],
            types: ['node'],
            strict: true,
            exactOptionalPropertyTypes: true,
            noEmit: true,
            skipLibCheck,
          },
          files: ['use.mts'],
        }),
      );
      const { out } = run(process.execPath, join(root, 'node_modules/typescript/bin/tsc'), '-p', '.');
      // Drizzle's own declarations do not compile without the drivers of every database; ours and the consumer's must.
      const ours = out.split('\n').filter((line) => /^[^ ]/.test(line) && !line.includes('node_modules/drizzle-orm/'));
      expect(ours).toEqual([]);
    },
    60_000,
  );
});

describe('on a Node that is too old', () => {
  const old = oldNode();
  const message = /sluice: Node \d+\.\d+\.\d+ is too old; better-sqlite3 needs 22\.14 or newer/;

  test.skipIf(old === undefined)(
    'every way in says so and ends with 1, before better-sqlite3 can crash the process',
    () => {
      write('old.mjs', `import('better-sqlite3').catch(() => {}); await import('sluice');`);
      write('plain.mjs', `import { open } from 'sluice'; console.log(open);`);
      for (const args of [['plain.mjs'], ['old.mjs'], ['node_modules/sluice/dist/cli.js', '--version']]) {
        const { status, signal, out, err } = run(old ?? '', ...args);
        expect({ status, signal, out }, err).toEqual({ status: 1, signal: null, out: '' });
        expect(err).toMatch(message);
      }
    },
  );

  test.runIf(old === undefined)('is not shown here: no Node older than 22.14 on the PATH', ({ skip }) => {
    skip('no Node older than 22.14 on the PATH');
  });
});

/** A Node of the machine, outside the project's own, that is older than 22.14. */
function oldNode(): string | undefined {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const node = join(folder, 'node');
    if (folder.includes('node_modules') || !existsSync(node)) continue;
    const version = spawnSync(node, ['-p', 'process.versions.node'], { encoding: 'utf8' }).stdout;
    const [major = 0, minor = 0] = version.split('.').map(Number);
    if (major > 0 && (major < 22 || (major === 22 && minor < 14))) return node;
  }
  return undefined;
}
