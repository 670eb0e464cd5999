/**
 * Random mixes of good, failing and poisonous calls, transactions and reads, from many callers at once, against the model:
 * the database, every caller's answer, the order and the effects must be those of calls made one by one.
 *
 * `SEED=…` repeats a run; a failure prints its seed and its smallest example.
 */
import { existsSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createLedger, type Failure, type Step } from '../support/ledger.ts';
import { type Call, EntriesModel, type Operation, type Result, submit } from '../support/model.ts';
import { committed, expectNoTransaction, openLedger } from '../support/open-ledger.ts';
import { STRATEGIES } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { turns } from '../support/waiting.ts';

/** Milliseconds for each strategy, after which no further example is tried. */
const TIME = 4500;

interface Action {
  readonly what: Operation | { readonly kind: 'read' } | { readonly kind: 'snapshot' };
  /** Turns of the event loop before it. */
  readonly pause: number;
  /** Whether the caller waits for it before it goes on. */
  readonly awaited: boolean;
}

const failure = fc.constantFrom<Failure>('again', 'throw', 'abort', 'fail', 'rollback', 'or-rollback', 'orphan');
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.constant<Step>('row') },
  { weight: 2, arbitrary: fc.constant<Step>('note') },
  { weight: 2, arbitrary: failure },
  { weight: 1, arbitrary: failure.map((each): Step => `caught ${each}`) },
);
// Few names, so that calls get in each other's way, and whose comes first decides who fails.
const call: fc.Arbitrary<Call> = fc.record({
  call: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l'),
  steps: fc.array(step, { minLength: 1, maxLength: 4 }),
});
const transaction: fc.Arbitrary<Operation> = fc.record({
  kind: fc.constant('transaction'),
  calls: fc.array(
    fc.tuple(call, fc.boolean()).map(([inner, caught]) => ({ ...inner, caught })),
    { maxLength: 4 },
  ),
  ending: fc.constantFrom('commit', 'commit', 'commit', 'throw'),
});
const what: fc.Arbitrary<Action['what']> = fc.oneof(
  { weight: 8, arbitrary: call.map((each): Operation => ({ kind: 'call', call: each })) },
  { weight: 2, arbitrary: transaction },
  { weight: 1, arbitrary: fc.constant<Operation>({ kind: 'clear' }) },
  { weight: 2, arbitrary: fc.constant({ kind: 'read' } as const) },
  { weight: 1, arbitrary: fc.constant({ kind: 'snapshot' } as const) },
);
const action: fc.Arbitrary<Action> = fc.record({
  what,
  pause: fc.constantFrom(0, 0, 0, 1, 3),
  awaited: fc.boolean(),
});
const callers = fc.array(fc.array(action, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 8 });
const batch = fc.constantFrom({}, { calls: 1 }, { calls: 3 });

for (const strategy of STRATEGIES) {
  describe(strategy.name, () => {
    const dir = useTempDir();

    test('whatever callers do at once comes to what it comes to one by one', { timeout: 60_000 }, async () => {
      let round = 0;
      await fc.assert(
        fc.asyncProperty(callers, batch, async (plan, limits) => {
          const file = dir.file(`${round++}.db`);
          const log = `${file}.log`;
          createLedger(file);
          const db = await openLedger(dir, strategy, { file, batch: limits });

          const submitted: { operation: Operation; result: Promise<Result> }[] = [];
          /** Everything up to here has been acknowledged to somebody. */
          let acknowledged = 0;
          const reads: { rows: readonly string[]; from: number; to: number }[] = [];

          const start = (operation: Operation): Promise<unknown> => {
            const result = submit(db, operation, () => turns(1), log);
            const place = submitted.push({ operation, result });
            return result.then((answer) => {
              if (answer === 'ok') acknowledged = Math.max(acknowledged, place);
            });
          };
          const act = async ({ what }: Action): Promise<unknown> => {
            const from = acknowledged;
            switch (what.kind) {
              case 'read': {
                const rows = await db.api.entries.listed();
                return reads.push({ rows, from, to: submitted.length });
              }
              case 'snapshot': {
                const [first, second] = await db.snapshot(async (api) => {
                  const rows = await api.entries.listed();
                  await turns(2);
                  return [rows, await api.entries.listed()] as const;
                });
                expect(second, 'a snapshot sees one state').toEqual(first);
                return reads.push({ rows: first, from, to: submitted.length });
              }
              default:
                return start(what);
            }
          };
          await Promise.all(
            plan.map(async (actions) => {
              const floating: Promise<unknown>[] = [];
              for (const each of actions) {
                if (each.pause > 0) await turns(each.pause);
                const done = act(each);
                if (each.awaited) await done;
                else floating.push(done);
              }
              await Promise.all(floating);
            }),
          );

          const model = new EntriesModel();
          const states = [model.rows];
          const expected = submitted.map(({ operation }) => {
            const result = model.run(operation);
            states.push(model.rows);
            return result;
          });
          expect(await Promise.all(submitted.map(({ result }) => result)), 'answers').toEqual(expected);
          expect(committed(dir, file), 'rows, in the order in which they were submitted').toEqual(model.rows);
          expect(existsSync(log) ? readFileSync(log, 'utf8').split('\n').slice(0, -1) : [], 'effects').toEqual(
            model.notes,
          );
          for (const { rows, from, to } of reads) {
            expect(states.slice(from, to + 1), 'a read sees a committed state, and its caller’s writes').toContainEqual(
              rows,
            );
          }
          expectNoTransaction(dir, file);
          await db.close();
        }),
        {
          numRuns: 5000,
          interruptAfterTimeLimit: TIME,
          ...(process.env.SEED === undefined ? {} : { seed: Number(process.env.SEED) }),
        },
      );
      expect(round, 'examples tried').toBeGreaterThan(20);
    });
  });
}
