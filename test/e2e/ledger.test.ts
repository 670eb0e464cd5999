/** `npm start`, as a child process of its own: what it prints, how it ends, and what it leaves on the disk. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { badLines, csvColumns, generateCsv } from '../../examples/ledger/generate.ts';

const main = fileURLToPath(new URL('../../examples/ledger/main.ts', import.meta.url));

let folder: string;
let file: string;
let csv: string;
let started: ChildProcess[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-ledger-'));
  file = join(folder, 'sub', 'ledger.db');
  csv = join(folder, 'small.csv');
  writeFileSync(csv, generateCsv(7, 600));
});
afterEach(() => {
  // A test that failed half-way leaves nothing running.
  for (const child of started) child.kill('SIGKILL');
  started = [];
  rmSync(folder, { recursive: true });
});

interface Run {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly errors: () => string;
  /** Resolves with the first match in the output; rejects when the process ends without one. */
  readonly says: (pattern: RegExp) => Promise<RegExpExecArray>;
  readonly ended: Promise<number | null>;
}

function start(...args: string[]): Run {
  const child = spawn(process.execPath, ['--conditions=sluice-source', main, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  started.push(child);
  let output = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  const ended = once(child, 'close').then(([code]) => code as number | null);
  const says = (pattern: RegExp) =>
    new Promise<RegExpExecArray>((resolve, reject) => {
      const look = () => {
        const match = pattern.exec(output);
        if (match) resolve(match);
      };
      child.stdout.on('data', look);
      void ended.then(() => {
        look();
        reject(new Error(`ended without saying ${String(pattern)}:\n${output}\n${errors}`));
      });
      look();
    });
  return { child, output: () => output, errors: () => errors, says, ended };
}

/** The file on its own, after its process has ended. */
function inspect<T>(ask: (db: Database.Database) => T): T {
  const db = new Database(file, { fileMustExist: true });
  try {
    expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
    expect(db.pragma('foreign_key_check')).toEqual([]);
    return ask(db);
  } finally {
    db.close();
  }
}

function count(table: 'accounts' | 'transfers' | 'audit'): number {
  return inspect((db) => db.prepare<[], number>(`select count(*) from ${table}`).pluck().get() ?? 0);
}

describe('a run on a small CSV', () => {
  test('explains the decision, imports, serves, checks, and exits 0', { timeout: 60_000 }, async () => {
    const run = start('--file', file, '--csv', csv);
    expect([await run.ended, run.errors()]).toEqual([0, '']);
    const output = run.output();
    expect(output).toMatch(/^Strategy: (per-context|shared)\n {2}because {2}\w/m);
    expect(output).toMatch(/^Service: http:\/\/127\.0\.0\.1:\d+$/m);
    expect(output).toContain(`${badLines.length} bad lines in`);
    expect(output).toMatch(/^ {2}line +\d+: owner is missing$/m);
    expect(output).toMatch(/^Import +\d+ accounts and \d+ transfers/m);
    expect(output).toMatch(/^answers +200: .*201: .*400: .*404: .*405: .*409: /m);
    expect(output).toMatch(/p50 [\d.]+ ms, p99 [\d.]+ ms/);
    expect(output.match(/^ok {5}\S/gm)).toHaveLength(6);
    expect(output).not.toContain('BROKEN');
    expect(output).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f]/);
    expect(existsSync(`${file}-wal`)).toBe(false);
    expect(count('audit')).toBe(count('accounts') + 2 * count('transfers'));
  });

  test('adds nothing the second time', { timeout: 60_000 }, async () => {
    expect(await start('--file', file, '--csv', csv).ended).toBe(0);
    const imported = () =>
      inspect((db) => db.prepare("select count(*) from transfers where idempotency_key like 't-%'").pluck().get());
    const before = [count('accounts'), imported()];
    const again = start('--file', file, '--csv', csv);
    expect(await again.ended).toBe(0);
    expect(again.output()).toMatch(/^Import +0 accounts and 0 transfers/m);
    expect(again.output()).toMatch(new RegExp(`\\b${600 - badLines.length} there already, ${badLines.length} refused`));
    expect([count('accounts'), imported()]).toEqual(before);
  });
});

describe('with threads', () => {
  test(
    'request handlers in four of them reach an executor: no error, and no cent is lost',
    {
      timeout: 120_000,
    },
    async () => {
      const run = start('--file', file, '--csv', csv, '--strategy', 'executor', '--threads', '4');
      expect([await run.ended, run.errors()]).toEqual([0, '']);
      const output = run.output();
      expect(output).toMatch(/^Strategy: executor\n/m);
      expect(output).toMatch(/^answers +200: .*201: /m);
      expect(output).not.toMatch(/^answers .*\b5\d\d: /m);
      expect(output.match(/^ok {5}\S/gm)).toHaveLength(6);
      expect(output).not.toContain('BROKEN');
      expect(count('audit')).toBe(count('accounts') + 2 * count('transfers'));
    },
  );

  test('--compare puts every strategy beside the others, on the same load', { timeout: 180_000 }, async () => {
    const run = start('--csv', csv, '--compare', '--threads', '2');
    expect([await run.ended, run.errors()]).toEqual([0, '']);
    const lines = run.output().trim().split('\n');
    expect(lines.find((line) => line.startsWith('strategy'))).toMatch(/requests +p50 +p99 +loop p99 +errors +books/);
    for (const strategy of ['shared', 'per-context', 'executor']) {
      expect(lines.find((line) => line.startsWith(strategy))).toMatch(/ 0 +right$/);
    }
  });
});

describe('--serve', () => {
  test('answers until Ctrl-C, which closes cleanly', { timeout: 60_000 }, async () => {
    const run = start('--file', file, '--csv', csv, '--serve');
    const [, origin = ''] = await run.says(/^Serving on (http:\S+);/m);
    const ask = async (method: string, path: string, body?: unknown) => {
      const init = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) };
      const response = await fetch(origin + path, { method, headers: { 'content-type': 'application/json' }, ...init });
      const text = method === 'HEAD' ? 'null' : await response.text();
      return { status: response.status, headers: response.headers, body: JSON.parse(text) as Record<string, unknown> };
    };

    const health = await ask('GET', '/health');
    expect(health).toMatchObject({
      status: 200,
      body: { status: 'ok', decision: { strategy: expect.any(String) as string } },
    });
    expect(health.headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(Number(health.headers.get('content-length'))).toBeGreaterThan(100);
    expect(await ask('HEAD', '/accounts/1000')).toMatchObject({ status: 200 });

    const ann = await ask('POST', '/accounts', { owner: 'Ann', email: 'ann@example.org', cents: 500 });
    const ben = await ask('POST', '/accounts', { owner: 'Ben, "B"', cents: 0 });
    expect([ann.status, ben.status]).toEqual([201, 201]);
    expect(await ask('GET', ann.headers.get('location') ?? '')).toMatchObject({ status: 200, body: { owner: 'Ann' } });
    expect(await ask('GET', '/owners/Ben%2C%20%22B%22')).toMatchObject({ status: 200, body: { cents: 0 } });

    const [source, destination] = [ann.body.id, ben.body.id];
    const transfer = { source, destination, cents: 200, key: 'e2e-1' };
    const sent = await ask('POST', '/transfers', transfer);
    expect(sent).toMatchObject({ status: 201, body: { source, destination, cents: 200 } });
    expect(await ask('POST', '/transfers', transfer)).toMatchObject({ status: 200, body: sent.body });
    expect(await ask('GET', `/accounts/${String(destination)}/statement`)).toMatchObject({
      body: {
        rows: [
          { action: 'opened', balance: 0 },
          { action: 'received', balance: 200, counterparty: source, key: 'e2e-1' },
        ],
      },
    });

    const refused = async (status: number, code: string, ...request: Parameters<typeof ask>) => {
      expect(await ask(...request)).toMatchObject({ status, body: { error: { code } } });
    };
    await refused(409, 'insufficient-funds', 'POST', '/transfers', { ...transfer, cents: 301, key: 'e2e-2' });
    await refused(409, 'idempotency-conflict', 'POST', '/transfers', { ...transfer, cents: 201 });
    await refused(409, 'account-exists', 'POST', '/accounts', { id: source, owner: 'Other', cents: 1 });
    await refused(409, 'conflict', 'POST', '/accounts', { owner: 'Ann Too', email: 'ann@example.org', cents: 1 });
    await refused(404, 'unknown-account', 'POST', '/transfers', {
      ...transfer,
      destination: 899_999_999,
      key: 'e2e-3',
    });
    await refused(404, 'unknown-account', 'GET', '/accounts/899999999');
    await refused(404, 'not-found', 'GET', '/elsewhere');
    await refused(404, 'not-found', 'GET', '//');
    await refused(405, 'method-not-allowed', 'DELETE', '/accounts');
    await refused(400, 'malformed-json', 'POST', '/transfers', '{"source":');
    await refused(413, 'body-too-large', 'POST', '/transfers', `"${'x'.repeat(200_000)}"`);
    await refused(400, 'bad-path', 'GET', '/accounts/%ff');
    await refused(400, 'validation', 'GET', '/accounts?after=nonsense');
    await refused(400, 'validation', 'GET', '/accounts?limit=5&limit=6');
    expect(await ask('POST', '/transfers', { source: '1', cents: 0.5, extra: true })).toMatchObject({
      status: 400,
      body: {
        error: {
          fields: ['source', 'destination', 'cents', 'key', 'extra'].map((field) => ({
            field,
            problem: expect.any(String) as string,
          })),
        },
      },
    });
    const form = await fetch(`${origin}/transfers`, {
      method: 'POST',
      body: '{}',
      headers: { 'content-type': 'text/plain' },
    });
    expect(form.status).toBe(415);

    run.child.kill('SIGINT');
    expect([await run.ended, run.errors()]).toEqual([0, '']);
    expect(inspect((db) => db.prepare('select cents from accounts where id = ?').pluck().get(source))).toBe(300);
    expect(existsSync(`${file}-wal`)).toBe(false);
  });
});

describe('Ctrl-C during the import', () => {
  test('stops cleanly with 130, and the next run finishes the rest', { timeout: 120_000 }, async () => {
    writeFileSync(csv, generateCsv(8, 8000));
    const run = start('--file', file, '--csv', csv);
    await run.says(/^Importing {2}10 %/m);
    run.child.kill('SIGINT');
    expect([await run.ended, run.errors()]).toEqual([130, '']);
    expect(run.output()).toMatch(/^Stopped by Ctrl-C at line [\d ]+\./m);
    expect(run.output()).not.toContain('BROKEN');
    const [, accounts, transfers] = /^Import +([\d ]+) accounts and ([\d ]+) transfers/m.exec(run.output()) ?? [];
    const said = [accounts, transfers].map((figure) => Number(figure?.replaceAll(' ', '')));
    const stored = inspect((db) => [
      db.prepare('select count(*) from accounts where id < 900000000').pluck().get(),
      db.prepare("select count(*) from transfers where idempotency_key like 't-%'").pluck().get(),
    ]);
    expect(stored).toEqual(said);
    expect(count('transfers')).toBeLessThan(7000);

    const rest = start('--file', file, '--csv', csv);
    expect(await rest.ended).toBe(0);
    expect(rest.output()).not.toContain('BROKEN');
    expect(count('transfers')).toBeGreaterThan(7000);
  });
});

describe('what cannot be used', () => {
  test.each([
    [['--flie', 'x'], /there is no option --flie; did you mean --file\?/],
    [['--port', '70000'], /a port is a number from 0 to 65535/],
    [['--file'], /--file/],
    [['ledger.db'], /ledger\.db/],
  ])('%s exits 2 with a hint', async (args, hint) => {
    const run = start(...args);
    expect(await run.ended).toBe(2);
    expect(run.errors()).toMatch(hint);
    expect(run.errors()).toContain('--help');
  });

  test('a CSV with another header exits 1, and no database is made', async () => {
    writeFileSync(csv, 'id,name\n1,Ann\n');
    const run = start('--file', file, '--csv', csv);
    expect(await run.ended).toBe(1);
    expect(run.errors()).toContain(`the first line should be ${csvColumns.join(',')}`);
    expect(existsSync(file)).toBe(false);
  });

  test('a file that is no database exits 1 without a stack', async () => {
    const run = start('--file', csv, '--csv', csv);
    expect(await run.ended).toBe(1);
    expect(run.errors()).toMatch(/^CorruptError: /);
    expect(run.errors()).not.toContain('    at ');
  });

  test('--help says how, and exits 0', async () => {
    const run = start('--help');
    expect(await run.ended).toBe(0);
    expect(run.output()).toMatch(/^Usage: npm start -- \[options\]/);
  });
});
