/**
 * The negative control of the type tests: a wrong assertion must fail, in the compiler and in vitest's own run of it, and
 * every file of type tests must be among what is compiled. And the compiler's errors, which are part of the api, read as
 * prose.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { afterAll, describe, expect, test } from 'vitest';
import config from '../../vitest.config.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** The project's own options, as `npm run types` has them. */
function readConfig(): ts.ParsedCommandLine {
  const file = join(root, 'tsconfig.json');
  const read = ts.readConfigFile(file, (path) => ts.sys.readFile(path));
  return ts.parseJsonConfigFileContent(read.config, ts.sys, root);
}

/** What the compiler says of source texts that lie beside the type tests, without writing them. */
function compile(...sources: string[]): string[][] {
  const { options } = readConfig();
  const texts = new Map(sources.map((source, at) => [join(root, `test/types/control-${at}.ts`), source]));
  const host = ts.createCompilerHost(options, true);
  const plain = { ...host };
  host.getSourceFile = (path, version, ...rest) => {
    const text = texts.get(path);
    return text === undefined
      ? plain.getSourceFile(path, version, ...rest)
      : ts.createSourceFile(path, text, version, true);
  };
  host.fileExists = (path) => texts.has(path) || plain.fileExists(path);
  host.readFile = (path) => texts.get(path) ?? plain.readFile(path);
  const program = ts.createProgram([...texts.keys()], options, host);
  return [...texts.keys()].map((name) =>
    program
      .getSemanticDiagnostics(program.getSourceFile(name))
      .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n')),
  );
}

const HEAD = `
  import { integer, sqliteTable } from 'drizzle-orm/sqlite-core';
  import { defineRepositories, defineRepository } from '../../src/index.ts';
  const notes = sqliteTable('notes', { id: integer().primaryKey() });
  const notesRepository = defineRepository(notes, { reads: () => ({ ids: () => [1, 2] }) });
  export const registry = defineRepositories(import.meta.url, { notes: notesRepository });
  export class Money { plus(other: Money): Money { return other; } }
`;
const ASSERT = `${HEAD}
  import { expectTypeOf } from 'vitest';
  import { type Database } from '../../src/index.ts';
  declare const db: Database<typeof registry>;
`;
const right = `${ASSERT} expectTypeOf(db.api.notes.ids()).resolves.toEqualTypeOf<number[]>();`;
const wrong = `${ASSERT} expectTypeOf(db.api.notes.ids()).resolves.toEqualTypeOf<string[]>();`;

describe('the compiler', () => {
  test('accepts a right assertion and refuses a wrong one', () => {
    expect(compile(right, wrong)).toEqual([[], [expect.stringContaining('"Expected: string, Actual: number"')]]);
  }, 60_000);

  test('reads every file of type tests', () => {
    const compiled = readConfig().fileNames.map((file) => relative(root, file));
    const found = readdirSync(join(root, 'test/types')).filter((name) => name.endsWith('.test-d.ts'));
    expect(found.length).toBeGreaterThanOrEqual(2);
    for (const name of found) expect(compiled).toContain(`test/types/${name}`);
  });

  test('says in a sentence what is wrong with a handler', () => {
    const cases: readonly (readonly [definition: string, sentence: string])[] = [
      [
        '{ writes: () => ({ later: async () => 1 }) }',
        '"later" returns a promise: a handler is synchronous; await before or after the api call, or use defineAsyncRepository',
      ],
      [
        '{ reads: (db) => ({ all: () => db.select().from(notes) }) }',
        '"all" returns a query that was not run: end it with .all(), .get() or .run()',
      ],
      [
        '{ reads: (db) => ({ all: () => db.select().from(notes).prepare() }) }',
        '"all" returns a query that was not run: end it with .all(), .get() or .run()',
      ],
      [
        '{ reads: () => ({ by: (by: import("drizzle-orm").SQL) => typeof by }) }',
        'The arguments of "by" must be plain data: functions, symbols, class instances and Drizzle expressions cannot cross a thread',
      ],
      [
        '{ reads: () => ({ money: () => new Money() }) }',
        'The result of "money" must be plain data: functions, symbols and class instances cannot cross a thread',
      ],
      [
        '{ reads: () => ({ values: () => [1].values() }) }',
        '"values" returns an iterator: make it a generator function, *values() { yield* … }, which callers stream',
      ],
      [
        '{ writes: () => ({ *each() { yield 1; } }) }',
        '"each" returns an iterator: a write ends with its call; return an array, or stream from a read',
      ],
      [
        '{ reads: () => ({ *each() { yield new Money(); } }) }',
        'The result of "each" must be plain data: functions, symbols and class instances cannot cross a thread',
      ],
    ];
    const said = compile(...cases.map(([definition]) => `${HEAD} defineRepository(notes, ${definition});`));
    const sentences = said.map(([message = '', ...others]) => {
      expect(others).toEqual([]);
      return /SluiceTypeError<"(.*)">/.exec(message.split('\n').at(-1) ?? '')?.[1]?.replaceAll('\\"', '"');
    });
    expect(sentences).toEqual(cases.map(([, sentence]) => sentence));
  }, 60_000);
});

describe('vitest', () => {
  const typecheck = config.test?.typecheck;
  const folder = mkdtempSync(join(root, 'node_modules/.type-tests-'));
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  test('type-checks test/types with the project’s tsconfig', () => {
    expect(typecheck).toMatchObject({
      enabled: true,
      include: ['test/types/**/*.test-d.ts'],
      tsconfig: './tsconfig.json',
    });
  });

  test('fails in a wrong assertion and passes without it, under the same settings', () => {
    const files = {
      'tsconfig.json': JSON.stringify({
        extends: join(root, 'tsconfig.json'),
        include: ['test'],
      }),
      'package.json': '{ "type": "module" }',
      'vitest.config.ts': `export default { test: { include: [], typecheck: ${JSON.stringify(typecheck)} } };`,
    };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    mkdirSync(join(folder, 'test/types'), { recursive: true });
    symlinkSync(join(root, 'src'), join(folder, 'src'));
    const run = (assertion: string): { status: number | null; output: string } => {
      const source = `import { test } from 'vitest'; test('it', () => { ${assertion} });`;
      writeFileSync(join(folder, 'test/types/control.test-d.ts'), source);
      const vitest = join(dirname(fileURLToPath(import.meta.resolve('vitest/package.json'))), 'vitest.mjs');
      const { status, stdout, stderr } = spawnSync(process.execPath, [vitest, 'run', '--root', folder], {
        cwd: folder,
        encoding: 'utf8',
        env: { ...process.env, NO_COLOR: '1' },
      });
      return { status, output: stdout + stderr };
    };
    const passed = run('const one: number = 1; void one;');
    expect(passed.status, passed.output).toBe(0);
    expect(passed.output).toMatch(/1 passed/);
    const failed = run("const one: number = 'one'; void one;");
    expect(failed.status, failed.output).toBe(1);
    expect(failed.output).toMatch(/Type 'string' is not assignable to type 'number'/);
  }, 60_000);
});
