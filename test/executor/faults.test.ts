/** Promises 10, 11 and 14 when the thread that owns the database dies, or does not answer. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import {
  AbortError,
  ClosedError,
  connect,
  ExecutorError,
  open,
  StrategyError,
  TimeoutError,
  TransactionEndedError,
} from '../../src/index.ts';
import { decodeError, type EncodedError } from '../../src/executor/error-codec.ts';
import { hostile } from '../support/hostile.ts';
import { createLedger } from '../support/ledger.ts';
import { openHostile } from '../support/open-hostile.ts';
import { committed, expectNoTransaction } from '../support/open-ledger.ts';
import { TempDir, useTempDir } from '../support/temp-dir.ts';
import { gate, rejection, until } from '../support/waiting.ts';
import { startThread } from './thread.ts';

/** Steps that SQLite counts for seconds. */
const SECONDS = 6_000_000;

describe('a thread that dies', () => {
  const dir = useTempDir();
  beforeEach(() => {
    process.env.HOSTILE_COMMIT = dir.file('commit');
    process.env.HOSTILE_IMPORT = dir.file('import');
  });
  afterEach(() => {
    delete process.env.HOSTILE_COMMIT;
    delete process.env.HOSTILE_IMPORT;
  });

  test('while a write runs rejects it as rolled back, and runs what was queued, in order', async () => {
    // | a, in one batch | fatal, in the same  | b, c           |
    // |-----------------|---------------------|----------------|
    // | inserts         |                     | are queued     |
    // |                 | inserts, exits      |                |
    // | is rejected     | is rejected         |                |
    // |                 |                     | run, on the new thread |
    // However slow the machine is, the slice does not end between the two.
    const db = await openHostile(dir, { batch: { slice: 5000 } });
    // A caller that has been alone is served at once: it is in no batch with those that come after it.
    const alone = Promise.allSettled([db.api.hostile.add('alone')]);
    const calls = [db.api.hostile.add('a'), db.api.hostile.addAndExit('fatal')].map((call) =>
      rejection(call, ExecutorError),
    );
    const after = ['b', 'c', 'd'].map((call) => db.api.hostile.add(call));
    for (const error of await Promise.all(calls)) {
      expect(error).toMatchObject({ code: 'SLUICE_EXECUTOR', outcome: 'rolled-back' });
    }
    expect((await calls[1])?.message).toMatch(
      /^hostile\.addAndExit: the thread .* died while it was running; nothing of it/,
    );
    expect(await Promise.all(after)).toEqual([1, 1, 1]);
    await alone;
    expect(committed(dir).filter((row) => row !== 'alone/1')).toEqual(['b/1', 'c/1', 'd/1']);
    expectNoTransaction(dir);
  });

  test('what gives up while there is no thread leaves no trace', async () => {
    // So many calls may be on their way at once.
    const db = await openHostile(dir, { maxQueue: 10, batch: { calls: 10 } });
    await rejection(db.api.hostile.addAndExit('fatal'), ExecutorError);
    const late = Array.from({ length: 20 }, (_, at) =>
      db.context({ timeout: 0 }, () => rejection(db.api.hostile.add(`late ${at}`), TimeoutError)),
    );
    for (const error of await Promise.all(late)) expect(error.outcome).toBe('not-started');
    expect(await Promise.all(Array.from({ length: 10 }, (_, at) => db.api.hostile.add(String(at))))).toHaveLength(10);
    expect(committed(dir)).toHaveLength(10);
  });

  test('runs transactions, snapshots and checkpoints that were queued in their turn, on the new thread', async () => {
    const db = await openHostile(dir);
    const fatal = rejection(
      db.transaction((api) => api.hostile.addAndExit('fatal')),
      ExecutorError,
    );
    const queued = [
      db.api.hostile.add('a'),
      db.transaction(async (api) => {
        await api.hostile.add('b');
        return api.hostile.add('c');
      }),
      db.checkpoint(),
      db.api.hostile.add('d'),
    ];
    expect((await fatal).outcome).toBe('rolled-back');
    expect(await Promise.all(queued)).toEqual([1, 1, { complete: true, size: 0, holder: undefined }, 1]);
    expect(await db.snapshot((api) => api.hostile.listed())).toEqual(['a/1', 'b/1', 'c/1', 'd/1']);
  });

  test.for(['an error', 'a rejection'] as const)('of %s that nobody catches says so, and is replaced', async (what) => {
    const db = await openHostile(dir);
    const snapshot = db.snapshot(async (api) => {
      await api.hostile.leaveBehind(what);
      await gate().passed;
    });
    expect((await rejection(snapshot, ExecutorError)).cause).toMatchObject({
      name: 'RangeError',
      message: 'nobody catches it',
    });
    expect(await db.api.hostile.add('a')).toBe(1);
  });

  test('while a read runs rejects it, and the next one is answered', async () => {
    const db = await openHostile(dir);
    const error = await rejection(db.api.hostile.readAndExit(), ExecutorError);
    expect(error.outcome).toBeUndefined();
    expect(error.cause).toMatchObject({ message: expect.stringContaining('code 4') as string });
    expect(await db.api.hostile.listed()).toEqual([]);
  });

  test.for([
    ['before', []],
    ['after', ['a/1']],
  ] as const)('at a COMMIT (%s it) leaves that write unknown, and only that one', async ([when, kept]) => {
    const db = await openHostile(dir);
    writeFileSync(dir.file('commit'), when);
    const unknown = await rejection(db.api.hostile.add('a'), ExecutorError);
    expect(unknown.outcome).toBe('unknown');
    rmSync(dir.file('commit'));
    await db.api.hostile.add('b');
    expect(committed(dir)).toEqual([...kept, 'b/1']);
  });

  test('after a COMMIT, before the answer, says that the write was committed', async () => {
    const db = await openHostile(dir);
    const error = await rejection(db.api.hostile.addAndExitAfterCommit('a'), ExecutorError);
    expect(error).toMatchObject({
      outcome: 'committed',
      message: expect.stringContaining('its result is lost') as string,
    });
    await db.api.hostile.add('b');
    expect(committed(dir)).toEqual(['a/1', 'b/1']);
  });

  test('after the COMMIT of a caller that is alone, runs nothing a second time', async () => {
    const db = await openHostile(dir);
    for (let at = 0; at < 12; at++) await db.api.hostile.add(`alone ${at}`);
    const error = await rejection(db.api.hostile.addAndExitAfterCommit('a'), ExecutorError);
    expect(error.outcome).toBe('committed');
    await db.api.hostile.add('b');
    expect(committed(dir).filter((row) => !row.startsWith('alone'))).toEqual(['a/1', 'b/1']);
  });

  test('is replaced also where nothing but its calls keeps the process alive', async () => {
    const main = new URL('../support/alone-main.ts', import.meta.url).pathname;
    createLedger(dir.file());
    const child = spawn(process.execPath, ['--conditions=sluice-source', main, dir.file()], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [output, ended] = await Promise.all([text(child.stdout), once(child, 'exit')]);
    expect(output).toBe('rolled-back\nnext\nhere: next\n');
    expect(ended[0]).toBe(0);
  });

  test('under a transaction undoes it, refuses its calls, and the lane goes on', async () => {
    const db = await openHostile(dir);
    const log: unknown[] = [];
    const transaction = rejection(
      db.transaction(async (api) => {
        await api.hostile.add('a');
        await api.hostile.addAndExit('b').catch((error: unknown) => log.push(error));
        await api.hostile.add('c').catch((error: unknown) => log.push(error));
      }),
      ExecutorError,
    );
    const after = db.api.hostile.add('d');
    expect(await transaction).toMatchObject({ outcome: 'rolled-back' });
    await after;
    expect(log[0]).toBeInstanceOf(ExecutorError);
    expect(log[1]).toBeInstanceOf(TransactionEndedError);
    expect(committed(dir)).toEqual(['d/1']);
  });

  test('at the COMMIT of a transaction leaves it unknown', async () => {
    const db = await openHostile(dir);
    const failed = rejection(
      db.transaction(async (api) => {
        await api.hostile.add('a');
        writeFileSync(dir.file('commit'), 'before');
      }),
      ExecutorError,
    );
    expect((await failed).outcome).toBe('unknown');
    rmSync(dir.file('commit'));
    expect(await db.api.hostile.listed()).toEqual([]);
  });

  test('of memory takes nothing else with it', async () => {
    const db = await openHostile(dir, { timeout: 60_000, resourceLimits: { maxOldGenerationSizeMb: 64 } });
    const fatal = rejection(db.api.hostile.addAndExhaust('a'), ExecutorError);
    const after = db.api.hostile.add('b');
    const error = await fatal;
    expect(error).toMatchObject({ outcome: 'rolled-back', cause: { code: 'ERR_WORKER_OUT_OF_MEMORY' } });
    await after;
    expect(committed(dir)).toEqual(['b/1']);
  });

  test('again and again fails the database with an error that says so, and not in a loop', async () => {
    const db = await openHostile(dir, { timeout: 60_000 });
    writeFileSync(dir.file('import'), '');
    const since = performance.now();
    await rejection(db.api.hostile.addAndExit('a'), ExecutorError);
    const error = await rejection(db.api.hostile.add('b'), ExecutorError);
    expect(performance.now() - since, 'ms: it waits longer each time').toBeGreaterThan(10 + 20 + 40 + 80);
    expect(error).toMatchObject({ outcome: 'not-started' });
    expect(error.message).toMatch(/died 5 times in a row and is not started again.*code 5/s);
    await rejection(db.api.hostile.listed(), ExecutorError);
    await rejection(
      db.transaction(() => 1),
      ExecutorError,
    );
    expect(await db.close()).toEqual({ abandoned: [] });
    expect(committed(dir)).toEqual([]);
  });

  test('again and again, where it only reads, leaves its reads to the writer', async () => {
    const db = await openHostile(dir, { readers: 1, timeout: 60_000 });
    writeFileSync(dir.file('import'), '');
    const fatal = rejection(db.api.hostile.readAndExit(), ExecutorError);
    const queued = rejection(db.api.hostile.listed(), ExecutorError);
    await fatal;
    expect(await db.api.hostile.add('a')).toBe(1);
    expect(await db.api.hostile.listed()).toEqual(['a/1']);
    expect((await queued).message).toMatch(/died 5 times in a row/);
    expect(await db.snapshot((api) => api.hostile.listed())).toEqual(['a/1']);
    expect(await db.close()).toEqual({ abandoned: [] });
  });

  test('with a database in memory fails it, for another one would be empty', async () => {
    const db = await openHostile(dir, { file: ':memory:' });
    const error = await rejection(db.api.hostile.readAndExit(), ExecutorError);
    expect(error.message).toMatch(/died while it was running/);
    const after = await rejection(db.api.hostile.listed(), ExecutorError);
    expect(after.message).toMatch(/its database, which was not in a file, with it.*Open a new one/);
  });

  test('while it is being started again it is waited for, as long as the deadline says', async () => {
    const db = await openHostile(dir, { timeout: 250 });
    writeFileSync(dir.file('import'), '');
    const fatal = rejection(db.api.hostile.addAndExit('a'), ExecutorError);
    const late = await rejection(db.api.hostile.add('b'), Error);
    expect(late).toMatchObject({ outcome: 'not-started' });
    await fatal;
    expect(committed(dir)).toEqual([]);
  });

  test('finds its migrations again, wherever the process works by then', async () => {
    const before = process.cwd();
    dir.atEnd(() => {
      process.chdir(before);
    });
    process.chdir(fileURLToPath(new URL('../..', import.meta.url)));
    const db = await open({ strategy: 'executor', file: dir.file(), repositories: hostile, migrations: 'drizzle' });
    dir.atEnd(() => db.close({ drain: 2000 }));
    process.chdir(dir.path);
    await rejection(db.api.hostile.readAndExit(), ExecutorError);
    expect(await db.api.hostile.echo(1)).toBe(1);
  });

  test('when it is opened rejects the opening, with what the module threw or did', async () => {
    writeFileSync(dir.file('import'), '');
    const error = await rejection(openHostile(dir), ExecutorError);
    expect(error.message).toMatch(/died while it was importing .*hostile\.ts.*code 5/);
    expect(dir.descriptors()).toEqual([]);
  });
});

describe('a registry’s module', () => {
  const dir = useTempDir();

  test('that opens the database when it is imported is refused with an explanation', async () => {
    const { selfish } = await import('../support/selfish.ts');
    const opening = open({ file: dir.file(), repositories: selfish, strategy: 'executor' });
    expect((await rejection(opening, StrategyError)).message).toMatch(
      /selfish\.ts is being imported.*in a module of its own/,
    );
    expect(dir.descriptors()).toEqual([]);
  });

  test('that does not export the registry is refused with what to do', async () => {
    const hidden = { url: new URL('../support/waiting.ts', import.meta.url).href, repositories: hostile.repositories };
    const opening = open({ file: dir.file(), repositories: hidden, strategy: 'executor' });
    expect((await rejection(opening, Error)).message).not.toBe('');
  });
});

test('an answer that has arrived counts, however late its caller’s own thread comes to look at it', async () => {
  const dir = new TempDir();
  onTestFinished(() => dir.end());
  const db = await openHostile(dir);
  const calls = db.context({ timeout: 50 }, () => [db.api.hostile.listed(), db.api.hostile.add('a')] as const);
  await new Promise((resolve) => setImmediate(resolve));
  const end = performance.now() + 1500;
  while (performance.now() < end);
  expect(await Promise.all(calls)).toEqual([[], 1]);
});

describe('a thread that is stuck in a query', () => {
  const dir = useTempDir();

  test.for(['before it begins', 'while it runs'] as const)(
    'keeps nothing of a write that was given up %s, also where its caller has been alone',
    async (when) => {
      const db = await openHostile(dir);
      for (let at = 0; at < 12; at++) await db.api.hostile.add(`alone ${at}`);
      await db.api.hostile.clear();
      const busy = when === 'before it begins' ? db.api.hostile.stuck(SECONDS) : undefined;
      const late = db.context({ timeout: 50 }, () =>
        when === 'before it begins' ? db.api.hostile.add('late') : db.api.hostile.addAndStick('late', SECONDS),
      );
      const error = await rejection(late, TimeoutError);
      expect(error.outcome).toBe(when === 'before it begins' ? 'not-started' : 'rolled-back');
      await busy;
      expect(await db.snapshot((api) => api.hostile.listed())).toEqual([]);
    },
  );

  test('releases its caller at the deadline, names the query, and keeps nothing of it', async () => {
    const db = await openHostile(dir);
    const since = performance.now();
    const error = await rejection(
      db.context({ timeout: 200 }, () => db.api.hostile.addAndStick('a', SECONDS)),
      TimeoutError,
    );
    expect(performance.now() - since).toBeLessThan(1500);
    expect(error).toMatchObject({ outcome: 'rolled-back', wait: 'handler', holder: { label: 'hostile.addAndStick' } });
    expect(error.message).toMatch(/hostile\.addAndStick: had not ended after/);
    // Its COMMIT finds that nobody waits for it.
    await db.context({ timeout: 60_000 }, () => db.api.hostile.add('b'));
    expect(committed(dir)).toEqual(['b/1']);
  });

  test('is named as the holder to those who waited behind it in vain', async () => {
    const db = await openHostile(dir, { timeout: 300 });
    const stuck = db.api.hostile.stuck(SECONDS);
    const error = await rejection(db.api.hostile.add('a'), TimeoutError);
    expect(error).toMatchObject({ outcome: 'not-started', wait: 'executor', holder: { label: 'hostile.stuck' } });
    await stuck;
    expect(committed(dir)).toEqual([]);
  });

  test('is named, and no transaction that is open beside it or around the call', async () => {
    // | a transaction       | outside            |
    // |---------------------|--------------------|
    // | is open             |                    |
    // |                     | the query begins   |
    // | reads: too late     | reads: too late    |
    const db = await openHostile(dir, { timeout: 60_000 });
    const began = dir.file('began');
    const inside = gate();
    const late = (label: string): Promise<TimeoutError> =>
      db.context({ timeout: 100, label }, () => rejection(db.api.hostile.listed(), TimeoutError));
    const transaction = db.transaction(async (api) => {
      await api.hostile.add('a');
      inside.open();
      await until('the query to begin', () => existsSync(began));
      return late('inside');
    });
    await inside.passed;
    const stuck = db.api.hostile.stuckSince(began, SECONDS);
    await until('the query to begin', () => existsSync(began));
    const errors = await Promise.all([transaction, late('outside')]);
    for (const error of errors) {
      expect(error).toMatchObject({ wait: 'executor', holder: { label: 'hostile.stuckSince' } });
    }
    await stuck;
  });

  test('is left to itself by a close with a deadline, which names it', async () => {
    const db = await openHostile(dir);
    const thread = startThread(dir, db);
    expect(await thread.tell({ kind: 'transact', call: 'b' })).toBe('inside');
    const ended = once(thread.worker, 'message') as Promise<[{ error: EncodedError }]>;
    const stuck = rejection(db.api.hostile.stuck(SECONDS * 3), ClosedError);
    await db.context({ timeout: 50 }, () => rejection(db.api.hostile.add('a'), TimeoutError));
    const since = performance.now();
    const report = await db.close({ drain: 50 });
    expect(performance.now() - since).toBeLessThan(4000);
    expect(report.abandoned).toEqual(['hostile.stuck']);
    await stuck;
    // What other threads have in there ends with the close, too, though the thread cannot name it.
    const theirs = decodeError((await ended)[0].error);
    expect(theirs).toBeInstanceOf(ClosedError);
    expect(theirs).toMatchObject({
      outcome: 'rolled-back',
      message: expect.stringContaining('has closed it') as string,
    });
    // The thread ends with its query; the file stays open until then.
    await expect.poll(() => dir.descriptors(), { timeout: 60_000 }).toEqual([]);
  }, 60_000);

  test('is not blamed on who has given up waiting for it', async () => {
    const db = await openHostile(dir);
    const far = connect(db.port(), hostile);
    await far.api.hostile.listed();
    const begun = dir.file('begun');
    const stuck = db.api.hostile.stuckSince(begun, SECONDS);
    await until('the query to begin', () => existsSync(begun));
    const wait = (timeout: number): Promise<TimeoutError> =>
      far.context({ timeout }, () => rejection(far.api.hostile.listed(), TimeoutError));
    const [, second] = await Promise.all([wait(20), wait(250)]);
    // Who is stuck called from elsewhere.
    expect(second.message).toContain('did not start; the thread does not answer');
    await stuck;
    await far.close();
  });

  test('by a query with sluice_cancelled() in it is free again soon after', async () => {
    const db = await openHostile(dir);
    await db.context({ timeout: 200 }, () => rejection(db.api.hostile.stuckUnlessCancelled(SECONDS * 100), Error));
    const since = performance.now();
    expect(await db.api.hostile.listed()).toEqual([]);
    expect(performance.now() - since).toBeLessThan(2000);
  });

  test('by a handler that walks a stream is free again soon after', async () => {
    const db = await openHostile(dir);
    for (let at = 0; at < 100; at++) await db.api.hostile.add(String(at));
    await db.context({ timeout: 100 }, () => rejection(db.api.hostile.linger(100), TimeoutError));
    const since = performance.now();
    expect(await db.api.hostile.linger(0)).toBe(100);
    expect(performance.now() - since).toBeLessThan(5000);
  });

  test('by a handler that looks at its signal is free again soon after', async () => {
    const db = await openHostile(dir);
    const controller = new AbortController();
    const begun = dir.file('begun');
    const long = db.context({ signal: controller.signal }, () => db.api.hostile.untilGivenUp(30_000, begun));
    const aborted = rejection(long, Error);
    await until('the handler to begin', () => existsSync(begun));
    controller.abort('enough');
    expect(await aborted).toMatchObject({ name: 'AbortError', cause: 'enough' });
    const since = performance.now();
    await db.api.hostile.add('a');
    expect(performance.now() - since).toBeLessThan(2000);
  });

  test('by a write that is given up does not run those behind it for nothing', async () => {
    const db = await openHostile(dir, { batch: { slice: 10_000 } });
    const [first, second] = [dir.file('first'), dir.file('second')];
    const controller = new AbortController();
    const long = db.context({ signal: controller.signal }, () =>
      rejection(db.api.hostile.addUntilGivenUp('a', 30_000, first), AbortError),
    );
    const behind = db.api.hostile.addUntilGivenUp('b', 0, second);
    await until('the handler to begin', () => existsSync(`${first}.begun`));
    controller.abort();
    expect(await long).toMatchObject({ outcome: 'rolled-back' });
    await behind;
    expect(readFileSync(`${second}.begun`, 'utf8')).toBe('.');
    expect(committed(dir)).toEqual(['b/1']);
  });

  test('by a write does not run those behind it for nothing when one before it is given up', async () => {
    const db = await openHostile(dir, { batch: { slice: 10_000 } });
    const [first, second, third] = [dir.file('first'), dir.file('second'), dir.file('third')];
    const controller = new AbortController();
    const before = db.context({ signal: controller.signal }, () =>
      rejection(db.api.hostile.addUntilGivenUp('a', 0, first), AbortError),
    );
    const calls = [db.api.hostile.addUntilGivenUp('b', 500, second), db.api.hostile.addUntilGivenUp('c', 0, third)];
    await until('the second one to begin', () => existsSync(`${second}.begun`));
    controller.abort();
    expect(await before).toMatchObject({ outcome: 'rolled-back' });
    await Promise.all(calls);
    expect(readFileSync(`${third}.begun`, 'utf8')).toBe('.');
    expect(committed(dir)).toEqual(['b/1', 'c/1']);
  });

  // In a batch, and as the only caller there has been for a while, whose calls run at once.
  test.for([0, 20])(
    'by a write without a context, after %i others, is left by it when a close gives up',
    async (others) => {
      const db = await openHostile(dir);
      for (let at = 0; at < others; at++) await db.api.hostile.add(String(at));
      const noticed = dir.file('noticed');
      const long = rejection(db.api.hostile.addUntilGivenUp('long', 30_000, noticed), ClosedError);
      await db.close({ drain: 300 });
      expect(await long).toMatchObject({ outcome: 'rolled-back' });
      await until('the handler to notice', () => existsSync(noticed));
      expect(committed(dir)).toHaveLength(others);
    },
  );

  test('a transaction that waits for somebody else is undone at the deadline of its context', async () => {
    const db = await openHostile(dir);
    const error = await rejection(
      db.context({ timeout: 100 }, () =>
        db.transaction(async (api) => {
          await api.hostile.add('a');
          await gate().passed;
        }),
      ),
      TimeoutError,
    );
    expect(error).toMatchObject({ outcome: 'rolled-back', wait: 'callback' });
    await db.api.hostile.add('b');
    expect(committed(dir)).toEqual(['b/1']);
  });
});

test('a call in a transaction that runs past its own deadline is waited for, because it is kept with the transaction', async () => {
  const dir = new TempDir();
  onTestFinished(() => dir.end());
  const db = await openHostile(dir);
  await db.transaction(async (api) => {
    await db.context({ timeout: 50 }, () => api.hostile.addAndStick('a', SECONDS));
  });
  expect(committed(dir)).toEqual(['a/1']);
});
