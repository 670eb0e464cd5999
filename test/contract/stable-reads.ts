import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { commitElsewhere, type Step } from '../support/ledger.ts';
import { openLedger } from '../support/open-ledger.ts';
import { startPeer } from '../support/peer.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { expectBlocked, gate, watch } from '../support/waiting.ts';

/** Promise 5: a read call sees one committed state; a snapshot sees one state throughout. */
export function stableReads(strategy: StrategyUnderTest): void {
  describe('5. Stable reads', () => {
    const dir = useTempDir();

    test.for(['around', 'stubbornlyAround'] as const)(
      'a read handler with two statements sees one state, though another connection commits between them (%s)',
      async (method) => {
        // | the handler     | another connection |
        // |-----------------|--------------------|
        // | counts          |                    |
        // |                 | commits a row      |
        // | counts again    |                    |
        const db = await openLedger(dir, strategy);
        for (let round = 0; round < 3; round++) {
          const before = await db.api.entries.count();
          const [first = NaN, second = NaN] = await db.api.entries[method](dir.file());
          expect(second, `round ${round}`).toBe(first);
          expect(first).toBeGreaterThanOrEqual(before);
          // A read that had to run again has let the other connection commit twice.
          const after = await db.api.entries.count();
          expect(after).toBe(round === 0 && first > before ? first + 1 : after);
          expect(after).toBeGreaterThan(first);
        }
      },
    );

    test('a read handler inside a transaction and inside a snapshot sees one state', async () => {
      const db = await openLedger(dir, strategy);
      const [first, second] = await db.snapshot((api) => api.entries.around(dir.file()));
      expect(second).toBe(first);
    });

    test('a read never sees the uncommitted rows of a transaction', async () => {
      // | transaction      | reader                                     |
      // |------------------|--------------------------------------------|
      // | inserts          |                                            |
      // |   (gate)         | counts: 0, or waits until the end          |
      // | throws           |                                            |
      const db = await openLedger(dir, strategy);
      const inserted = gate();
      const held = gate();
      const transaction = db.transaction(async (api) => {
        await api.entries.run('a');
        inserted.open();
        await held.passed;
        throw new Error('undone');
      });
      await inserted.passed;
      const read = db.api.entries.count();
      if (strategy.readsDuringTransaction) expect(await read).toBe(0);
      else await expectBlocked(read);
      held.open();
      await expect(transaction).rejects.toThrow('undone');
      expect(await read).toBe(0);
    });

    test('a read never sees half a call, or half a batch', async () => {
      const db = await openLedger(dir, strategy, { batch: { calls: 4 } });
      const writes = Array.from({ length: 100 }, (_, at) => db.api.entries.run(String(at)));
      const counts: number[] = [];
      const writers = watch(Promise.all(writes));
      const reading = (async () => {
        while (!writers.settled) {
          counts.push(await db.api.entries.count());
          await new Promise(setImmediate);
        }
      })();
      await Promise.all(writes);
      await reading;
      expect(counts.filter((count) => count % 2 !== 0)).toEqual([]);
      expect(counts).toEqual(counts.toSorted((a, b) => a - b));
    });

    // A handler of another thread cannot get hold of this one's `Database`.
    test.runIf(strategy.inThread)(
      'an api read made by a write handler never sees the handler’s own uncommitted row',
      async () => {
        const db = await openLedger(dir, strategy);
        let seen: Promise<number> = Promise.resolve(NaN);
        // Steps that call back stand for a handler whose module holds the api.
        const steps = {
          *[Symbol.iterator](): Generator<Step> {
            yield 'row';
            seen = db.api.entries.count();
            yield 'row';
          },
        };
        await db.api.entries.run('outer', steps as never);
        expect([0, 2], 'the committed states').toContain(await seen);
        expect(await db.api.entries.count()).toBe(2);
      },
    );

    test('a snapshot sees one state across awaits, while another process commits', async () => {
      const db = await openLedger(dir, strategy);
      const peer = await startPeer(dir);
      await db.api.entries.run('before', ['row']);
      const seen = await db.snapshot(async (api) => {
        const first = await api.entries.listed();
        await peer.ask({ kind: 'insert', call: 'peer' });
        return [first, await api.entries.listed()];
      });
      expect(seen).toEqual([['before/1'], ['before/1']]);
      expect(await db.api.entries.listed()).toEqual(['before/1', 'peer/1']);
    });

    test('a snapshot has its state from its beginning, not from its first read', async () => {
      const db = await openLedger(dir, strategy);
      const seen = await db.snapshot(async (api) => {
        commitElsewhere(dir.file());
        return api.entries.count();
      });
      expect(seen).toBe(0);
      expect(await db.api.entries.count()).toBe(1);
    });

    test('a snapshot sees one state across awaits, while another thread commits', async () => {
      const db = await openLedger(dir, strategy);
      const worker = new Worker(new URL('../support/committer.ts', import.meta.url), { workerData: dir.file() });
      dir.atEnd(() => worker.terminate());
      await once(worker, 'message');
      const seen = await db.snapshot(async (api) => {
        const counts = [await api.entries.count()];
        for (let at = 0; at < 3; at++) {
          worker.postMessage('commit');
          await once(worker, 'message');
          counts.push(await api.entries.count());
        }
        return counts;
      });
      expect(seen).toEqual([0, 0, 0, 0]);
      expect(await db.api.entries.count()).toBe(3);
    });

    test('a snapshot sees one state while the same database writes, or makes these writes wait', async () => {
      // | snapshot             | writer                                      |
      // |----------------------|---------------------------------------------|
      // | counts: 0            |                                             |
      // |   (gate)             | runs: resolves, or is blocked until the end |
      // | counts: 0            |                                             |
      const db = await openLedger(dir, strategy);
      const read = gate();
      const held = gate();
      const snapshot = db.snapshot(async (api) => {
        const first = await api.entries.count();
        read.open();
        await held.passed;
        return [first, await api.entries.count()];
      });
      await read.passed;
      const write = db.api.entries.run('a');
      if (strategy.writesDuringSnapshot) await write;
      else await expectBlocked(write);
      held.open();
      expect(await snapshot).toEqual([0, 0]);
      await write;
      expect(await db.api.entries.count()).toBe(2);
    });

    test('many snapshots at once each see a state of their own, more of them than there are readers', async () => {
      const db = await openLedger(dir, strategy, { readers: 2 });
      const seen = await Promise.all(
        Array.from({ length: 12 }, async (_, at) => {
          if (at % 2 === 0) await db.api.entries.run(String(at));
          return db.snapshot(async (api) => {
            const first = await api.entries.listed();
            await new Promise(setImmediate);
            return [first, await api.entries.listed()] as const;
          });
        }),
      );
      for (const [first, second] of seen) {
        expect(second).toEqual(first);
        expect(first.length % 2).toBe(0);
      }
    });
  });
}
