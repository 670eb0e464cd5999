/**
 * Streams under random inserts, updates and removals between their pulls, against what the rows were: each row that is
 * there throughout, and whose order does not change, comes exactly once and in order; none comes twice; what comes was there
 * at some moment. A consistent one gives the rows of its first pull, whatever happens.
 *
 * `SEED=…` repeats a run; a failure prints its seed and its smallest example. `TIME=60000` tries longer.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Direction, type Row } from '../../src/index.ts';
import { type entries, ledger } from '../support/ledger.ts';
import { ExampleDatabases } from '../support/example-databases.ts';
import { iterate } from '../support/streaming.ts';
import { STRATEGIES } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';

/** Milliseconds for each strategy, after which no further example is tried. */
const TIME = Number(process.env.TIME ?? 4000);

type Entry = Row<typeof entries>;

/** What another caller does between two pulls. */
type Change =
  | { readonly kind: 'insert' | 'remove' | 'move' | 'rename'; readonly id: number; readonly name: string }
  /** Several at once, in a transaction that is committed or not. */
  | { readonly kind: 'transaction'; readonly ids: readonly number[]; readonly commit: boolean };

const id = fc.integer({ min: 1, max: 40 });
const name = fc.constantFrom('a', 'b', 'c');
const change: fc.Arbitrary<Change> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constantFrom('insert', 'remove', 'move', 'rename'), id, name }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('transaction'),
      ids: fc.array(id, { minLength: 1, maxLength: 5 }),
      commit: fc.boolean(),
    }),
  },
);
/** The columns of an order; the primary key follows. */
type Order = readonly (readonly [column: keyof Entry, direction: Direction])[];
const order = fc.constantFrom<Order>(
  [['id', 'asc']],
  [['id', 'desc']],
  [['call', 'asc']],
  [['call', 'desc']],
  [
    ['call', 'asc'],
    ['part', 'desc'],
  ],
  [
    ['part', 'asc'],
    ['id', 'desc'],
  ],
);
const plan = fc.record({
  ids: fc.uniqueArray(id, { maxLength: 25 }),
  order,
  batch: fc.constantFrom(1, 2, 3, 5, 100),
  consistent: fc.boolean(),
  /** Before each pull, the changes that are made. */
  changes: fc.array(fc.array(change, { maxLength: 3 }), { maxLength: 30 }),
  awaited: fc.boolean(),
  readers: fc.constantFrom(1, 4),
});

/** The order with the primary key at its end, in the direction of the column before. */
function total(given: Order): Order {
  return [...given, ['id', given.at(-1)?.[1] ?? 'asc']];
}

function compare(given: Order, a: Entry, b: Entry): number {
  for (const [column, direction] of total(given)) {
    if (a[column] === b[column]) continue;
    return a[column] < b[column] === (direction === 'asc') ? -1 : 1;
  }
  return 0;
}

for (const strategy of STRATEGIES) {
  describe(strategy.title, () => {
    const dir = useTempDir();

    test(
      'a stream gives each row that is there throughout exactly once, in order',
      { timeout: 10 * TIME },
      async () => {
        let round = 0;
        const databases = new ExampleDatabases(dir, strategy, ledger);
        let running = Promise.resolve();
        const example = async (plan: PlanOf): Promise<void> => {
          round += 1;
          const { db } = await databases.get({ readers: plan.readers });
          /** Every state that a row was in, by id; `undefined` while it was not there. */
          const history = new Map<number, (Entry | undefined)[]>();
          const note = (at: number, row: Entry | undefined): void => {
            history.set(at, [...(history.get(at) ?? [undefined]), row]);
          };
          let fresh = 100;
          const rows = plan.ids.map((at) => ({ id: at, call: 'abc'[at % 3] ?? '', part: at }));
          await db.api.entries.insertMany(rows);
          for (const row of rows) history.set(row.id, [row]);

          const make = async (each: Change): Promise<void> => {
            switch (each.kind) {
              case 'insert': {
                const row = { id: each.id, call: each.name, part: fresh++ };
                if (await db.api.entries.insert(row).catch(() => undefined)) note(each.id, row);
                return;
              }
              case 'remove':
                if (await db.api.entries.remove(each.id)) note(each.id, undefined);
                return;
              case 'move':
              case 'rename': {
                const patch = each.kind === 'move' ? { part: fresh++ } : { call: each.name };
                const row = await db.api.entries.update(each.id, patch).catch(() => undefined);
                if (row !== undefined) note(each.id, row);
                return;
              }
              case 'transaction': {
                const removed: number[] = [];
                await db
                  .transaction(async (api) => {
                    for (const at of each.ids) if (await api.entries.remove(at)) removed.push(at);
                    if (!each.commit) throw new Error('undone');
                  })
                  .then(
                    () => {
                      for (const at of removed) note(at, undefined);
                    },
                    () => undefined,
                  );
              }
            }
          };

          const { batch, consistent } = plan;
          const orderBy = plan.order.map(([column, direction]) => ({ [column]: direction }));
          const stream = iterate(db.api.entries.stream({}, { batch, consistent, orderBy }));
          const seen: Entry[] = [];
          const floating: Promise<void>[] = [];
          for (let at = 0; ; at++) {
            const { value } = await stream.next();
            if (value === undefined) break;
            seen.push(value);
            for (const each of plan.changes[at] ?? []) {
              const made = make(each);
              if (plan.awaited) await made;
              else floating.push(made);
            }
            expect(at, 'it comes to an end').toBeLessThan(200);
          }
          await Promise.all(floating);

          if (consistent) {
            expect(seen, 'the rows of the first pull').toEqual(rows.toSorted((a, b) => compare(plan.order, a, b)));
          } else {
            const sorted = seen.toSorted((a, b) => compare(plan.order, a, b));
            expect(seen, 'in order').toEqual(sorted);
            const columns = total(plan.order).map(([column]) => column);
            const still = (states: readonly (Entry | undefined)[]): boolean =>
              states.every(
                (state) => state !== undefined && columns.every((column) => state[column] === states[0]?.[column]),
              );
            for (const [at, states] of history) {
              const times = seen.filter((row) => row.id === at).length;
              if (still(states)) expect(times, `row ${at} was there throughout`).toBe(1);
            }
            for (const row of seen) expect(history.get(row.id), 'it was there').toContainEqual(row);
            const orders = seen.map((row) => JSON.stringify(columns.map((column) => row[column])));
            expect(new Set(orders).size, 'no place in the order comes twice').toBe(orders.length);
          }
          expect(db.stats().streams.pinning).toBe(0);
          await databases.end(db);
        };
        await fc.assert(
          fc.asyncProperty(plan, (given) => (running = example(given))),
          {
            numRuns: 5000,
            interruptAfterTimeLimit: TIME,
            ...(process.env.SEED === undefined ? {} : { seed: Number(process.env.SEED) }),
          },
        );
        await running;
        expect(round, 'examples tried').toBeGreaterThan(10);
      },
    );
  });
}

type PlanOf = typeof plan extends fc.Arbitrary<infer P> ? P : never;
