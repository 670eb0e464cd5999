import { execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { BusyError, defineRepositories, defineRepository, open, TimeoutError } from '../../src/index.ts';
import { createLedger, entries, ledger } from '../support/ledger.ts';
import { committed, openLedger } from '../support/open-ledger.ts';
import { STRATEGIES } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection } from '../support/waiting.ts';

const support = (name: string): string => fileURLToPath(new URL(`../support/${name}`, import.meta.url));

describe('opening', () => {
  const dir = useTempDir();

  test('a file that is not yet in WAL mode by six processes in one moment fails for none, over and over', async () => {
    const children = Array.from({ length: 6 }, () => fork(support('opener-main.ts')));
    dir.atEnd(() => children.map((child) => child.kill('SIGKILL')));
    await Promise.all(children.map((child) => once(child, 'message')));
    for (let round = 0; round < 10; round++) {
      const file = dir.file(`fresh-${round}.db`);
      createLedger(file);
      const answers = children.map((child) => once(child, 'message') as Promise<[string]>);
      for (const [at, child] of children.entries()) child.send({ file, call: `c${at}` });
      expect((await Promise.all(answers)).map(([answer]) => answer)).toEqual(children.map(() => 'done'));
      expect(committed(dir, file).sort()).toEqual(children.map((_, at) => `c${at}/1`));
    }
  });

  test('a file that is not yet in WAL mode by threads and by this one in one moment fails for none', async () => {
    for (let round = 0; round < 3; round++) {
      const file = dir.file(`fresh-${round}.db`);
      createLedger(file);
      const kinds = ['executor', 'per-context', 'executor', 'per-context'] as const;
      const opened = await Promise.all(kinds.map((strategy) => open({ file, repositories: ledger, strategy })));
      dir.atEnd(() => Promise.all(opened.map((db) => db.close({ drain: 0 }))));
      expect(opened.map(({ decision }) => decision.journal)).toEqual(kinds.map(() => 'wal'));
      await Promise.all(opened.map(({ api }, at) => api.entries.run(`c${at}`, ['row'])));
      await Promise.all(opened.map((db) => db.close()));
      expect(committed(dir, file).sort()).toEqual(kinds.map((_, at) => `c${at}/1`));
    }
  });

  test('a file that another connection has locked waits with the event loop alive, and for no longer than "timeout"', async () => {
    createLedger(dir.file());
    const other = dir.raw();
    other.pragma('locking_mode = EXCLUSIVE');
    other.exec('BEGIN EXCLUSIVE');
    let ticks = 0;
    const timer = setInterval(() => {
      ticks += 1;
    }, 5);
    const error = await rejection(open({ file: dir.file(), repositories: ledger, timeout: 300 }), TimeoutError);
    expect(error.wait).toBe('file lock');
    expect(error.cause).toBeInstanceOf(BusyError);
    expect((error.cause as BusyError).kind).toBe('busy');
    expect(ticks, 'ticks of a timer meanwhile').toBeGreaterThan(10);

    const opening = open({ file: dir.file(), repositories: ledger });
    other.exec('ROLLBACK');
    other.close();
    await using db = await opening;
    clearInterval(timer);
    expect(await db.api.entries.count()).toBe(0);
  });

  test('with migrations waits for who writes with the event loop alive, and for no longer than "timeout"', async () => {
    createLedger(dir.file());
    const repositories = defineRepositories(import.meta.url, { entries: defineRepository(entries) });
    const migrations = dir.file('migrations');
    mkdirSync(`${migrations}/meta`, { recursive: true });
    writeFileSync(`${migrations}/0000_more.sql`, 'CREATE TABLE more (id INTEGER PRIMARY KEY);');
    const journal = { entries: [{ idx: 0, version: '6', when: 1, tag: '0000_more', breakpoints: true }] };
    writeFileSync(`${migrations}/meta/_journal.json`, JSON.stringify(journal));
    const other = dir.raw();
    other.pragma('journal_mode = WAL');
    other.exec('BEGIN IMMEDIATE');
    let ticks = 0;
    const timer = setInterval(() => {
      ticks += 1;
    }, 5);
    const error = await rejection(open({ file: dir.file(), repositories, migrations, timeout: 200 }), TimeoutError);
    expect(error.wait).toBe('file lock');
    expect(error.message).toMatch(/^migrate: waited \d+ ms for the lock/);
    expect(ticks, 'ticks of a timer meanwhile').toBeGreaterThan(5);
    clearInterval(timer);
    other.exec('ROLLBACK');
    other.close();
    await (await open({ file: dir.file(), repositories, migrations })).close();
    expect(dir.descriptors()).toEqual([]);
  });
});

describe('a database', () => {
  const dir = useTempDir();

  test.for(['per-context', 'executor', 'connect', 'ended'] as const)(
    'that is lost unclosed is named with the place where it was opened, and closed: %s',
    async (how) => {
      createLedger(dir.file());
      const args = ['--expose-gc', '--conditions=sluice-source', support('lost-main.ts'), dir.file(), how];
      const { stdout } = await promisify(execFile)(process.execPath, args);
      const warned = /SluiceWarning: .*ledger\.db.*not been closed, opened at .*lost-main\.ts:\d+/;
      // One whose owner has closed it is not lost.
      if (how === 'ended') expect(stdout).not.toContain('SluiceWarning');
      else expect(stdout).toMatch(warned);
      expect(stdout).toContain('open: 0');
      expect(committed(dir)).toEqual(['lost/1']);
    },
  );

  for (const strategy of STRATEGIES.filter(({ inThread }) => inThread)) {
    test(`whose close has a context gives up at its deadline, ${strategy.name}`, async () => {
      const db = await openLedger(dir, strategy);
      const never = rejection(
        db.transaction(() => new Promise(() => undefined)),
        Error,
      );
      const { abandoned } = await db.context({ timeout: 50 }, () => db.close());
      expect(abandoned).toEqual(['transaction']);
      expect(await never).toMatchObject({ code: 'SLUICE_CLOSED', outcome: 'rolled-back' });
    });
  }

  test('whose close waits for long says for what', async () => {
    const [strategy] = STRATEGIES;
    if (strategy === undefined) return;
    const db = await openLedger(dir, strategy);
    const warned = once(process, 'warning') as Promise<[Error & { code: string }]>;
    const never = rejection(
      db.context({ label: 'POST /transfers' }, () => db.transaction(() => new Promise(() => undefined))),
      Error,
    );
    const closing = db.close();
    const [warning] = await warned;
    expect(warning.code).toBe('SLUICE_CLOSE_WAITS');
    expect(warning.message).toMatch(/waited 5000 ms for transaction in POST \/transfers/);
    await db.close({ drain: 0 });
    await closing;
    await never;
  });
});
