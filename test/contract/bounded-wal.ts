import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { ClosedError, ContextError, open, ReadOnlyError } from '../../src/index.ts';
import { enterFile, leaveFile } from '../../src/lanes/open-files.ts';
import { createNotebook, MIB, openNotebook, walOf, write } from '../support/notes.ts';
import { startPeer } from '../support/peer.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { type TempDir, useTempDir } from '../support/temp-dir.ts';
import { expectBlocked, gate, rejection, until } from '../support/waiting.ts';

interface Checkpoint {
  readonly mode: string;
  readonly thread: boolean;
  readonly complete: boolean;
}

/** The warnings of the process from now on. */
function warnings(dir: TempDir): { code: string; message: string }[] {
  const seen: { code: string; message: string }[] = [];
  const note = (warning: Error): void => {
    seen.push({ code: (warning as Error & { code?: string }).code ?? '', message: warning.message });
  };
  process.on('warning', note);
  dir.atEnd(() => process.off('warning', note));
  return seen;
}

/** The checkpoints that are run from now on. */
function checkpoints(dir: TempDir): Checkpoint[] {
  const seen: Checkpoint[] = [];
  const note = (message: unknown): void => {
    seen.push(message as Checkpoint);
  };
  subscribe('tracing:sluice:checkpoint:end', note);
  dir.atEnd(() => unsubscribe('tracing:sluice:checkpoint:end', note));
  return seen;
}

/** Whether the database has everything that is in the WAL, as another connection sees it. */
function isMoved(dir: TempDir): boolean {
  const other = dir.raw();
  try {
    const [state] = other.pragma('wal_checkpoint(NOOP)') as { log: number; checkpointed: number }[];
    return state?.log === state?.checkpointed;
  } finally {
    other.close();
  }
}

const DRIVER = createRequire(import.meta.url).resolve('better-sqlite3');
/** Commits a row again and again, in a thread, until that is terminated; between two the lock is free for as long. */
const COMMITTER = `
const { parentPort, workerData } = require('node:worker_threads');
const Sqlite = require(workerData.driver);
const handle = new Sqlite(workerData.file, { timeout: 20000 });
handle.pragma('synchronous = OFF');
handle.pragma('wal_autocheckpoint = 0');
const add = handle.prepare("INSERT INTO notes (body) VALUES ('another')");
parentPort.postMessage('ready');
setInterval(() => {
  for (let row = 0; row < 100; row++) {
    add.run();
    const until = performance.now() + 0.05;
    while (performance.now() < until);
  }
}, 0);
`;

/** The WAL is kept in bounds, whoever writes how, and nobody waits for it. */
export function boundedWal(strategy: StrategyUnderTest): void {
  describe('The WAL is kept in bounds', () => {
    // Another thread's checkpoints are traced there, and its readers have their place there.
    const heardHere = strategy.inThread;
    const dir = useTempDir();
    const limited = (mib: number) => ({ pragmas: { journal_size_limit: mib * MIB } });

    test('under any load of writes it stays under its limit', async () => {
      const db = await openNotebook(dir, strategy, limited(4));
      let largest = 0;
      for (let written = 0; written < 44; written++) {
        await write(db, 1);
        largest = Math.max(largest, walOf(dir));
      }
      expect(largest).toBeLessThanOrEqual(4 * MIB);
      expect(largest, 'written over, and not cut off each time').toBe(walOf(dir));
      // Another thread's figures are a moment old.
      if (!strategy.inThread) await until('new figures', () => db.stats().wal?.size === walOf(dir));
      expect(db.stats().wal).toMatchObject({ size: walOf(dir), limit: 4 * MIB, blocked: 0 });
      expect(db.stats().wal?.checkpoints).toBeGreaterThanOrEqual(11);
    });

    //   this connection              another thread
    //   passive checkpoint begins
    //                                COMMIT
    //   what it began with is moved
    //   the next write cannot start the WAL over, because of that commit
    test('commits of another thread during every checkpoint do not make it grow', async () => {
      // No limit, at which the file would be cut off.
      const db = await openNotebook(dir, strategy, { timeout: 20_000, pragmas: { journal_size_limit: -1 } });
      const other = new Worker(COMMITTER, { eval: true, workerData: { driver: DRIVER, file: dir.file() } });
      dir.atEnd(() => other.terminate());
      await once(other, 'message');
      let longest = 0;
      for (let written = 0; written < 80; written++) {
        await write(db, 1);
        longest = Math.max(longest, walOf(dir));
      }
      expect(longest).toBeLessThan(48 * MIB);
    });

    test('when nothing is written any more the database soon has everything', async () => {
      const db = await openNotebook(dir, strategy);
      await write(db, 1);
      expect(isMoved(dir), 'it is less than a step').toBe(false);
      await until('an idle checkpoint', () => db.stats().wal?.checkpoints === 1);
      expect(isMoved(dir)).toBe(true);
      expect(walOf(dir), 'kept to be written over').toBeGreaterThan(MIB);
    });

    test('what a crash or another process left in it is moved without a write', async () => {
      createNotebook(dir.file());
      const other = dir.raw();
      other.pragma('journal_mode = WAL');
      other.pragma('wal_autocheckpoint = 0');
      const insert = other.prepare('INSERT INTO notes (body) VALUES (?)');
      for (let at = 0; at < 200; at++) insert.run('x'.repeat(4000));
      await openNotebook(dir, strategy);
      expect(isMoved(dir)).toBe(false);
      await until('an idle checkpoint', () => isMoved(dir));
    });

    test.runIf(heardHere)(
      'much at once is moved by a thread, and the WAL is emptied where it is over its limit',
      async () => {
        const db = await openNotebook(dir, strategy, limited(4));
        const seen = checkpoints(dir);
        await db.api.notes.fill(12);
        expect(walOf(dir)).toBeGreaterThan(12 * MIB);
        await until('an empty WAL', () => walOf(dir) === 0);
        await until('its report', () => seen.length > 0);
        expect(seen.every(({ thread }) => thread)).toBe(true);
        expect(seen.at(-1)).toMatchObject({ mode: 'truncate', complete: true });
        expect(await db.api.notes.size()).toBe(12 * 256);
      },
    );

    // Linux alone says what a process has open, and with it whether the thread has begun.
    test.runIf(process.platform === 'linux')('a close waits for the thread that still has the file open', async () => {
      const db = await openNotebook(dir, strategy);
      // From here on every connection of ours has all its files open.
      await db.api.notes.add();
      await db.api.notes.size();
      const before = dir.descriptors().length;
      await db.api.notes.fill(24);
      await until('a thread', () => dir.descriptors().length > before);
      await db.close();
      expect(dir.descriptors()).toEqual([]);
      expect(walOf(dir)).toBe(0);
    });

    test.runIf(process.platform === 'linux')('writes go on while a thread moves what there is', async () => {
      const db = await openNotebook(dir, strategy);
      const seen = checkpoints(dir);
      // From here on every connection of ours has all its files open.
      await db.api.notes.add();
      await db.api.notes.size();
      const before = dir.descriptors().length;
      await db.api.notes.fill(24);
      await until('a thread', () => dir.descriptors().length > before);
      await db.api.notes.add();
      expect(seen, 'it has not ended').toEqual([]);
      expect(await db.api.notes.size()).toBe(24 * 256 + 2);
    });

    test.runIf(strategy.writesDuringSnapshot && heardHere)(
      'a snapshot in its way is named, and warned of once; after its end it is emptied without a write',
      async () => {
        // | snapshot            | writers            | policy                          |
        // |---------------------|--------------------|---------------------------------|
        // | begins              |                    |                                 |
        // |   (gate)            | write over limit   | moves nothing                   |
        // |                     |                    | warns                           |
        // |                     | write as much more | moves nothing, says nothing     |
        // | ends                |                    |                                 |
        // |                     |                    | empties the WAL                 |
        const warned = warnings(dir);
        const db = await openNotebook(dir, strategy, limited(1));
        await db.api.notes.add();
        const [begun, held] = [gate(), gate()];
        const snapshot = db.context({ label: 'GET /report' }, () =>
          db.snapshot(async (api) => {
            begun.open();
            await held.passed;
            return api.notes.size();
          }),
        );
        await begun.passed;
        await write(db, 2);
        expect(db.stats().readers.oldest).toMatchObject({ label: 'snapshot in GET /report' });
        expect(db.stats().readers.oldest?.site).toContain('bounded-wal.ts');
        await until('a warning', () => warned.length > 0);
        expect(warned[0]?.code).toBe('SLUICE_WAL_PINNED');
        expect(warned[0]?.message).toMatch(
          /limit is 1\.0 MiB.*snapshot in GET \/report for \d+ ms, called at .*bounded-wal\.ts/,
        );
        const { blocked = 0 } = db.stats().wal ?? {};
        await write(db, 4);
        expect(walOf(dir)).toBeGreaterThan(6 * MIB);
        expect(db.stats().wal?.blocked, 'it was tried again').toBeGreaterThan(blocked);
        held.open();
        expect(await snapshot).toBe(1);
        await until('an empty WAL', () => walOf(dir) === 0);
        expect(warned).toHaveLength(1);
        expect(db.stats().readers.oldest).toBeUndefined();
      },
    );

    test('another process that reads keeps it, is warned of, and keeps nobody waiting', async () => {
      const warned = warnings(dir);
      const db = await openNotebook(dir, strategy, limited(1));
      await db.api.notes.add();
      const peer = await startPeer(dir);
      await peer.ask({ kind: 'pin' });
      await write(db, 2);
      const began = performance.now();
      const report = await db.checkpoint();
      expect(performance.now() - began).toBeLessThan(500);
      expect(report).toEqual({ complete: false, size: walOf(dir), holder: undefined });
      // A thread of the program's own that has opened the database warns there.
      if (strategy.title !== 'port') {
        await until('a warning', () => warned.length > 0);
        expect(warned[0]?.code).toBe('SLUICE_WAL_PINNED');
        expect(warned[0]?.message).toMatch(/no reader of this thread is open.*another process/);
      }
      await write(db, 1);
      await peer.ask({ kind: 'unpin' });
      await until('an empty WAL', () => walOf(dir) === 0);
      expect(await db.api.notes.size()).toBe(1 + 3 * 256);
    });

    test.runIf(heardHere)(
      'two databases on one file keep it together, and each goes on without the other',
      async () => {
        const one = await openNotebook(dir, strategy, limited(4));
        const two = await openNotebook(dir, strategy);
        expect(two.stats().wal).toEqual(one.stats().wal);
        await write(one, 5);
        expect(two.stats().wal?.checkpoints).toBeGreaterThan(0);
        expect(two.stats().wal).toEqual(one.stats().wal);
        await one.close();
        const { checkpoints: before = 0 } = two.stats().wal ?? {};
        await write(two, 9);
        expect(two.stats().wal?.checkpoints).toBeGreaterThan(before + 1);
        expect(walOf(dir)).toBeLessThanOrEqual(4 * MIB);
      },
    );

    describe('checkpoint()', () => {
      test('empties it, in its turn', async () => {
        const db = await openNotebook(dir, strategy);
        const [begun, held] = [gate(), gate()];
        const transaction = db.transaction(async (api) => {
          await api.notes.add();
          begun.open();
          await held.passed;
        });
        await begun.passed;
        const checkpoint = db.checkpoint();
        await expectBlocked(checkpoint);
        held.open();
        expect(await checkpoint).toEqual({ complete: true, size: 0, holder: undefined });
        expect(walOf(dir)).toBe(0);
        await transaction;
        expect(await db.api.notes.size()).toBe(1);
      });

      test.runIf(heardHere)('empties it by a thread where it is long, and other writes come after', async () => {
        const db = await openNotebook(dir, strategy);
        const seen = checkpoints(dir);
        const [, report] = await Promise.all([db.api.notes.fill(12), db.checkpoint(), db.api.notes.add()]);
        expect(report).toEqual({ complete: true, size: 0, holder: undefined });
        expect(seen.find(({ mode }) => mode === 'truncate')).toMatchObject({ thread: true, complete: true });
        expect(await db.api.notes.size()).toBe(12 * 256 + 1);
      });

      test.runIf(strategy.writesDuringSnapshot)('says which snapshot is in its way', async () => {
        const db = await openNotebook(dir, strategy);
        await db.api.notes.add();
        const [begun, held] = [gate(), gate()];
        const snapshot = db.snapshot(async () => {
          begun.open();
          await held.passed;
        });
        await begun.passed;
        await db.api.notes.add();
        // Of another thread it is known a moment later.
        await until('the snapshot to be known', () => db.stats().readers.oldest !== undefined);
        const { complete, holder } = await db.checkpoint();
        expect(complete).toBe(false);
        expect(holder).toMatchObject({ label: 'snapshot' });
        held.open();
        await snapshot;
        expect(await db.checkpoint()).toMatchObject({ complete: true, size: 0 });
      });

      test('is refused inside a transaction or snapshot, after the close, and where nothing can be written', async () => {
        const db = await openNotebook(dir, strategy);
        for (const scope of ['transaction', 'snapshot'] as const) {
          const error = await db[scope](() => rejection(db.checkpoint(), ContextError));
          expect(error.message).toMatch(new RegExp(`^checkpoint: called inside a ${scope}`));
        }
        await db.close();
        await rejection(db.checkpoint(), ClosedError);
        const reading = await openNotebook(dir, strategy, { readonly: true });
        await rejection(reading.checkpoint(), ReadOnlyError);
      });

      // Which journal a file keeps is known to the thread that has it open.
      test.runIf(strategy.inThread)('has nothing to do with a rollback journal', async () => {
        createNotebook(dir.file());
        // A file that is open for writing already keeps the journal it has.
        const entry = enterFile(realpathSync(dir.file()), 'write', false);
        dir.atEnd(() => {
          leaveFile(entry, 'write');
        });
        const db = await openNotebook(dir, { open: (options) => open({ ...options, strategy: 'shared' }) });
        expect(db.decision.journal).toBe('rollback');
        await db.api.notes.add();
        expect(await db.checkpoint()).toEqual({ complete: true, size: 0, holder: undefined });
        expect(db.stats().wal).toBeUndefined();
      });
    });
  });
}
