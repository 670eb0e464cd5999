/**
 * The README's code, as a reader would type it: in a folder of its own, on the real Node, against the package by its name.
 *
 * - A ```ts block whose first line is `// file: NAME` is a file.
 * - `<!-- output of NAME -->` before a ```text block promises what running that file prints, to the letter.
 * - Every other ```ts block stands in a function that has an open `db`: it is compiled and not run.
 */
import { execFile } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const readme = readFileSync(join(root, 'README.md'), 'utf8');

const blocks = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code = '']) => code);
const files = new Map<string, string>();
const snippets: string[] = [];
for (const code of blocks) {
  const name = /^\/\/ file: (\S+)\n/.exec(code)?.[1];
  if (name === undefined) snippets.push(code);
  else files.set(name, code);
}
const outputs = [...readme.matchAll(/^<!-- output of (\S+) -->\n\n```text\n(.*?)^```$/gms)].map(
  ([, name = '', output = '']): [name: string, output: string] => [name, output],
);

let folder: string;
/** Runs a JavaScript or TypeScript file in the folder, on the Node that runs the tests. */
const node = (...args: string[]) => run(process.execPath, ['--conditions=sluice-source', ...args], { cwd: folder });

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-readme-'));
  const installed = join(folder, 'node_modules');
  mkdirSync(installed);
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (!name.startsWith('.')) symlinkSync(join(root, 'node_modules', name), join(installed, name));
  }
  symlinkSync(root, join(installed, 'sluice'));
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  for (const [name, code] of files) writeFileSync(join(folder, name), code);
  for (const [at, code] of snippets.entries()) writeFileSync(join(folder, `snippet-${at}.ts`), inFunction(code));

  const [, args = ''] = /^npx drizzle-kit (.*)$/m.exec(readme) ?? [];
  await node(join('node_modules', 'drizzle-kit', 'bin.cjs'), ...args.split(' '));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function inFunction(code: string): string {
  return [
    `import { type Database } from 'sluice';`,
    `import { type ledger } from './repositories.ts';`,
    `export async function snippet(db: Database<typeof ledger>): Promise<void> {`,
    code,
    '}',
    '',
  ].join('\n');
}

test('the README has code, and promises what it prints', () => {
  expect([...files.keys()]).toEqual(expect.arrayContaining(['tables.ts', 'repositories.ts', 'main.ts']));
  expect(snippets.length).toBeGreaterThan(0);
  expect(outputs.map(([name]) => name)).toContain('main.ts');
  for (const [name] of outputs) expect([...files.keys()]).toContain(name);
});

describe('what the README says a file prints', () => {
  test.each(outputs)('%s prints it', async (name, output) => {
    const { stdout, stderr } = await node(name);
    expect({ stdout, stderr }).toEqual({ stdout: output, stderr: '' });
  });
});

describe('the types of the README', () => {
  const check = () => node(join('node_modules', 'typescript', 'bin', 'tsc'), '-p', 'tsconfig.json');
  const options = {
    target: 'es2023',
    lib: ['es2023', 'esnext.disposable'],
    module: 'nodenext',
    customConditions: ['sluice-source'],
    types: ['node'],
    strict: true,
    noUncheckedIndexedAccess: true,
    allowImportingTsExtensions: true,
    skipLibCheck: true,
    noEmit: true,
  };

  test('every block compiles', { timeout: 120_000 }, async () => {
    const tsconfig = { compilerOptions: options, include: ['*.ts'] };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(tsconfig));
    await expect(check()).resolves.toMatchObject({ stdout: '' });
  });

  test('a mistake in a block would not compile', { timeout: 120_000 }, async () => {
    writeFileSync(join(folder, 'mistake.ts'), inFunction(`await db.api.accounts.byOwner(7);`));
    const tsconfig = { compilerOptions: options, include: ['mistake.ts'] };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(tsconfig));
    await expect(check()).rejects.toMatchObject({
      stdout: expect.stringContaining("'number' is not assignable to parameter of type 'string'") as string,
    });
  });
});

describe('what the README points to', () => {
  const shown = readme.replaceAll(/<!--.*?-->/gs, '');
  const targets = [...shown.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
  const anchors = [...readme.matchAll(/^#+ (.*)$/gm)].map(
    ([, title = '']) =>
      `#${title
        .toLowerCase()
        .replaceAll(/[^\w\- ]/g, '')
        .replaceAll(' ', '-')}`,
  );

  test.each([...new Set(targets)].filter((target) => !target.startsWith('https:')))('%s is there', (target) => {
    if (target.startsWith('#')) expect(anchors).toContain(target);
    else expect(existsSync(join(root, target))).toBe(true);
  });
});
