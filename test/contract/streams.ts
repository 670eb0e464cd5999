import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { AbortError, ClosedError, OptionError, TimeoutError, TransactionEndedError } from '../../src/index.ts';
import { type LedgerDatabase, Refusal } from '../support/ledger.ts';
import { committed, expectNothingHeld, expectNoTransaction, openLedger } from '../support/open-ledger.ts';
import { untyped } from '../support/open-tables.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { collect, countCalls, exhaust, fill, iterate, listed } from '../support/streaming.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { gate, rejection } from '../support/waiting.ts';

/** Streams of a table's rows: promises 5, 6, 7, 10 and 14 as far as they go. */
export function streams(strategy: StrategyUnderTest): void {
  describe('Streams', () => {
    const dir = useTempDir();
    const nothingHeld = (db: LedgerDatabase): Promise<void> => expectNothingHeld(dir, db, strategy);

    test.for([1, 2, 3, 7, 100, 10_000])('a stream gives every row once, in order, in batches of %i', async (batch) => {
      const db = await openLedger(dir, strategy);
      const rows = await fill(db, 21);
      expect(await listed(db.api.entries.stream({}, { batch }))).toEqual(rows);
      expect(await listed(db.api.entries.stream({}, { batch, orderBy: { id: 'desc' } }))).toEqual(rows.toReversed());
      expect(await listed(db.api.entries.stream({ part: { gte: 19 } }, { batch, orderBy: ['call', 'part'] }))).toEqual(
        rows.slice(18),
      );
      expect(await listed(db.api.entries.stream({}, { batch, consistent: true }))).toEqual(rows);
      expect(await listed(db.api.entries.stream({ part: 99 }, { batch }))).toEqual([]);
      expect(await listed(db.api.entries.stream())).toEqual(rows);
      await nothingHeld(db);
    });

    test('each iteration of a stream begins anew', async () => {
      const db = await openLedger(dir, strategy);
      const rows = await fill(db, 3);
      const stream = db.api.entries.stream({}, { batch: 2 });
      const other = iterate(stream);
      await other.next();
      expect(await listed(stream)).toEqual(rows);
      await fill(db, 1, 'b');
      expect(await listed(stream)).toEqual([...rows, 'b/1']);
      expect((await other.next()).value).toMatchObject({ part: 2 });
    });

    test('a batch is read when a row beyond the last one is asked for, and not before', async () => {
      const db = await openLedger(dir, strategy);
      await fill(db, 5);
      const calls = countCalls(dir, 'entries.stream');
      const rows = iterate(db.api.entries.stream({}, { batch: 2 }));
      await turn();
      const begun = [calls.begun];
      for (let at = 0; at < 6; at++) {
        await rows.next();
        await turn();
        begun.push(calls.begun);
      }
      expect(begun).toEqual([0, 1, 1, 2, 2, 3, 3]);
    });

    test('pulls made at once are served in order, and those beyond the end are told so', async () => {
      const db = await openLedger(dir, strategy);
      await fill(db, 5);
      const rows = iterate(db.api.entries.stream({}, { batch: 2 }));
      const pulled = await Promise.all(Array.from({ length: 8 }, () => rows.next()));
      expect(pulled.map(({ value, done }) => (done === true ? 'done' : value.part))).toEqual([
        1,
        2,
        3,
        4,
        5,
        'done',
        'done',
        'done',
      ]);
    });

    test('each batch sees what is committed by then: rows ahead of it, and none behind', async () => {
      // | stream in batches of 2 | another caller                          |
      // |------------------------|-----------------------------------------|
      // | 10, 20                 |                                         |
      // |                        | inserts 15 and 35, removes 30, keeps 40 |
      // | 35, 40                 |                                         |
      const db = await openLedger(dir, strategy);
      await db.api.entries.insertMany([10, 20, 30, 40].map((id) => ({ id, call: 'a', part: id })));
      const rows = iterate(db.api.entries.stream({}, { batch: 2 }));
      const parts = [(await rows.next()).value?.part, (await rows.next()).value?.part];
      await db.api.entries.insertMany([15, 35].map((id) => ({ id, call: 'b', part: id })));
      await db.api.entries.remove(30);
      for (let row = await rows.next(); row.done !== true; row = await rows.next()) parts.push(row.value.part);
      expect(parts).toEqual([10, 20, 35, 40]);
    });

    test('between two batches nothing is held: others write, and transactions run', async () => {
      const db = await openLedger(dir, strategy, { readers: 1 });
      await fill(db, 6);
      let seen = 0;
      for await (const { part } of db.api.entries.stream({}, { batch: 2 })) {
        await nothingHeld(db);
        await db.api.entries.update(part, { call: 'seen' });
        await db.transaction((api) => api.entries.run(`t${part}`, ['row']));
        expect(await db.snapshot((api) => api.entries.count())).toBe(6 + ++seen);
        if (seen === 6) break;
      }
      expect(seen).toBe(6);
      await nothingHeld(db);
    });

    test.for([false, true])(
      'break, an error in the body, return and throw each end a stream for good, consistent: %s',
      async (consistent) => {
        const db = await openLedger(dir, strategy, { readers: 1 });
        await fill(db, 5);
        const stream = db.api.entries.stream({}, { batch: 2, consistent });
        for await (const { part } of stream) if (part === 3) break;
        await nothingHeld(db);
        const failing = async (): Promise<void> => {
          for await (const { part } of stream) if (part === 2) throw new Refusal('enough');
        };
        await rejection(failing(), Refusal);
        await nothingHeld(db);

        const returned = iterate(stream);
        await returned.next();
        expect(await returned.return()).toEqual({ done: true, value: undefined });
        expect(await returned.next()).toEqual({ done: true, value: undefined });
        const thrown = iterate(stream);
        await thrown.next();
        await rejection(thrown.throw(new Refusal('no')), Refusal);
        expect(await thrown.next()).toEqual({ done: true, value: undefined });
        const untouched = iterate(stream);
        await untouched.return();
        expect(await untouched.next()).toEqual({ done: true, value: undefined });
        await nothingHeld(db);
        expect(await db.api.entries.count()).toBe(5);
      },
    );

    test.for([false, true])(
      'the signal of the context that it was made in, or is pulled in, ends it, consistent: %s',
      async (consistent) => {
        const db = await openLedger(dir, strategy);
        await fill(db, 5);
        for (const where of ['made', 'pulled'] as const) {
          const controller = new AbortController();
          const within = <T>(here: typeof where, run: () => T): T =>
            here === where ? db.context({ signal: controller.signal, label: 'GET /rows' }, run) : run();
          const rows = iterate(within('made', () => db.api.entries.stream({}, { batch: 3, consistent })));
          const pull = () => within('pulled', () => rows.next());
          await pull();
          controller.abort('gone');
          const error = await rejection(pull(), AbortError);
          expect(error).toMatchObject({ cause: 'gone', message: 'entries.stream in GET /rows: aborted' });
          expect(await rows.next(), where).toEqual({ done: true, value: undefined });
          await nothingHeld(db);
        }
      },
    );

    test.for([false, true])('the deadline of its context ends it, consistent: %s', async (consistent) => {
      const db = await openLedger(dir, strategy);
      await fill(db, 5);
      for (const where of ['made', 'pulled'] as const) {
        const within = <T>(here: typeof where, run: () => T): T =>
          here === where ? db.context({ timeout: 30, label: 'GET /rows' }, run) : run();
        const rows = iterate(within('made', () => db.api.entries.stream({}, { consistent })));
        const first = within('pulled', () => rows.next());
        expect(await first).toMatchObject({ value: { part: 1 } });
        const passed = performance.now() + 60;
        while (performance.now() < passed) await turn();
        // In a context of its own each pull would have its own deadline.
        const late = where === 'made' ? rows.next() : db.context({ timeout: 0, label: 'GET /rows' }, () => rows.next());
        const error = await rejection(late, TimeoutError);
        expect(error).toMatchObject({ wait: 'stream' });
        expect(error.message).toMatch(/^entries\.stream in GET \/rows: had not come to its end at the deadline/);
        expect(await rows.next()).toEqual({ done: true, value: undefined });
        await nothingHeld(db);
      }
    });

    test('a stream that was ended by its signal between two pulls holds nothing before the next one', async () => {
      const db = await openLedger(dir, strategy, { readers: 1 });
      await fill(db, 5);
      const controller = new AbortController();
      const rows = iterate(
        db.context({ signal: controller.signal }, () => db.api.entries.stream({}, { batch: 2, consistent: true })),
      );
      await rows.next();
      expect(db.stats().streams.pinning).toBe(1);
      controller.abort();
      await turn();
      await nothingHeld(db);
      await rejection(rows.next(), AbortError);
    });

    test('a stream goes on after a close only with rows that it has', async () => {
      const db = await openLedger(dir, strategy);
      await fill(db, 5);
      const rows = iterate(db.api.entries.stream({}, { batch: 2 }));
      await rows.next();
      expect(await db.close()).toEqual({ abandoned: [] });
      expect((await rows.next()).value).toMatchObject({ part: 2 });
      await rejection(rows.next(), ClosedError);
      expect(await rows.next()).toEqual({ done: true, value: undefined });
      for (const consistent of [false, true]) {
        await rejection(iterate(db.api.entries.stream({}, { consistent })).next(), ClosedError);
      }
    });

    test.for(['the callback’s api', 'the database’s'])(
      'in a transaction it sees what that has written, by %s',
      async (by) => {
        const db = await openLedger(dir, strategy);
        await fill(db, 2);
        const undone = db.transaction(async (api) => {
          const { entries } = by === 'the database’s' ? db.api : api;
          await entries.run('b', ['row']);
          for (const consistent of [false, true]) {
            const rows = iterate(entries.stream({}, { batch: 1, consistent }));
            expect((await rows.next()).value).toMatchObject({ call: 'a', part: 1 });
            const parts: string[] = [];
            await db.transaction(async () => {
              // A nested one means itself: waiting for the outer one would be waiting for its own end.
              await db.api.entries.run(`nested ${consistent}`, ['row']);
              for (let row = await rows.next(); row.done !== true; row = await rows.next()) parts.push(row.value.call);
            });
            expect(parts).toEqual(consistent ? ['a', 'b', 'nested false', 'nested true'] : ['a', 'b', 'nested false']);
          }
          throw new Refusal('undone');
        });
        await rejection(undone, Refusal);
        expect(committed(dir)).toEqual(['a/1', 'a/2']);
      },
    );

    test.for([false, true])(
      'pulled after its transaction or snapshot it is refused, consistent: %s',
      async (consistent) => {
        const db = await openLedger(dir, strategy);
        await fill(db, 3);
        const options = { batch: 1, consistent };
        const rows = [
          await db.transaction((api) => iterate(api.entries.stream({}, options))),
          await db.transaction(() => iterate(db.api.entries.stream({}, options))),
          await db.snapshot((api) => iterate(api.entries.stream({}, options))),
          await db.snapshot(async (api) => {
            const begun = iterate(api.entries.stream({}, options));
            await begun.next();
            return begun;
          }),
        ];
        for (const each of rows) {
          await rejection(each.next(), TransactionEndedError);
          expect(await each.next()).toEqual({ done: true, value: undefined });
        }
        await nothingHeld(db);
      },
    );

    test('in a snapshot it sees one state, whatever is committed meanwhile', async () => {
      const db = await openLedger(dir, strategy);
      const rows = await fill(db, 4);
      const writes: Promise<unknown>[] = [];
      const seen = await db.snapshot(async (api) => {
        const parts: string[] = [];
        for await (const { call, part } of api.entries.stream({}, { batch: 1 })) {
          const write = db.detached(() => db.api.entries.run(`w${part}`, ['row']));
          writes.push(write);
          if (strategy.writesDuringSnapshot) await write;
          parts.push(`${call}/${part}`);
        }
        return parts;
      });
      expect(seen).toEqual(rows);
      await Promise.all(writes);
      expect(await db.api.entries.count()).toBe(8);
    });

    test('made outside a transaction and pulled inside, it sees what that sees, and goes on outside', async () => {
      const db = await openLedger(dir, strategy);
      await db.api.entries.insertMany([1, 9].map((id) => ({ id, call: 'a', part: id })));
      const rows = iterate(db.api.entries.stream({}, { batch: 1 }));
      const pull = async (): Promise<string | undefined> => (await rows.next()).value?.call;
      expect(await pull()).toBe('a');
      await rejection(
        db.transaction(async () => {
          await db.api.entries.insertMany([2, 3].map((id) => ({ id, call: 'undone', part: id })));
          expect(await pull()).toBe('undone');
          throw new Refusal('undone');
        }),
        Refusal,
      );
      await db.api.entries.insertMany([{ id: 4, call: 'after', part: 4 }]);
      expect(await pull()).toBe('after');
    });

    test('wrong arguments are refused by name at the first pull, before anybody waits', async () => {
      const db = await openLedger(dir, strategy, { readers: 1 });
      const { stream = () => Promise.resolve() } = untyped(db.api.entries);
      const cases: readonly (readonly [filter: unknown, options: unknown, message: RegExp])[] = [
        [{ nobody: 1 }, {}, /^entries\.stream: .*no column "nobody"/],
        [7, {}, /^entries\.stream: /],
        [{}, 7, /^entries\.stream: options are a plain object, not 7/],
        [{}, { size: 7 }, /^entries\.stream: unknown option "size"; use batch, orderBy, consistent/],
        [{}, { batch: 0 }, /^entries\.stream: "batch" is 0; give a whole number from 1/],
        [{}, { batch: 'all' }, /^entries\.stream: "batch" is "all"/],
        [{}, { orderBy: 'nobody' }, /^entries\.stream: orderBy: .*no column "nobody"/],
        [{}, { consistent: 'yes' }, /^entries\.stream: "consistent" is "yes"; give true or false/],
      ];
      const held = gate();
      const snapshot = db.snapshot(() => held.passed);
      for (const [filter, options, message] of cases.slice(0, -1)) {
        const consistent = typeof options === 'object' ? { ...options, consistent: true } : options;
        if (typeof options !== 'object') continue;
        const rows = stream(filter, consistent) as never;
        expect((await rejection(collect(rows), OptionError)).message).toMatch(message);
      }
      held.open();
      await snapshot;
      for (const [filter, options, message] of cases) {
        expect((await rejection(collect(stream(filter, options) as never), OptionError)).message).toMatch(message);
      }
      // A third argument is no way in for a cursor.
      expect(await collect(stream({}, {}, 'cursor') as never)).toEqual([]);
    });

    describe('that are consistent', () => {
      test('see the state of their first pull, while the body of the loop calls the same database', async () => {
        // | the loop            | its body                                                       |
        // |---------------------|----------------------------------------------------------------|
        // | pulls: one snapshot |                                                                |
        // |                     | writes, reads, runs transactions: none waits for the loop      |
        // | pulls: the same     |                                                                |
        const db = await openLedger(dir, strategy, { readers: 1, timeout: 10_000 });
        const rows = await fill(db, 50);
        const seen: string[] = [];
        const since = performance.now();
        for await (const { id, call, part } of db.api.entries.stream({}, { batch: 2, consistent: true })) {
          seen.push(`${call}/${part}`);
          await db.api.entries.remove(51 - id);
          await db.api.entries.run(`new ${id}`, ['row']);
          await db.transaction((api) => api.entries.run(`transaction ${id}`, ['row']));
          await db.snapshot((api) => api.entries.count());
          expect(await db.api.entries.count()).toBe(50 + id);
        }
        expect(seen).toEqual(rows);
        expect(performance.now() - since, 'ms: none of 250 calls has waited for its deadline').toBeLessThan(10_000);
        await nothingHeld(db);
      });

      test('see the state of their first pull, though another connection commits', async () => {
        const db = await openLedger(dir, strategy);
        const rows = await fill(db, 6);
        const other = dir.raw();
        // Readers of a rollback journal would hold off this commit; the ledger's file is in WAL mode.
        const commit = other.prepare("INSERT INTO entries (call, part) VALUES ('other', ?)");
        const seen: string[] = [];
        for await (const { call, part } of db.api.entries.stream({}, { batch: 2, consistent: true })) {
          commit.run(part);
          seen.push(`${call}/${part}`);
        }
        expect(seen).toEqual(rows);
        expect(await db.api.entries.count()).toBe(12);
      });

      test('show in the statistics and as a hazard for as long as they hold a snapshot', async () => {
        const db = await openLedger(dir, strategy);
        await fill(db, 5);
        const options = { batch: 2, consistent: true };
        const rows = db.context({ label: 'GET /rows' }, () => iterate(db.api.entries.stream({}, options)));
        await nothingHeld(db);
        await rows.next();
        const { streams, hazards } = db.stats();
        expect(streams).toMatchObject({ pinning: 1, oldest: { label: 'entries.stream in GET /rows' } });
        expect(streams.oldest?.site).toContain('contract/streams.ts');
        expect(hazards).toEqual([
          expect.stringMatching(
            /^A consistent stream holds a snapshot: entries\.stream in GET \/rows for \d+ ms, called at .*streams\.ts/,
          ),
        ]);
        for (let at = 0; at < 4; at++) await rows.next();
        // Its last batch has been read.
        expect(db.stats().streams.pinning).toBe(0);
        expect(db.stats().hazards).toEqual([]);
        await turn();
        await nothingHeld(db);
      });

      test('give way to any number of callers who wait for what they hold, also to each other', async () => {
        const db = await openLedger(dir, strategy, { readers: 1 });
        const rows = await fill(db, 3000);
        const iterations = Array.from({ length: 3 }, () =>
          listed(db.api.entries.stream({}, { batch: 7, consistent: true })),
        );
        const others = Array.from({ length: 20 }, (_, at) =>
          at % 2 === 0 ? db.api.entries.run(`b${at}`, ['row']) : db.api.entries.count(),
        );
        await Promise.all(others);
        for (const seen of await Promise.all(iterations)) expect(seen.slice(0, 3000)).toEqual(rows);
        await nothingHeld(db);
      });

      test('give way to who has waited since before they began', async () => {
        // | snapshot  | stream               | another caller               |
        // |-----------|----------------------|------------------------------|
        // | holds     |                      |                              |
        // |           | pulls, and waits     | calls, and waits behind it   |
        // | ends      |                      |                              |
        // |           | one row              |                              |
        // |           |   (no further pull)  | runs                         |
        const db = await openLedger(dir, strategy, { readers: 1 });
        await fill(db, 300);
        for (const before of ['a snapshot', 'nobody'] as const) {
          const begun = gate();
          const held = gate();
          const snapshot =
            before === 'nobody'
              ? undefined
              : db.snapshot(() => {
                  begun.open();
                  return held.passed;
                });
          if (snapshot !== undefined) await begun.passed;
          const rows = iterate(db.api.entries.stream({}, { consistent: true }));
          const first = rows.next();
          const count = db.api.entries.count();
          held.open();
          expect((await first).value).toMatchObject({ part: 1 });
          expect(await count, before).toBe(300);
          await snapshot;
          await rows.return();
        }
      });

      test('that nobody pulls any more give way all the same', async () => {
        const db = await openLedger(dir, strategy, { readers: 1 });
        await fill(db, 5000);
        const abandoned = iterate(db.api.entries.stream({}, { consistent: true }));
        await abandoned.next();
        expect(await db.api.entries.run('b', ['row'])).toBe(1);
        expect(await db.api.entries.count()).toBe(5001);
        expect(db.stats().streams.pinning, 'it still pins where nobody waited for it').toBe(0);
        let seen = 1;
        while ((await abandoned.next()).done !== true) seen += 1;
        expect(seen).toBe(5000);
      });

      test('give way inside a transaction of another database, where no circle of waits is seen', async () => {
        const db = await openLedger(dir, strategy, { readers: 1 });
        const other = await openLedger(dir, strategy, { file: dir.file('other.db') });
        const rows = await fill(db, 9);
        const seen: string[] = [];
        await other.transaction(async () => {
          for await (const { id, call, part } of db.api.entries.stream({}, { batch: 2, consistent: true })) {
            await db.api.entries.run(`new ${id}`, ['row']);
            expect(await db.api.entries.count()).toBe(9 + id);
            await other.api.entries.run(`seen ${id}`, ['row']);
            seen.push(`${call}/${part}`);
          }
        });
        expect(seen).toEqual(rows);
        expect(await other.api.entries.count()).toBe(9);
      });

      test('that are ended while they give way leave nothing behind', async () => {
        const db = await openLedger(dir, strategy, { readers: 1 });
        await fill(db, 20_000);
        const rows = iterate(db.api.entries.stream({}, { batch: 10, consistent: true }));
        await rows.next();
        const count = db.api.entries.count();
        await turn();
        await rows.return();
        expect(await count).toBe(20_000);
        await nothingHeld(db);
      });

      // A thread that is held up for long finds the stream out of its way.
      test('a call that waited in vain for one names it, and where it was made', { retry: 2 }, async () => {
        const db = await openLedger(dir, strategy, { readers: 1 });
        await fill(db, 60_000);
        const rows = iterate(db.api.entries.stream({}, { consistent: true }));
        await rows.next();
        const error = await db.context({ timeout: 0 }, () => rejection(db.api.entries.count(), TimeoutError));
        expect(error.holder?.label).toBe('entries.stream');
        expect(error.holder?.site).toContain('contract/streams.ts');
        await rows.return();
        await nothingHeld(db);
      });

      test('give way to a close, also to one in the loop’s own body, and are finished', async () => {
        const db = await openLedger(dir, strategy);
        const expected = await fill(db, 3000);
        const seen: string[] = [];
        for await (const { call, part } of db.api.entries.stream({}, { batch: 1, consistent: true })) {
          seen.push(`${call}/${part}`);
          if (seen.length === 2) expect(await db.close()).toEqual({ abandoned: [] });
        }
        expect(seen).toEqual(expected);
      });

      test('are given up on by a close with a deadline, which names them', async () => {
        const db = await openLedger(dir, strategy);
        // More than it can read into memory meanwhile.
        await fill(db, 60_000);
        const rows = iterate(
          db.context({ label: 'GET /rows' }, () => db.api.entries.stream({}, { batch: 1, consistent: true })),
        );
        await rows.next();
        expect(await db.close({ drain: 0 })).toEqual({ abandoned: ['entries.stream in GET /rows'] });
        expect((await exhaust(rows)).error).toBeInstanceOf(ClosedError);
        expect(await rows.next()).toEqual({ done: true, value: undefined });
        expectNoTransaction(dir);
      });
    });
  });
}
