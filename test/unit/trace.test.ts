import { tracingChannel } from 'node:diagnostics_channel';
import { describe, expect, test, vi } from 'vitest';
import { ConstraintError, TransactionEndedError } from '../../src/index.ts';
import { batchChannel, callChannel } from '../../src/observe/trace.ts';
import { openLedger } from '../support/open-ledger.ts';
import { IN_THREAD } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { gate, rejection, turns } from '../support/waiting.ts';

type Event = readonly [name: string, message: Readonly<Record<string, unknown>>];

for (const strategy of IN_THREAD) {
  describe(strategy.name, () => {
    const dir = useTempDir();

    /** What a program that subscribes hears of a channel. A copy, because Node goes on filling in the message. */
    function hear(name: 'sluice:call' | 'sluice:batch'): Event[] {
      const heard: Event[] = [];
      const note = (event: string) => (message: object) => void heard.push([event, { ...message }]);
      const subscriber = {
        start: note('start'),
        end: note('end'),
        asyncStart: note('asyncStart'),
        asyncEnd: note('asyncEnd'),
        error: note('error'),
      };
      const channel = tracingChannel(name);
      channel.subscribe(subscriber);
      dir.atEnd(() => {
        channel.unsubscribe(subscriber);
      });
      return heard;
    }

    const named = (heard: readonly Event[]): string[] => heard.map(([name]) => name);
    const about = (heard: readonly Event[], name: string): unknown[] =>
      heard.filter(([event]) => event === name).map(([, message]) => message);

    describe('nobody listening', () => {
      test('means that nothing is built: no message, no wrapped promise', async () => {
        const spies = [
          vi.spyOn(callChannel, 'tracePromise'),
          vi.spyOn(callChannel.error, 'publish'),
          vi.spyOn(batchChannel.start, 'publish'),
          vi.spyOn(batchChannel.end, 'publish'),
        ];
        dir.atEnd(() => {
          for (const spy of spies) spy.mockRestore();
        });
        const db = await openLedger(dir, strategy);
        await db.api.entries.run('a', ['row']);
        await db.api.entries.count();
        await rejection(db.api.entries.run('a', ['row']), ConstraintError);
        await db.transaction(async (api) => {
          await api.entries.run('b', ['row']);
          await db.api.entries.count();
        });
        await db.snapshot(() => db.api.entries.count());
        for (const spy of spies) expect(spy).not.toHaveBeenCalled();
        // The spies would have seen it.
        hear('sluice:call');
        hear('sluice:batch');
        await db.api.entries.run('c', ['row']);
        expect(spies.map(({ mock }) => mock.calls.length)).toEqual([1, 0, 1, 1]);
      });
    });

    describe('sluice:call', () => {
      test('tells of a call: its name, access, file, context and result', async () => {
        const db = await openLedger(dir, strategy);
        const heard = hear('sluice:call');
        const fields = { call: 'entries.run', access: 'write', file: dir.file(), context: 'GET /entries' };
        expect(await db.context({ label: 'GET /entries' }, () => db.api.entries.run('a', ['row', 'row']))).toBe(2);
        expect(named(heard)).toEqual(['start', 'end', 'asyncStart', 'asyncEnd']);
        expect(about(heard, 'start')).toEqual([fields]);
        expect(about(heard, 'asyncEnd')).toEqual([{ ...fields, result: 2 }]);

        heard.splice(0);
        await db.api.entries.count();
        const read = { call: 'entries.count', access: 'read', file: dir.file(), context: undefined };
        expect(about(heard, 'start')).toEqual([read]);
        expect(about(heard, 'asyncEnd')).toEqual([{ ...read, result: 1 + 1 }]);
      });

      test('tells that a call failed, with its error', async () => {
        const db = await openLedger(dir, strategy);
        const heard = hear('sluice:call');
        const error = await rejection(db.api.entries.run('a', ['row', 'again']), ConstraintError);
        expect(named(heard)).toEqual(['start', 'end', 'error', 'asyncStart', 'asyncEnd']);
        expect(about(heard, 'error')).toEqual([expect.objectContaining({ call: 'entries.run', error })]);
        expect(about(heard, 'asyncEnd')).toEqual([expect.objectContaining({ error })]);
      });

      test('tells of the calls that join a transaction or snapshot, by whichever api', async () => {
        const db = await openLedger(dir, strategy);
        const heard = hear('sluice:call');
        await db.context({ label: 'POST /entries' }, () =>
          db.transaction(async (api) => {
            await api.entries.run('a', ['row']);
            await db.api.entries.run('b', ['row']);
            await rejection(db.api.entries.run('a', ['row']), ConstraintError);
          }),
        );
        await db.snapshot(async (api) => {
          await api.entries.count();
          await db.api.entries.count();
        });
        const write = { call: 'entries.run', access: 'write', file: dir.file(), context: 'POST /entries' };
        const read = { call: 'entries.count', access: 'read', file: dir.file(), context: undefined };
        expect(about(heard, 'start')).toEqual([write, write, write, read, read]);
        expect(about(heard, 'error')).toHaveLength(1);
        expect(about(heard, 'asyncEnd')).toHaveLength(5);
      });

      test('tells of a call that comes after its transaction', async () => {
        const db = await openLedger(dir, strategy);
        const kept = await db.transaction((api) => Promise.resolve(api));
        const heard = hear('sluice:call');
        const error = await rejection(kept.entries.run('late'), TransactionEndedError);
        expect(about(heard, 'error')).toEqual([expect.objectContaining({ call: 'entries.run', error })]);
      });

      test('runs its listeners while the call has not settled, in the caller’s turn', async () => {
        const db = await openLedger(dir, strategy);
        const heard = hear('sluice:call');
        const call = db.api.entries.run('a', ['row']);
        expect(named(heard)).toEqual(['start', 'end']);
        await call;
        expect(named(heard)).toEqual(['start', 'end', 'asyncStart', 'asyncEnd']);
      });

      test.for(['a call', 'a transaction'] as const)(
        'tells that a function given to afterCommit threw, for which %s does not fail',
        async (within) => {
          const db = await openLedger(dir, strategy);
          const warnings: Error[] = [];
          const listen = (warning: Error): void => void warnings.push(warning);
          process.on('warning', listen);
          dir.atEnd(() => process.off('warning', listen));
          const heard = hear('sluice:call');
          const log = dir.file('no-such-folder/effects.log');
          if (within === 'a call') await db.api.entries.run('a', ['row', 'note'], log);
          else await db.transaction((api) => api.entries.run('a', ['row', 'note'], log));
          expect(about(heard, 'error')).toEqual([
            {
              call: within === 'a call' ? 'entries.run' : 'transaction',
              phase: 'afterCommit',
              error: expect.objectContaining({ code: 'ENOENT' }) as Error,
            },
          ]);
          expect(about(heard, 'asyncEnd')).toEqual([expect.objectContaining({ call: 'entries.run', result: 1 })]);
          await turns(2);
          expect(warnings).toEqual([expect.objectContaining({ name: 'SluiceWarning', code: 'SLUICE_AFTER_COMMIT' })]);
        },
      );
    });

    describe('sluice:batch', () => {
      const ended = (heard: readonly Event[]): unknown[] =>
        about(heard, 'end').map((message) => {
          const { outcome, calls } = message as { outcome: string; calls: number };
          return [outcome, calls];
        });

      test('tells of a batch: how many waited, how it ended, how many were in it, how long it took', async () => {
        const db = await openLedger(dir, strategy, { batch: { slice: 10_000 } });
        const heard = hear('sluice:batch');
        const before = performance.now();
        await Promise.all(['a', 'b', 'c'].map((call) => db.api.entries.spin(call, 2)));
        const took = performance.now() - before;
        expect(named(heard)).toEqual(['start', 'end']);
        expect(about(heard, 'start')).toEqual([{ queued: 3 }]);
        const [end] = about(heard, 'end') as { duration: number }[];
        expect(end).toEqual({ outcome: 'done', calls: 3, duration: expect.any(Number) as number });
        expect(end?.duration).toBeGreaterThanOrEqual(6);
        expect(end?.duration).toBeLessThanOrEqual(took);
      });

      test('tells of each of several batches', async () => {
        const db = await openLedger(dir, strategy, { batch: { calls: 2, slice: 10_000 } });
        const heard = hear('sluice:batch');
        await Promise.all(['a', 'b', 'c'].map((call) => db.api.entries.run(call, ['row'])));
        expect(about(heard, 'start')).toEqual([{ queued: 3 }, { queued: 1 }]);
        expect(ended(heard)).toEqual([
          ['done', 2],
          ['done', 1],
        ]);
      });

      test('tells that a call ended a whole batch, and of the one in which the others run again', async () => {
        const db = await openLedger(dir, strategy, { batch: { slice: 10_000 } });
        // From here on the method is known to run several statements.
        await db.api.entries.run('known', ['row', 'row']);
        const heard = hear('sluice:batch');
        await Promise.allSettled([
          db.api.entries.run('a', ['row']),
          db.api.entries.run('b', ['row']),
          db.api.entries.run('guilty', ['row', 'rollback']),
        ]);
        expect(ended(heard)).toEqual([
          ['undone', 3],
          ['done', 2],
          ['undone', 1],
        ]);
      });

      test('tells that COMMIT refused a whole batch, and of the ones in which each runs alone', async () => {
        const db = await openLedger(dir, strategy, { batch: { slice: 10_000 } });
        // From here on the method is known to run several statements.
        await db.api.entries.run('known', ['row', 'row']);
        const heard = hear('sluice:batch');
        await Promise.allSettled([db.api.entries.run('a', ['row']), db.api.entries.run('guilty', ['row', 'orphan'])]);
        expect(ended(heard)).toEqual([
          ['undone', 2],
          ['done', 1],
          ['undone', 1],
        ]);
      });

      test('tells nothing of transactions and reads, which are in no batch', async () => {
        const db = await openLedger(dir, strategy);
        const heard = hear('sluice:batch');
        const [begun, held] = [gate(), gate()];
        const transaction = db.transaction(async (api) => {
          await api.entries.run('a', ['row']);
          begun.open();
          await held.passed;
        });
        await begun.passed;
        held.open();
        await transaction;
        await db.api.entries.count();
        expect(heard).toEqual([]);
      });
    });
  });
}
