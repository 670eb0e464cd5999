import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  AbortError,
  ClosedError,
  ConstraintError,
  type OpenOptions,
  ReadOnlyError,
  TimeoutError,
  TransactionEndedError,
} from '../../src/index.ts';
import { createLedger, Refusal } from '../support/ledger.ts';
import { type AsyncSteps, mixed, type MixedDatabase, user } from '../support/model.ts';
import { committed, expectNoTransaction } from '../support/open-ledger.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { expectBlocked, rejection, until } from '../support/waiting.ts';

/** Promises 2 to 5 and 10 to 14 for handlers that await: `defineAsyncRepository`. */
export function asyncHandlers(strategy: StrategyUnderTest): void {
  describe('Asynchronous handlers', () => {
    const dir = useTempDir();

    async function openMixed(
      options: Omit<Partial<OpenOptions<typeof mixed>>, 'repositories' | 'strategy'> = {},
    ): Promise<MixedDatabase> {
      if (!existsSync(dir.file())) createLedger(dir.file());
      const db = await strategy.open({ ...options, file: dir.file(), repositories: mixed });
      dir.atEnd(() => db.close({ drain: 2000 }));
      return db;
    }

    const lines = (file: string): string[] =>
      existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : [];

    /** A gate that handlers reach: a file. */
    function fileGate(name: string): { readonly file: string; readonly passed: Promise<void>; open(): void } {
      const file = dir.file(name);
      const open = (): void => {
        writeFileSync(file, '');
      };
      // A test that failed half-way has handlers waiting for it.
      dir.atEnd(open);
      return {
        file,
        get passed() {
          return until(name, () => existsSync(file));
        },
        open,
      };
    }

    /** Starts a handler that has inserted its first row, and inserts the second one when it is let go. */
    async function startHeld(
      db: MixedDatabase,
      call: string,
      log?: string,
      first: AsyncSteps = ['row'],
    ): Promise<{ readonly result: Promise<number>; go(): void }> {
      const begun = dir.file(`${call}.begun`);
      const held = fileGate(`${call}.held`);
      // The first run is undone when it is seen to wait. Only the second one comes this far by itself.
      await db.api.awaiting.wait(`${call}-known`, ['immediate']);
      const result = db.api.awaiting.wait(call, [...first, { touch: begun }, { until: held.file }, 'row'], log);
      result.catch(() => undefined);
      await until(`${call} to hold the lane`, () => existsSync(begun));
      return {
        result,
        go: () => {
          held.open();
        },
      };
    }

    describe('misuse', () => {
      test.for(['drizzle', 'use'] as const)('a read handler cannot write, through %s', async (how) => {
        const db = await openMixed();
        await rejection(db.api.awaiting.sneak('hidden', how), ReadOnlyError);
        await rejection(
          db.snapshot((api) => api.awaiting.sneak('hidden', how)),
          ReadOnlyError,
        );
        await rejection(
          db.transaction((api) => api.awaiting.sneak('hidden', how)),
          ReadOnlyError,
        );
        expectNoTransaction(dir);
        expect(committed(dir)).toEqual([]);
      });

      test('what a handler has forgotten cannot write while another handler holds the lane', async () => {
        // | forgotten of a       | b                    |
        // |----------------------|----------------------|
        // | a inserts, and ends  |                      |
        // |                      | inserts              |
        // |                      |   (held)             |
        // | tries to write       |                      |
        // |                      | inserts, and ends    |
        const db = await openMixed();
        const log = dir.file('a.log');
        const late = fileGate('late');
        await db.api.awaiting.hop('a', ['row', { late: late.file }], log);
        const b = await startHeld(db, 'b');
        late.open();
        await until('four tries', () => lines(`${log}.errors`).length === 4);
        expect(lines(`${log}.errors`)).toEqual(['ContextError', 'ContextError', 'ContextError', 'ContextError']);
        b.go();
        await b.result;
        expect(committed(dir)).toEqual(['a/1', 'b/1', 'b/2']);
      });

      test('what a handler has forgotten cannot write into a transaction, or while nobody writes', async () => {
        const db = await openMixed();
        const log = dir.file('a.log');
        const [inside, outside] = [fileGate('inside'), fileGate('outside')];
        await db.api.awaiting.hop('a', ['row', { late: inside.file }, { late: outside.file }], log);
        await db.transaction(async (api) => {
          inside.open();
          await until('four tries', () => lines(`${log}.errors`).length === 4);
          await api.entries.run('b', ['row']);
        });
        outside.open();
        await until('eight tries', () => lines(`${log}.errors`).length === 8);
        expect(new Set(lines(`${log}.errors`))).toEqual(new Set(['ContextError']));
        expect(committed(dir)).toEqual(['a/1', 'b/1']);
      });

      test('the first run of a handler that waits cannot write while its second run does', async () => {
        // | first run            | second run           |
        // |----------------------|----------------------|
        // | inserts              |                      |
        // |   (held), is undone  |                      |
        // |                      | inserts              |
        // |                      |   (held)             |
        // | inserts: refused     |                      |
        // |                      | inserts, and ends    |
        const db = await openMixed();
        const log = dir.file('a.log');
        const held = fileGate('held');
        const a = db.api.awaiting.wait('a', ['row', 'note', { until: held.file }, 'row', 'note'], log);
        await until('the second run', () => lines(`${log}.runs`).length === 2);
        held.open();
        expect(await a).toBe(2);
        await until('the first run to be refused', () => lines(`${log}.errors`).length > 0);
        expect(lines(`${log}.errors`)).toEqual(['ContextError']);
        expect(committed(dir)).toEqual(['a/1', 'a/2']);
        expect(lines(log), 'its effects are those of one run').toEqual(['a', 'a']);
      });

      test.for([
        ['hop', ['row', 'caught rollback', 'row']],
        ['hop', ['row', 'caught or-rollback', 'hop', 'row']],
        ['wait', ['row', 'caught rollback', 'row', 'immediate', 'row']],
        ['wait', ['row', 'caught rollback', 'immediate', 'row']],
        ['wait', ['row', 'immediate', 'caught rollback', 'immediate']],
      ] as const)(
        'a handler (%s) that catches the end of the transaction and goes on undoes itself alone: %s',
        async ([how, steps]) => {
          const db = await openMixed();
          const together = async (): Promise<void> => {
            const before = db.api.entries.run('before', ['row']);
            const guilty = rejection(db.api.awaiting[how]('guilty', steps), TransactionEndedError);
            const after = db.api.awaiting.hop('after', ['row']);
            expect(await before).toBe(1);
            expect((await guilty).outcome).toBe('rolled-back');
            expect(await after).toBe(1);
            expectNoTransaction(dir);
            expect(committed(dir)).toEqual(['before/1', 'after/1']);
          };
          // The second time it is known whether it waits.
          await together();
          await db.api.entries.clear();
          await together();
          await rejection(
            db.transaction(async (api) => {
              await api.entries.run('inside', ['row']);
              await api.awaiting[how]('guilty', steps);
            }),
            TransactionEndedError,
          );
          expectNoTransaction(dir);
          expect(committed(dir)).toEqual(['before/1', 'after/1']);
        },
      );

      test('a handler that waits too long is undone, named, and followed by the next', async () => {
        const db = await openMixed();
        await db.api.awaiting.wait('known', ['immediate']);
        const held = fileGate('held');
        const error = await db.context({ timeout: 50, label: 'GET /slow' }, () =>
          rejection(db.api.awaiting.wait('a', ['row', { until: held.file }, 'row']), TimeoutError),
        );
        expect(error).toMatchObject({ wait: 'handler', outcome: 'rolled-back', code: 'SLUICE_TIMEOUT' });
        expect(error.message).toMatch(/awaiting\.wait in GET \/slow/);
        expectNoTransaction(dir);
        await db.api.entries.run('next', ['row']);
        held.open();
        await db.api.awaiting.wait('last', ['row', 'immediate']);
        expect(committed(dir)).toEqual(['next/1', 'last/1']);
      });

      test('a read handler that waits too long gives its connection back', async () => {
        const db = await openMixed({ readers: 1 });
        const held = fileGate('held');
        const error = await db.context({ timeout: 50 }, () =>
          rejection(db.api.awaiting.held(dir.file('begun'), held.file), TimeoutError),
        );
        expect(error).toMatchObject({ wait: 'handler' });
        expectNoTransaction(dir);
        expect(await db.snapshot((api) => api.entries.count())).toBe(0);
      });
    });

    describe('that await their database only', () => {
      test('share one batch with each other and with synchronous ones', async () => {
        const db = await openMixed({ batch: { slice: 10_000 } });
        const calls = Array.from({ length: 20 }, (_, at) =>
          at % 4 === 3
            ? db.api.entries.run(String(at), ['row'])
            : db.api.awaiting.hop(String(at), ['hop', 'row', 'hop']),
        );
        await Promise.all(calls);
        await expect.poll(() => db.stats().writes).toMatchObject({ batches: 1, commits: 1, replays: 0 });
        expect(db.stats().writes?.batchSize.max).toBe(20);
        expect(db.stats().advice).toEqual([]);
        expect(committed(dir)).toEqual(calls.map((_, at) => `${at}/1`));
      });

      test('fail alone in their batch, and their effects with them', async () => {
        const db = await openMixed();
        const log = dir.file('effects.log');
        const settled = await Promise.allSettled([
          db.api.awaiting.hop('a', ['row', 'note'], log),
          db.api.awaiting.hop('b', ['row', 'note', 'throw'], log),
          db.api.awaiting.hop('c', ['row', 'note', 'rollback'], log),
          db.api.awaiting.hop('d', ['row', 'note', 'orphan'], log),
          db.api.awaiting.hop('e', ['note', 'row', 'row'], log),
        ]);
        expect(settled.map((result) => (result.status === 'fulfilled' ? 'ok' : (result.reason as Error).name))).toEqual(
          ['ok', 'Refusal', 'ConstraintError', 'ConstraintError', 'ok'],
        );
        expect(lines(log)).toEqual(['a', 'e']);
        expect(committed(dir)).toEqual(['a/1', 'e/1', 'e/2']);
      });

      test('may catch a constraint error themselves, and all else they did is kept', async () => {
        const db = await openMixed();
        expect(await db.api.awaiting.tolerant('a')).toBe('unique');
        expect(await db.transaction((api) => api.awaiting.tolerant('b'))).toBe('unique');
        expect(committed(dir)).toEqual(['a/1', 'b/1']);
      });

      test('an own exception passes through, and says what became of the call', async () => {
        const db = await openMixed();
        for (const how of ['hop', 'wait'] as const) {
          for (let round = 0; round < 2; round++) {
            const steps = how === 'hop' ? ['row', 'throw'] : ['row', 'immediate', 'throw'];
            const error = await rejection(db.api.awaiting[how]('a', steps as AsyncSteps), Error);
            expect(error).toMatchObject({ name: 'Refusal', message: 'a was refused', outcome: 'rolled-back' });
          }
        }
        expect(committed(dir)).toEqual([]);
      });
    });

    describe('that wait for something else', () => {
      test('run twice the first time and once from then on, and are named in the advice', async () => {
        const db = await openMixed();
        const log = dir.file('a.log');
        await db.api.awaiting.hop('other', ['row']);
        expect(db.stats().advice).toEqual([]);
        await db.api.awaiting.wait('a', ['row', 'note', 'timer', 'row'], log);
        expect(lines(`${log}.runs`)).toEqual(['a', 'a']);
        expect(lines(log), 'effects').toEqual(['a']);
        await expect
          .poll(() => db.stats().advice)
          .toEqual([expect.stringMatching(/^awaiting\.wait waits for something other than/)]);
        await db.api.awaiting.wait('b', ['row', 'note', 'immediate', 'row'], log);
        await db.api.awaiting.wait('c', ['row', 'note', 'file', 'row'], log);
        expect(lines(`${log}.runs`)).toEqual(['a', 'a', 'b', 'c']);
        expect(lines(log), 'effects').toEqual(['a', 'b', 'c']);
        expect(committed(dir)).toEqual(['other/1', 'a/1', 'a/2', 'b/1', 'b/2', 'c/1', 'c/2']);
      });

      test('of several callers each runs alone, in the order of arrival', async () => {
        const db = await openMixed();
        const log = dir.file('a.log');
        const calls = ['a', 'b', 'c', 'd'].map((call, at) =>
          at === 2
            ? db.api.entries.run(call, ['row'])
            : db.api.awaiting.wait(call, ['row', at === 3 ? 'hop' : 'immediate', 'row'], log),
        );
        await Promise.all(calls);
        expect(lines(`${log}.runs`)).toEqual(['a', 'a', 'b', 'd']);
        expect(committed(dir)).toEqual(['a/1', 'a/2', 'b/1', 'b/2', 'c/1', 'd/1', 'd/2']);
      });

      test('have a transaction of their own: who came before is committed, who comes after waits', async () => {
        // | before       | waits                | after           |
        // |--------------|----------------------|-----------------|
        // | run, commit  |                      |                 |
        // |              | inserts              |                 |
        // |              |   (held)             | run: blocked    |
        // |              | inserts, commit      |                 |
        // |              |                      | runs            |
        const db = await openMixed();
        const held = fileGate('held');
        const begun = dir.file('begun');
        const log = dir.file('a.log');
        const before = db.api.entries.run('before', ['row']);
        const waits = db.api.awaiting.wait('waits', ['row', { touch: begun }, { until: held.file }, 'row'], log);
        const after = db.api.entries.run('after', ['row']);
        await before;
        await until('its second run', () => lines(`${log}.runs`).length === 2);
        await expectBlocked(waits);
        await expectBlocked(after);
        expect(committed(dir)).toEqual(['before/1']);
        if (strategy.readsDuringTransaction) expect(await db.api.entries.listed()).toEqual(['before/1']);
        held.open();
        await Promise.all([waits, after]);
        expect(committed(dir)).toEqual(['before/1', 'waits/1', 'waits/2', 'after/1']);
      });

      test('are named as the holder while they hold the lane', async () => {
        const db = await openMixed();
        const a = await startHeld(db, 'a');
        const late = () => db.context({ timeout: 30 }, () => rejection(db.api.entries.run('late'), TimeoutError));
        const error = await late();
        expect(error).toMatchObject({ wait: 'write lane', outcome: 'not-started' });
        expect(error.holder?.label).toBe('awaiting.wait');
        expect(error.message).toMatch(/awaiting\.wait/);
        a.go();
        await a.result;
        expect(committed(dir)).toEqual(['a/1', 'a/2']);
      });

      test('are undone when their signal aborts', async () => {
        const db = await openMixed();
        await db.api.awaiting.wait('known', ['immediate']);
        const controller = new AbortController();
        const [begun, held] = [fileGate('begun'), fileGate('held')];
        const a = db.context({ signal: controller.signal }, () =>
          db.api.awaiting.wait('a', ['row', { touch: begun.file }, { until: held.file }, 'row']),
        );
        const aborted = rejection(a, AbortError);
        await begun.passed;
        controller.abort('enough');
        expect(await aborted).toMatchObject({ outcome: 'rolled-back', cause: 'enough' });
        expectNoTransaction(dir);
        await db.api.entries.run('next', ['row']);
        expect(committed(dir)).toEqual(['next/1']);
      });

      test('one that a transaction has called ends with the signal, the deadline or the time limit, and the transaction goes on', async () => {
        const db = await openMixed({ timeout: 300 });
        const held = fileGate('held');
        await db.transaction(async (api) => {
          const wait = (call: string): Promise<number> => api.awaiting.wait(call, ['row', { until: held.file }]);
          expect(await rejection(wait('a'), TimeoutError)).toMatchObject({ wait: 'handler', outcome: 'rolled-back' });
          const late = db.context({ timeout: 50 }, () => wait('b'));
          expect(await rejection(late, TimeoutError)).toMatchObject({ wait: 'handler', outcome: 'rolled-back' });
          const aborted = db.context({ signal: AbortSignal.timeout(50) }, () => wait('c'));
          expect(await rejection(aborted, AbortError)).toMatchObject({ outcome: 'rolled-back' });
          await api.entries.run('d', ['row']);
        });
        expect(committed(dir)).toEqual(['d/1']);
        expectNoTransaction(dir);
      });

      test('a close that has a deadline gives up on one, names it, and keeps nothing of it', async () => {
        const db = await openMixed();
        const a = await startHeld(db, 'a');
        const straggler = rejection(a.result, ClosedError);
        const queued = rejection(db.api.awaiting.hop('b', ['row']), ClosedError);
        const report = await db.close({ drain: 20 });
        expect(report.abandoned).toEqual(['awaiting.wait', 'awaiting.hop']);
        expect((await straggler).outcome).toBe('rolled-back');
        expect((await queued).outcome).toBe('not-started');
        expect(dir.descriptors()).toEqual([]);
        expect(committed(dir)).toEqual([]);
      });

      test('a close that has a deadline gives up on one that reads', async () => {
        const db = await openMixed();
        const [begun, held] = [fileGate('begun'), fileGate('held')];
        const read = rejection(db.api.awaiting.held(begun.file, held.file), ClosedError);
        await begun.passed;
        const report = await db.close({ drain: 20 });
        expect(report.abandoned).toEqual(['awaiting.held']);
        await read;
        expect(dir.descriptors()).toEqual([]);
      });

      test('a close without a deadline waits for one', async () => {
        const db = await openMixed();
        const a = await startHeld(db, 'a');
        const closed = db.close();
        await expectBlocked(closed);
        a.go();
        expect(await a.result).toBe(2);
        expect(await closed).toEqual({ abandoned: [] });
        expect(committed(dir)).toEqual(['a/1', 'a/2']);
      });
    });

    describe('that read', () => {
      test.for(['hopping', 'waiting'] as const)('see one state across awaits, many at once (%s)', async (how) => {
        const db = await openMixed({ readers: 2 });
        const reads = Array.from({ length: 8 }, async (_, at) => {
          if (at % 2 === 0) await db.api.entries.run(String(at));
          return db.api.awaiting[how]();
        });
        for (const [first, second] of await Promise.all(reads)) {
          expect(second).toEqual(first);
          expect(first.length % 2).toBe(0);
        }
      });

      test('see one state across awaits while others write, or make these writes wait', async () => {
        // | reader          | writer                                      |
        // |-----------------|---------------------------------------------|
        // | lists: nothing  |                                             |
        // |   (held)        | run: resolves, or is blocked until the end  |
        // | lists: nothing  |                                             |
        const db = await openMixed();
        const [begun, held] = [fileGate('begun'), fileGate('held')];
        const read = db.api.awaiting.held(begun.file, held.file);
        await begun.passed;
        const write = db.api.entries.run('a');
        if (strategy.writesDuringSnapshot) await write;
        else await expectBlocked(write);
        held.open();
        expect(await read).toEqual([[], []]);
        await write;
        expect(await db.api.awaiting.hopping()).toEqual([
          ['a/1', 'a/2'],
          ['a/1', 'a/2'],
        ]);
      });

      test('see what a transaction or snapshot around them sees', async () => {
        const db = await openMixed();
        await db.transaction(async (api) => {
          await api.entries.run('a', ['row']);
          expect(await api.awaiting.waiting()).toEqual([['a/1'], ['a/1']]);
          await db.detached(async () => {
            if (strategy.readsDuringTransaction) expect(await db.api.awaiting.waiting()).toEqual([[], []]);
          });
        });
        const seen = await db.snapshot(async (api) => {
          const [first] = await api.awaiting.hopping();
          const write = db.detached(() => db.api.entries.run('b', ['row']));
          if (strategy.writesDuringSnapshot) await write;
          return { views: [first, ...(await api.awaiting.waiting())], write };
        });
        await seen.write;
        expect(seen.views).toEqual([['a/1'], ['a/1'], ['a/1']]);
      });
    });

    describe('use of other repositories', () => {
      test.for(['hop', 'immediate'] as const)('runs in the same transaction, of either kind (%s)', async (ending) => {
        const db = await openMixed();
        expect(await db.api.relay.both('a', ending)).toEqual([1, 4, 2]);
        expect(committed(dir)).toEqual(['a-sync/1', 'a-async/1', 'a-async/2', 'a-table/1']);
        expect(await db.api.relay.counted()).toEqual([4, 4, 4]);
      });

      test('is undone with the call, and only with it', async () => {
        const db = await openMixed();
        const [kept, undone] = [db.api.relay.both('kept', 'hop'), db.api.relay.both('undone', 'throw')];
        await rejection(undone, Refusal);
        await kept;
        await db.transaction(async (api) => {
          await rejection(api.relay.both('undone', 'throw'), Refusal);
          expect(await api.relay.counted()).toEqual([4, 4, 4]);
        });
        expect(committed(dir)).toEqual(['kept-sync/1', 'kept-async/1', 'kept-async/2', 'kept-table/1']);
      });
    });

    describe('in a transaction', () => {
      test('siblings in Promise.all take turns, however long each takes', async () => {
        const db = await openMixed();
        const log = dir.file('effects.log');
        await db.transaction(async (api) => {
          await Promise.all([
            api.awaiting.wait('a', ['row', 'note', 'immediate', 'row'], log),
            api.entries.run('b', ['row', 'note'], log),
            api.awaiting.hop('c', ['row', 'hop', 'row', 'note'], log),
            api.awaiting.wait('d', ['row', 'timer', 'row'], log),
            api.entries.run('e', ['row', 'note'], log),
          ]);
          expect(existsSync(log), 'no effect before the commit').toBe(false);
        });
        expect(committed(dir)).toEqual(['a/1', 'a/2', 'b/1', 'c/1', 'c/2', 'd/1', 'd/2', 'e/1']);
        expect(lines(log)).toEqual(['a', 'b', 'c', 'e']);
        expect(lines(`${log}.runs`), 'each runs once').toEqual(['a', 'c', 'd']);
      });

      test('one that fails and is caught undoes itself alone', async () => {
        const db = await openMixed();
        const log = dir.file('effects.log');
        await db.transaction(async (api) => {
          const [first, second, third] = await Promise.allSettled([
            api.awaiting.wait('a', ['row', 'note', 'immediate', 'again'], log),
            api.awaiting.hop('b', ['row', 'note'], log),
            api.awaiting.hop('c', ['row', 'note', 'throw'], log),
          ]);
          expect([first.status, second.status, third.status]).toEqual(['rejected', 'fulfilled', 'rejected']);
          expect(first).toMatchObject({ reason: { outcome: 'rolled-back' } });
          expect('reason' in first && first.reason).toBeInstanceOf(ConstraintError);
        });
        expect(committed(dir)).toEqual(['b/1']);
        expect(lines(log)).toEqual(['b']);
      });

      test('one that nobody awaited is undone at the end, and refused when it goes on', async () => {
        // | callback                | a                    |
        // |-------------------------|----------------------|
        // | starts a                |                      |
        // |                         | inserts              |
        // |                         |   (held)             |
        // | run b, returns, commits |                      |
        // |                         | inserts: refused     |
        const db = await openMixed();
        const log = dir.file('a.log');
        const [begun, held] = [fileGate('begun'), fileGate('held')];
        let floating: Promise<unknown> = Promise.resolve();
        await db.transaction(async (api) => {
          await api.entries.run('b', ['row']);
          floating = rejection(
            api.awaiting.wait('a', ['row', 'note', { touch: begun.file }, { until: held.file }, 'row'], log),
            TransactionEndedError,
          );
          await begun.passed;
        });
        expect(await floating).toMatchObject({ outcome: 'rolled-back' });
        held.open();
        await until('it to go on', () => lines(`${log}.errors`).length > 0);
        expect(lines(`${log}.errors`)).toEqual(['ContextError']);
        expect(lines(log)).toEqual([]);
        expect(committed(dir)).toEqual(['b/1']);
      });
    });

    // Each thread has async contexts of its own.
    describe.runIf(strategy.inThread)('run in their caller’s own async context', () => {
      test.for(['hop', 'immediate'] as const)(
        'with their effects, and not in that of whoever came first (%s)',
        async (pause) => {
          const db = await openMixed();
          const log = dir.file('who.log');
          const by = <T>(name: string, run: () => T): T => user.run(name, run);
          await Promise.all([
            by('ann', () => db.api.plain.who(log)),
            by('bob', () => db.api.awaiting.who(log, pause)),
            by('cat', () => db.api.plain.who(log)),
            by('dan', () => db.api.awaiting.who(log, pause)),
          ]);
          const said = (name: string, how: string): string => `${how} ${name}, after the commit ${name}`;
          expect(lines(log)).toEqual([
            said('ann', 'plain'),
            said('bob', 'async'),
            said('cat', 'plain'),
            said('dan', 'async'),
          ]);
          expect(committed(dir)).toEqual(['plain ann/1', 'async bob/1', 'plain cat/1', 'async dan/1']);
        },
      );

      test('in a transaction, too', async () => {
        const db = await openMixed();
        const log = dir.file('who.log');
        await user.run('ann', () =>
          db.transaction(() =>
            Promise.all([
              user.run('bob', () => db.api.awaiting.who(log, 'immediate')),
              user.run('cat', () => db.api.plain.who(log)),
              db.api.awaiting.who(log, 'hop'),
            ]),
          ),
        );
        expect(lines(log)).toEqual([
          'async bob, after the commit bob',
          'plain cat, after the commit cat',
          'async ann, after the commit ann',
        ]);
      });

      test('and so do a caller’s handlers that another caller’s poison makes run again', async () => {
        const db = await openMixed();
        const log = dir.file('who.log');
        const [, poison] = await Promise.allSettled([
          user.run('ann', () => db.api.awaiting.who(log, 'hop')),
          user.run('bob', () => db.api.entries.run('poison', ['rollback'])),
          user.run('cat', () => db.api.plain.who(log)),
        ]);
        expect(poison.status).toBe('rejected');
        expect(lines(log)).toEqual(['async ann, after the commit ann', 'plain cat, after the commit cat']);
      });
    });
  });
}
