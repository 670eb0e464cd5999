/**
 * Random mixes of good, failing and poisonous calls by synchronous and asynchronous handlers, transactions, reads, aborts
 * and deadlines, from many callers at once, against the model: the database, every caller's answer and outcome, the order
 * and the effects must be those of calls made one by one, without those that were given up.
 *
 * `SEED=…` repeats a run; a failure prints its seed and its smallest example. `TIME=60000` tries longer.
 */
import { existsSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ExampleDatabases } from '../support/example-databases.ts';
import { type Failure, type Step } from '../support/ledger.ts';
import {
  type Answer,
  answerOf,
  type AsyncSteps,
  type Call,
  EntriesModel,
  mixed,
  type Operation,
  type Pause,
  perform,
} from '../support/model.ts';
import { committed, expectNoTransaction } from '../support/open-ledger.ts';
import { STRATEGIES } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { turns } from '../support/waiting.ts';

/** Milliseconds for each strategy, after which no further example is tried. */
const TIME = Number(process.env.TIME ?? 6000);

/**
 * What a caller does to give its operation up: its signal is aborted before it calls, as soon as it has called, some turns
 * of the event loop later, or when all is over; or it has only so many milliseconds.
 */
type GivingUp =
  | { readonly when: 'never' | 'before' | 'at once' | 'after' }
  | { readonly when: 'soon'; readonly turns: number }
  | { readonly when: 'deadline'; readonly timeout: number };

type Read = 'listed' | 'hopping' | 'waiting' | 'snapshot';

interface Action {
  readonly what: Operation | { readonly kind: 'read'; readonly read: Read };
  readonly givingUp: GivingUp;
  /** Turns of the event loop before it. */
  readonly pause: number;
  /** Whether the caller waits for it before it goes on. */
  readonly awaited: boolean;
}

interface Submitted {
  readonly operation: Operation;
  readonly givingUp: GivingUp;
  readonly answer: Promise<Answer>;
}

const failure = fc.constantFrom<Failure>('again', 'throw', 'abort', 'fail', 'rollback', 'or-rollback', 'orphan');
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.constant<Step>('row') },
  { weight: 2, arbitrary: fc.constant<Step>('note') },
  { weight: 2, arbitrary: failure },
  { weight: 1, arbitrary: failure.map((each): Step => `caught ${each}`) },
);
const steps = fc.array(step, { minLength: 1, maxLength: 4 });
/** With pauses between. What a handler that waits has forgotten could still be in time; so only one that does not forgets. */
const stepsWith = (...pauses: readonly Pause[]): fc.Arbitrary<AsyncSteps> =>
  fc.array(
    fc.oneof({ weight: 3, arbitrary: step }, { weight: 2, arbitrary: fc.constantFrom<Step | Pause>(...pauses) }),
    { minLength: 1, maxLength: 5 },
  );
// Few names, so that calls get in each other's way, and whose comes first decides who fails.
const name = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l');
const call: fc.Arbitrary<Call> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ handler: fc.constant('sync' as const), call: name, steps }) },
  {
    weight: 4,
    arbitrary: fc.record({ handler: fc.constant('hop' as const), call: name, steps: stepsWith('hop', 'forget') }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      handler: fc.constant('wait' as const),
      call: name,
      steps: stepsWith('hop', 'immediate', 'timer', 'file'),
    }),
  },
);
const transaction: fc.Arbitrary<Operation> = fc.record({
  kind: fc.constant('transaction'),
  calls: fc.array(
    fc.tuple(call, fc.boolean()).map(([inner, caught]) => ({ ...inner, caught })),
    { maxLength: 4 },
  ),
  together: fc.boolean(),
  ending: fc.constantFrom('commit', 'commit', 'commit', 'throw'),
});
const what: fc.Arbitrary<Action['what']> = fc.oneof(
  { weight: 10, arbitrary: call.map((each): Operation => ({ kind: 'call', call: each })) },
  { weight: 2, arbitrary: transaction },
  { weight: 1, arbitrary: fc.constant<Operation>({ kind: 'clear' }) },
  {
    weight: 3,
    arbitrary: fc
      .constantFrom<Read>('listed', 'hopping', 'waiting', 'snapshot')
      .map((read) => ({ kind: 'read', read }) as const),
  },
);
const givingUp: fc.Arbitrary<GivingUp> = fc.oneof(
  { weight: 12, arbitrary: fc.constant<GivingUp>({ when: 'never' }) },
  { weight: 3, arbitrary: fc.constantFrom<GivingUp>({ when: 'before' }, { when: 'at once' }, { when: 'after' }) },
  {
    weight: 2,
    arbitrary: fc.integer({ min: 1, max: 4 }).map((count): GivingUp => ({ when: 'soon', turns: count })),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom(0, 1, 3, 10).map((timeout): GivingUp => ({ when: 'deadline', timeout })),
  },
);
const action: fc.Arbitrary<Action> = fc.record({
  what,
  givingUp,
  pause: fc.constantFrom(0, 0, 0, 1, 3),
  awaited: fc.boolean(),
});
const callers = fc.array(fc.array(action, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 8 });
const batch = fc.constantFrom({}, { calls: 1 }, { calls: 3 });

for (const strategy of STRATEGIES) {
  describe(strategy.title, () => {
    const dir = useTempDir();

    test('whatever callers do at once comes to what it comes to one by one', { timeout: 10 * TIME }, async () => {
      let round = 0;
      const databases = new ExampleDatabases(dir, strategy, mixed);
      /** The time may be up in the middle of an example, and that one counts, too. */
      let running = Promise.resolve();
      const example = async (plan: readonly (readonly Action[])[], limits: { calls?: number }): Promise<void> => {
        const log = dir.file(`${round++}.log`);
        const logged = (path: string): string[] =>
          existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(0, -1) : [];
        const { file, db } = await databases.get({ batch: limits });

        const submitted: Submitted[] = [];
        /** Everything up to here has been acknowledged to somebody. */
        let acknowledged = 0;
        const reads: { rows: readonly string[]; from: number; to: number }[] = [];

        /** Makes calls as somebody who gives them up. */
        const within = <T>(how: GivingUp, calls: () => Promise<T>): Promise<T> => {
          const controller = new AbortController();
          const abort = (): void => {
            controller.abort(how.when);
          };
          if (how.when === 'before') abort();
          const options = how.when === 'deadline' ? { timeout: how.timeout } : { signal: controller.signal };
          const result = how.when === 'never' ? calls() : db.context(options, calls);
          if (how.when === 'at once') abort();
          if (how.when === 'soon') void turns(how.turns).then(abort);
          if (how.when === 'after') void result.then(abort, abort);
          return result;
        };
        const start = async (operation: Operation, how: GivingUp): Promise<void> => {
          const id = submitted.length;
          const answer = answerOf(within(how, () => perform(db, operation, () => turns(1), log, id)));
          submitted.push({ operation, givingUp: how, answer });
          if ((await answer).result === 'ok') acknowledged = Math.max(acknowledged, id + 1);
        };
        const readTwice = (how: Read): Promise<readonly (readonly string[])[]> => {
          switch (how) {
            case 'listed':
              return db.api.entries.listed().then((rows) => [rows, rows]);
            case 'snapshot':
              return db.snapshot(async (api) => {
                const rows = await api.entries.listed();
                await turns(2);
                return [rows, await api.entries.listed()];
              });
            default:
              return db.api.awaiting[how]();
          }
        };
        const read = async (how: Read, givenUp: GivingUp): Promise<void> => {
          const from = acknowledged;
          const result = within(givenUp, () => readTwice(how));
          const { result: answer } = await answerOf(result);
          if (answer !== 'ok') {
            expect(expectedErrors(givenUp), `a read that is given up: ${givenUp.when}`).toContain(answer);
            return;
          }
          expect(givenUp.when, 'no read runs whose signal was aborted before').not.toBe('before');
          const [first = [], second] = await result;
          expect(second, 'it sees one state').toEqual(first);
          reads.push({ rows: first, from, to: submitted.length });
        };
        await Promise.all(
          plan.map(async (actions) => {
            const floating: Promise<void>[] = [];
            for (const { what, givingUp, pause, awaited } of actions) {
              if (pause > 0) await turns(pause);
              const done = what.kind === 'read' ? read(what.read, givingUp) : start(what, givingUp);
              if (awaited) await done;
              else floating.push(done);
            }
            await Promise.all(floating);
          }),
        );
        // What handlers have forgotten comes now at the latest.
        await turns(3);

        const answers = await Promise.all(submitted.map(({ answer }) => answer));
        const runs = new Set(logged(`${log}.runs`));
        const model = new EntriesModel();
        const states = [model.rows];
        for (const [at, { operation, givingUp }] of submitted.entries()) {
          const answer = answers[at] ?? { result: 'unanswered', outcome: undefined };
          if (wasGivenUp(givingUp, answer)) {
            if (givingUp.when === 'before' || givingUp.when === 'at once') {
              expect(answer.outcome, `${at}: it was aborted before its turn`).toBe('not-started');
              expect(runs, `${at}: no handler ran for it`).not.toContain(String(at));
            }
          } else {
            const result = model.run(operation);
            expect(answer.result, `${at}: its answer`).toBe(result);
            // In a transaction a call that was refused may be what ended it, and says so of itself.
            const outcomes = operation.kind === 'transaction' ? ['rolled-back', 'not-started'] : ['rolled-back'];
            expect(result === 'ok' ? [undefined] : outcomes, `${at}: its outcome`).toContain(answer.outcome);
          }
          states.push(model.rows);
        }
        expect(committed(dir, file), 'rows, in the order in which they were submitted').toEqual(model.rows);
        expect(logged(log), 'effects').toEqual(model.notes);
        for (const { rows, from, to } of reads) {
          expect(states.slice(from, to + 1), 'a read sees a committed state, and its caller’s writes').toContainEqual(
            rows,
          );
        }
        expectNoTransaction(dir, file);
        await databases.end(db);
      };
      await fc.assert(
        fc.asyncProperty(callers, batch, (plan, limits) => (running = example(plan, limits))),
        {
          numRuns: 5000,
          interruptAfterTimeLimit: TIME,
          ...(process.env.SEED === undefined ? {} : { seed: Number(process.env.SEED) }),
        },
      );
      await running;
      expect(round, 'examples tried').toBeGreaterThan(20);
    });
  });
}

/** The errors that giving up may end in. */
function expectedErrors({ when }: GivingUp): string[] {
  if (when === 'deadline') return ['TimeoutError'];
  return when === 'never' || when === 'after' ? [] : ['AbortError'];
}

/** Whether the operation ended because it was given up, in which case nothing of it may be left. */
function wasGivenUp(givingUp: GivingUp, { result, outcome }: Answer): boolean {
  // One that aborts at once is in time, unless its caller was alone for so long that the call runs in the caller's tick.
  if (givingUp.when === 'before') expect(result).toBe('AbortError');
  if (!expectedErrors(givingUp).includes(result)) return false;
  // It may have begun: because it runs across ticks, or in a batch that was undone.
  expect(['not-started', 'rolled-back']).toContain(outcome);
  return true;
}
