/** What a close meets at its edges: other databases on the file, calls that are on their way, closes that fail. */
import { getEventListeners, once } from 'node:events';
import Sqlite from 'better-sqlite3';
import { describe, expect, test, vi } from 'vitest';
import {
  ClosedError,
  ContextError,
  DeadlockError,
  defineAsyncRepository,
  defineRepositories,
  defineRepository,
  InternalError,
  open,
  TimeoutError,
} from '../../src/index.ts';
import { createLedger, entries, type LedgerDatabase } from '../support/ledger.ts';
import { MIB, openNotebook, walOf, write } from '../support/notes.ts';
import { committed, openLedger } from '../support/open-ledger.ts';
import { exhaust, fill, iterate } from '../support/streaming.ts';
import { IN_THREAD } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { gate, rejection } from '../support/waiting.ts';

for (const strategy of IN_THREAD) {
  describe(`a close, ${strategy.title}`, () => {
    const dir = useTempDir();

    /** A transaction that holds the lane until it is told to end. */
    async function holdLane(db: LedgerDatabase): Promise<{ end: () => Promise<void> }> {
      const [begun, held] = [gate(), gate()];
      const transaction = db.context({ label: 'POST /transfers' }, () =>
        db.transaction(async (api) => {
          await api.entries.run('other', ['row']);
          begun.open();
          await held.passed;
        }),
      );
      await begun.passed;
      const end = (): Promise<void> => {
        held.open();
        return transaction;
      };
      dir.atEnd(end);
      return { end };
    }

    /** From now on notes the handles of this file. The answer begins a statement on each, which the driver then does not close. */
    function watchHandles(): () => () => void {
      const seen = vi.spyOn(Sqlite.prototype, 'prepare');
      dir.atEnd(() => {
        seen.mockRestore();
      });
      return () => {
        const handles = [...new Set(seen.mock.contexts as Sqlite.Database[])].filter(
          ({ name, open }) => open && name === dir.file(),
        );
        expect(handles.length).toBeGreaterThan(0);
        const rows = handles.map((handle) => handle.prepare('SELECT 1 UNION SELECT 2').iterate());
        for (const each of rows) each.next();
        return () => {
          for (const each of rows) each.return?.();
        };
      };
    }

    test('that gives up ends although another database on the file holds the lane for ever', async () => {
      const other = await openLedger(dir, strategy);
      const db = await openLedger(dir, strategy);
      const { end } = await holdLane(other);
      const queued = rejection(db.api.entries.run('a'), ClosedError);
      expect(await db.close({ drain: 20 })).toEqual({ abandoned: ['entries.run'] });
      expect((await queued).outcome).toBe('not-started');
      await end();
      expect(committed(dir)).toEqual(['other/1']);
    });

    test('that gives up waits for what it undoes, and not for what another database queued behind that', async () => {
      // | database               | other          |
      // |------------------------|----------------|
      // | transaction begins     |                |
      // |                        | is queued      |
      // | close, gives up        |                |
      // | transaction is undone  |                |
      // | is closed              | begins, stays  |
      const other = await openLedger(dir, strategy);
      const db = await openLedger(dir, strategy);
      const begun = gate();
      const undone = rejection(
        db.transaction(async (api) => {
          await api.entries.run('a', ['row']);
          begun.open();
          await gate().passed;
        }),
        ClosedError,
      );
      await begun.passed;
      const holds = holdLane(other);
      expect(await db.close({ drain: 20 })).toEqual({ abandoned: ['transaction'] });
      expect((await undone).outcome).toBe('rolled-back');
      await (await holds).end();
      expect(committed(dir)).toEqual(['other/1']);
    });

    test('that has nothing to finish does not wait for another database', async () => {
      const other = await openLedger(dir, strategy);
      const db = await openLedger(dir, strategy);
      const { end } = await holdLane(other);
      expect(await db.close()).toEqual({ abandoned: [] });
      await end();
    });

    test('that waits for long for another database says for what', async () => {
      const other = await openLedger(dir, strategy);
      const db = await openLedger(dir, strategy, { timeout: 20_000 });
      const { end } = await holdLane(other);
      const queued = db.api.entries.run('queued', ['row']);
      const warned = once(process, 'warning') as Promise<[Error & { code: string }]>;
      const closing = db.close();
      const [warning] = await warned;
      expect(warning.code).toBe('SLUICE_CLOSE_WAITS');
      expect(warning.message).toMatch(/waited 5000 ms for transaction in POST \/transfers for \d+ ms, called/);
      await end();
      await queued;
      await closing;
    });

    test.for(['snapshot', 'transaction'] as const)(
      'that gives up at once ends a %s that was about to begin',
      async (kind) => {
        const db = await openLedger(dir, strategy);
        let begun = false;
        const about = db[kind](() => {
          begun = true;
          return gate().passed;
        });
        const abandoned = rejection(about, ClosedError);
        const report = await db.context({ signal: AbortSignal.abort() }, () => db.close());
        expect(report).toEqual({ abandoned: [kind] });
        await abandoned;
        expect(begun, 'its callback ran').toBe(false);
      },
    );

    test('that gives up ends a snapshot and a transaction whose turn has just come', async () => {
      // | first            | second                    | close            |
      // |------------------|---------------------------|------------------|
      // | holds its turn   | waits for it              |                  |
      // | ends             | has it, has not begun     |                  |
      // |                  |                           | gives up         |
      for (const kind of ['snapshot', 'transaction'] as const) {
        const file = dir.file(`${kind}.db`);
        const db = await openLedger(dir, strategy, { file, readers: 1 });
        const [begun, held] = [gate(), gate()];
        const first = db[kind](async () => {
          begun.open();
          await held.passed;
        });
        await begun.passed;
        const second = rejection(
          db[kind](() => gate().passed),
          ClosedError,
        );
        held.open();
        await first;
        const report = await db.context({ signal: AbortSignal.abort() }, () => db.close());
        expect(report).toEqual({ abandoned: [kind] });
        await second;
      }
    });

    test('that comes after the end leaves no timer and no listener behind', async () => {
      const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
      const { signal } = new AbortController();
      const db = await openLedger(dir, strategy);
      const report = await db.close();
      const before = timers();
      expect(await db.close({ drain: 60_000 })).toBe(report);
      expect(await db.context({ timeout: 60_000, signal }, () => db.close())).toBe(report);
      expect(timers()).toBe(before);
      expect(getEventListeners(signal, 'abort')).toEqual([]);
    });

    test('has SQLite bring its statistics up to date', async () => {
      const seen = vi.spyOn(Sqlite.prototype, 'pragma');
      dir.atEnd(() => {
        seen.mockRestore();
      });
      const db = await openLedger(dir, strategy);
      await db.api.entries.run('a', ['row']);
      const asked = (): number => seen.mock.calls.filter(([pragma]) => pragma === 'optimize').length;
      expect(asked()).toBe(0);
      await db.close();
      expect(asked()).toBe(1);
    });

    test('that failed has closed nothing, and the WAL is kept in bounds as before', async () => {
      const occupy = watchHandles();
      const db = await openNotebook(dir, strategy, { pragmas: { journal_size_limit: MIB } });
      await db.api.notes.size();
      const end = occupy();
      expect((await rejection(db.close(), InternalError)).message).toContain('nothing was closed');
      end();

      let largest = 0;
      for (let written = 0; written < 6; written++) {
        await write(db, 1);
        largest = Math.max(largest, walOf(dir));
      }
      expect(db.stats().wal?.checkpoints).toBeGreaterThan(0);
      expect(largest).toBeLessThanOrEqual(2 * MIB);
      expect(await db.close()).toEqual({ abandoned: [] });
    });

    test('that gave up and failed gives up on nothing that comes later', async () => {
      const occupy = watchHandles();
      const db = await openNotebook(dir, strategy);
      const end = occupy();
      await rejection(
        db.context({ signal: AbortSignal.abort() }, () => db.close()),
        InternalError,
      );
      end();
      await db.api.notes.add();
      await db.transaction((api) => api.notes.add());
      expect(await db.snapshot((api) => api.notes.size())).toBe(2);
    });

    test('inside a transaction of another database on the file is refused at once, and the database stays open', async () => {
      const other = await openLedger(dir, strategy);
      const db = await openLedger(dir, strategy);
      const closed = other.transaction(async () => {
        const error = await rejection(db.close(), DeadlockError);
        expect(error.cycle[0]).toMatch(/^transaction waits for the write lane of .*ledger\.db$/);
      });
      await closed;
      await db.api.entries.run('a', ['row']);
      expect(await db.close()).toEqual({ abandoned: [] });
      expect(committed(dir)).toEqual(['a/1']);
    });

    test('inside a transaction that an earlier close waits for is refused too', async () => {
      const other = await openLedger(dir, strategy);
      const db = await openLedger(dir, strategy);
      const [begun, held] = [gate(), gate()];
      const transaction = other.transaction(async () => {
        begun.open();
        await held.passed;
        await rejection(db.close(), DeadlockError);
      });
      await begun.passed;
      const closing = db.close();
      held.open();
      await transaction;
      expect(await closing).toEqual({ abandoned: [] });
    });

    test.for(['transaction', 'snapshot'] as const)(
      'in what a nested transaction left behind is refused while the outer %s is open',
      async (kind) => {
        const db = await openLedger(dir, strategy);
        await db[kind](async () => {
          const ended = gate();
          let close: Promise<unknown> | undefined;
          await db[kind](() => {
            close = ended.passed.then(() => db.close());
          });
          ended.open();
          expect((await rejection(Promise.resolve(close), Error)).message).toContain('would wait');
        });
        await db.api.entries.run('a', ['row']);
        expect(committed(dir)).toEqual(['a/1']);
      },
    );

    test('inside a transaction of another file is not refused, and ends', async () => {
      const other = await openLedger(dir, strategy, { file: dir.file('other.db') });
      const db = await openLedger(dir, strategy);
      const queued = db.api.entries.run('a', ['row']);
      expect(await other.transaction(() => db.close())).toEqual({ abandoned: [] });
      await queued;
    });

    test.for(['call', 'transaction', 'nested transaction'] as const)(
      'that an effect makes, of a %s, waits for the commit before it and for nothing else',
      async (of) => {
        createLedger(dir.file());
        let closed: Promise<unknown> | undefined;
        const closer = defineRepository(entries, {
          writes: (drizzle, { afterCommit }) => ({
            add(call: string) {
              drizzle.insert(entries).values({ call, part: 1 }).run();
              afterCommit(() => {
                closed = db.close();
              });
            },
          }),
        });
        const repositories = defineRepositories(import.meta.url, { closer });
        const db = await open({ file: dir.file(), repositories, strategy: strategy.name });
        if (of === 'call') await db.api.closer.add('a');
        else if (of === 'transaction') await db.transaction((api) => api.closer.add('a'));
        else await db.transaction(() => db.transaction((api) => api.closer.add('a')));
        expect(await closed).toEqual({ abandoned: [] });
        expect(committed(dir)).toEqual(['a/1']);
      },
    );

    test.for([false, true])('that an asynchronous handler awaits ends, detached: %s', async (detached) => {
      createLedger(dir.file());
      let closed: Promise<unknown> | undefined;
      const closer = defineAsyncRepository(entries, {
        writes: (drizzle) => ({
          async add(call: string) {
            await drizzle.insert(entries).values({ call, part: 1 });
            await (closed = detached ? db.detached(() => db.close()) : db.close());
          },
        }),
      });
      const repositories = defineRepositories(import.meta.url, { closer });
      const db = await open({ file: dir.file(), repositories, strategy: strategy.name, timeout: 100 });
      dir.atEnd(() => db.close());
      const error = await rejection(db.api.closer.add('a'), detached ? TimeoutError : ContextError);
      expect(error).toMatchObject({ outcome: 'rolled-back' });
      if (detached) expect(await closed).toEqual({ abandoned: [] });
      expect(committed(dir)).toEqual([]);
    });

    test('is given way to by a consistent stream, also in the body of its own loop', async () => {
      const db = await openLedger(dir, strategy, { readers: 1 });
      const expected = await fill(db, 50);
      const rows = iterate(db.api.entries.stream({}, { batch: 1, consistent: true }));
      await rows.next();
      expect(await db.close()).toEqual({ abandoned: [] });
      expect((await exhaust(rows)).items).toHaveLength(expected.length - 1);
    });
  });
}
