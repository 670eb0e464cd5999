import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  linkSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import SqliteDatabase from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Diagnosis } from '../../src/cli/doctor.ts';

let directory: string;
let file: string;
beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'sluice-doctor-')));
  file = join(directory, 'ledger.db');
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

function sluice(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--conditions=sluice-source', 'src/cli/main.ts', ...args],
    { encoding: 'utf8' },
  );
  return { status, stdout, stderr };
}

function makeDatabase(journalMode: 'wal' | 'delete'): void {
  const database = new SqliteDatabase(file);
  database.pragma(`journal_mode = ${journalMode}`);
  database.exec('CREATE TABLE account (id INTEGER PRIMARY KEY); PRAGMA user_version = 7');
  database.close();
}

/** Every file of the directory with its content and the moment of its last change. */
function snapshot(): string[] {
  return readdirSync(directory).map((name) => {
    const path = join(directory, name);
    const hash = createHash('sha256').update(readFileSync(path)).digest('hex');
    return `${name} ${hash} ${statSync(path, { bigint: true }).mtimeNs}`;
  });
}

describe('the command line', () => {
  test.each([
    [['doctr'], /unknown command "doctr"; did you mean "doctor"\?/],
    [['frobnicate'], /unknown command "frobnicate"\nTry/],
    [[], /no command was given/],
    [['--hlep'], /unknown option "--hlep"; did you mean "--help"\?/],
    [['doctor'], /expected one FILE, got 0/],
    [['doctor', 'a', 'b'], /expected one FILE, got 2/],
    [['doctor', 'a', '--jsno'], /unknown option "--jsno"; did you mean "--json"\?/],
    [['doctor', 'a', '--json=yes'], /--json/],
  ])('exits with 2 for %j', (args, message) => {
    const { status, stdout, stderr } = sluice(...args);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(message);
  });
  test('gives help and the version', () => {
    expect(sluice('--help')).toMatchObject({ status: 0, stdout: expect.stringContaining('doctor') as string });
    expect(sluice('doctor', '--help').stdout).toMatch(/^Usage: sluice doctor FILE/);
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    expect(sluice('--version')).toEqual({ status: 0, stdout: `${version}\n`, stderr: '' });
  });
});

describe('doctor exits with 1', () => {
  test('for a file that is not a database, and leaves it alone', () => {
    writeFileSync(file, 'a,b,c\n'.repeat(100));
    const before = snapshot();
    const { status, stdout, stderr } = sluice('doctor', file);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toMatch(/is not a SQLite database/);
    expect(snapshot()).toEqual(before);
  });
  test('for a directory and for a missing directory', () => {
    expect(sluice('doctor', directory)).toMatchObject({ status: 1 });
    const { status, stderr } = sluice('doctor', join(directory, 'none', 'a.db'));
    expect(status).toBe(1);
    expect(stderr).toMatch(/does not exist; create it first/);
  });
  test('for a URI string, and creates no file of that name', () => {
    expect(sluice('doctor', 'file:x?mode=memory').stderr).toMatch(/is a URI/);
    expect(readdirSync('.')).not.toContain('file:x?mode=memory');
  });
  test('with the error as JSON where JSON was asked for', () => {
    const { status, stdout } = sluice('doctor', directory, '--json');
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ error: { name: 'OptionError', code: 'SLUICE_OPTION' } });
  });
  test('where there is a hazard', () => {
    makeDatabase('wal');
    linkSync(file, join(directory, 'other.db'));
    const { status, stdout } = sluice('doctor', file);
    expect(status).toBe(1);
    expect(stdout).toMatch(/hazards\n {2}- The file has 2 names/);
  });
});

describe('doctor', () => {
  test.each(['wal', 'delete'] as const)('leaves a database in %s mode as it is, and nothing beside it', (mode) => {
    makeDatabase(mode);
    const before = snapshot();
    expect(sluice('doctor', file).stdout).toMatch(
      mode === 'wal' ? /WAL is on/ : /WAL is off; open\(\) would turn it on/,
    );
    expect(snapshot()).toEqual(before);
    expect(before).toHaveLength(1);
  });
  test('does not create a file that does not exist', () => {
    expect(sluice('doctor', file)).toMatchObject({
      stdout: expect.stringContaining('does not exist yet; open() would create it') as string,
    });
    expect(snapshot()).toEqual([]);
  });
  test('takes an empty file for a new database', () => {
    writeFileSync(file, '');
    expect(sluice('doctor', file).stdout).toMatch(/0 bytes, empty, 1 name/);
  });
  test('works beside a connection that is open, and names its files', () => {
    makeDatabase('wal');
    const database = new SqliteDatabase(file);
    database.exec('INSERT INTO account VALUES (1)');
    const before = snapshotNames();
    expect(sluice('doctor', file).stdout).toMatch(/beside it {2}-wal \([\d ]+ bytes\), -shm \(32 768 bytes\)/);
    expect(snapshotNames()).toEqual(before);
    expect(database.prepare('SELECT count(*) FROM account').pluck().get()).toBe(1);
    database.close();
  });
  test('gives the whole diagnosis as JSON', () => {
    makeDatabase('wal');
    const diagnosis = JSON.parse(sluice('doctor', file, '--json').stdout) as Diagnosis;
    expect(diagnosis).toMatchObject({
      file,
      header: { journalMode: 'wal', pageSize: 4096, pageCount: 2, userVersion: 7, applicationId: 0 },
      beside: [],
      decision: { facts: { realPath: file, exists: true, hardLinks: 1, requested: 'auto' } },
    });
    const { strategy, rejected } = diagnosis.decision;
    expect([strategy, ...rejected.map((rejection) => rejection.strategy)]).toHaveLength(5);
  });
  test('explains a database in memory', () => {
    const { status, stdout } = sluice('doctor', ':memory:');
    expect(status).toBe(0);
    expect(stdout).toMatch(/strategy: shared\n\nbecause\n {2}- The database is in memory/);
  });
  test('is plain when piped: no colours, one line an item', () => {
    makeDatabase('wal');
    const { stdout } = sluice('doctor', file);
    expect(stdout).not.toContain('\u001b');
    expect(stdout).toMatch(/\n {2}- executor: .* costs more than a short query.*\n/);
  });
});

/** Names only: the files of an open database must not be read, for closing them would drop its locks. */
function snapshotNames(): string[] {
  return readdirSync(directory).map((name) => `${name} ${statSync(join(directory, name)).size}`);
}
