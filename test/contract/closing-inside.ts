import { describe, expect, test } from 'vitest';
import { ClosedError, type CloseOptions, DeadlockError, TimeoutError } from '../../src/index.ts';
import { type LedgerDatabase } from '../support/ledger.ts';
import { committed, expectNoTransaction, openLedger } from '../support/open-ledger.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { expectBlocked, gate, rejection } from '../support/waiting.ts';

/** Promises 7, 10 and 14 for a close that is made in what it would wait for, by a road on which nobody can see that. */
export function closingInside(strategy: StrategyUnderTest): void {
  describe('7, 10 and 14. Closes and calls that are detached', () => {
    const dir = useTempDir();

    /** The ways to be in something of a database, each with the label of what a close gives up on. */
    const INSIDE: readonly (readonly [
      name: string,
      label: string,
      run: (db: LedgerDatabase, body: () => Promise<unknown>) => Promise<unknown>,
    ])[] = [
      ['a transaction', 'transaction', (db, body) => db.transaction(body)],
      ['a snapshot', 'snapshot', (db, body) => db.snapshot(body)],
      ['a nested transaction', 'transaction', (db, body) => db.transaction(() => db.transaction(body))],
      ['a detached part of a detached part', 'transaction', (db, body) => db.transaction(() => db.detached(body))],
    ];

    test.for(INSIDE)('a detached close that %s awaits has a deadline, and the wait ends', async ([, label, run]) => {
      // | callback                 | close                              |
      // |--------------------------|------------------------------------|
      // | begins                   |                                    |
      // |   awaits the close       | waits for the callback             |
      // |                          | its deadline passes: gives up      |
      // | is undone                |                                    |
      // |                          | resolves                           |
      const db = await openLedger(dir, strategy, { timeout: 100 });
      let closed: Promise<unknown> | undefined;
      const straggler = await rejection(
        run(db, () => (closed = db.detached(() => db.close()))),
        ClosedError,
      );
      expect(straggler.message).toMatch(/waited 100 ms for it\. .* in db\.detached inside a .*, which may wait/);
      expect(straggler.message).toContain('close({ drain })');
      if (label === 'transaction') expect(straggler.outcome).toBe('rolled-back');
      expect(await closed).toEqual({ abandoned: [label] });
      expect(dir.descriptors()).toEqual([]);
      expectNoTransaction(dir);
    });

    test('a detached close that nobody inside awaits waits for the transaction, which is kept', async () => {
      const db = await openLedger(dir, strategy);
      let closed: Promise<unknown> | undefined;
      await db.transaction(async (api) => {
        await api.entries.run('a', ['row']);
        closed = db.detached(() => db.close());
        await expectBlocked(closed);
        await rejection(
          db.detached(() => db.api.entries.run('refused')),
          ClosedError,
        );
        await api.entries.run('b', ['row']);
      });
      expect(await closed).toEqual({ abandoned: [] });
      expect(committed(dir)).toEqual(['a/1', 'b/1']);
    });

    test('a detached close after the transaction it was taken out of has no deadline', async () => {
      // | first                        | second                 | close                   |
      // |------------------------------|------------------------|-------------------------|
      // | leaves a detached part behind|                        |                         |
      // | ends                         |                        |                         |
      // |                              | begins                 |                         |
      // |                              |                        | waits, beyond the timeout |
      // |                              | ends                   |                         |
      // |                              |                        | resolves                |
      const db = await openLedger(dir, strategy, { timeout: 50 });
      const [ended, begun, held] = [gate(), gate(), gate()];
      let closed: Promise<unknown> | undefined;
      await db.transaction(() => {
        closed = db.detached(async () => {
          await begun.passed;
          return db.close();
        });
      });
      ended.open();
      const second = db.transaction(async (api) => {
        begun.open();
        await api.entries.run('a', ['row']);
        await held.passed;
      });
      await begun.passed;
      await new Promise((resolve) => setTimeout(resolve, 150));
      held.open();
      await second;
      expect(await closed).toEqual({ abandoned: [] });
      expect(committed(dir)).toEqual(['a/1']);
    });

    test.for([
      ['drain', { drain: 20 }, {}],
      ['the deadline of its context', {}, { timeout: 20 }],
    ] as const)('a detached close that is awaited keeps %s', async ([, options, context]) => {
      const db = await openLedger(dir, strategy, { timeout: 60_000 });
      const close = (given: CloseOptions): Promise<unknown> => db.context(context, () => db.close(given));
      const straggler = rejection(
        db.transaction(() => db.detached(() => close(options))),
        ClosedError,
      );
      expect((await straggler).outcome).toBe('rolled-back');
      expect(await db.close()).toEqual({ abandoned: ['transaction'] });
    });

    test('two databases whose transactions await a detached close of the other both end', async () => {
      const a = await openLedger(dir, strategy, { file: dir.file('a.db'), timeout: 100 });
      const b = await openLedger(dir, strategy, { file: dir.file('b.db'), timeout: 100 });
      const [inA, inB] = [gate(), gate()];
      const settled = await Promise.allSettled([
        a.transaction(async () => {
          inA.open();
          await inB.passed;
          await a.detached(() => b.close());
        }),
        b.transaction(async () => {
          inB.open();
          await inA.passed;
          await b.detached(() => a.close());
        }),
      ]);
      // One close that gives up sets the other one free, unless both did at the same time.
      const rejected = settled.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
      expect(rejected.length).toBeGreaterThan(0);
      for (const error of rejected) expect(error).toBeInstanceOf(ClosedError);
      await Promise.all([a.close(), b.close()]);
      expect(dir.descriptors()).toEqual([]);
    });

    test('of two transactions that each close the database of the other one is refused at once, and the other closes', async () => {
      // | in a                | in b                          |
      // |---------------------|-------------------------------|
      // | closes b, waits     |                               |
      // |                     | closes a: refused, ends       |
      // | b is closed, ends   |                               |
      const a = await openLedger(dir, strategy, { file: dir.file('a.db'), timeout: 60_000 });
      const b = await openLedger(dir, strategy, { file: dir.file('b.db'), timeout: 60_000 });
      const [inA, inB] = [gate(), gate()];
      const first = a.transaction(async (api) => {
        await api.entries.run('a', ['row']);
        inA.open();
        await inB.passed;
        return b.close();
      });
      const second = b.transaction(async (api) => {
        await api.entries.run('b', ['row']);
        await inA.passed;
        inB.open();
        await expectBlocked(first);
        const error = await rejection(a.close(), DeadlockError);
        expect(error.cycle[0]).toMatch(/^transaction waits for the write lane of .*a\.db$/);
      });
      await second;
      expect(await first).toEqual({ abandoned: [] });
      expect(committed(dir, dir.file('a.db'))).toEqual(['a/1']);
      expect(committed(dir, dir.file('b.db'))).toEqual(['b/1']);
    });

    test.for([true, false])('a close in the body of a stream ends, consistent: %s', async (consistent) => {
      const db = await openLedger(dir, strategy, { readers: 1 });
      await Promise.all(['a', 'b', 'c'].map((call) => db.api.entries.run(call, ['row'])));
      const seen: string[] = [];
      const walk = async (): Promise<void> => {
        for await (const { call } of db.api.entries.stream({}, { batch: 1, consistent })) {
          seen.push(call);
          expect(await db.close()).toEqual({ abandoned: [] });
        }
      };
      if (consistent) await walk();
      else await rejection(walk(), ClosedError);
      expect(seen.sort()).toEqual(consistent ? ['a', 'b', 'c'] : ['a']);
      expect(dir.descriptors()).toEqual([]);
    });

    test.for(['write', 'transaction'] as const)(
      'a detached %s that its transaction awaits ends at its deadline, and says why',
      async (kind) => {
        const db = await openLedger(dir, strategy, { timeout: 150 });
        await db.transaction(async (api) => {
          await api.entries.run('a', ['row']);
          const error = await rejection(
            db.detached(() =>
              kind === 'write'
                ? db.api.entries.run('b', ['row'])
                : db.transaction((inner) => inner.entries.run('b', ['row'])),
            ),
            TimeoutError,
          );
          expect(error).toMatchObject({ wait: 'write lane', outcome: 'not-started', holder: { label: 'transaction' } });
          expect(error.message).toMatch(/called in db\.detached inside a transaction that is open still.*afterwards/);
          expect(error.stack).toContain('db.detached');
        });
        expect(committed(dir)).toEqual(['a/1']);
      },
    );
  });
}
