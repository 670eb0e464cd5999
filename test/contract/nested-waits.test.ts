/**
 * Random programs of transactions, snapshots, streams and calls over three databases, one inside another and side by side. A
 * program that takes the databases in one order everywhere goes through. Any other one may be refused a call, but nothing
 * in it ever waits until its deadline, and what is kept is what resolved.
 *
 * `SEED=…` repeats a run; a failure prints its seed and its smallest example. `TIME=60000` tries longer.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DeadlockError } from '../../src/index.ts';
import { type LedgerDatabase } from '../support/ledger.ts';
import { committed, expectNothingHeld, openLedger } from '../support/open-ledger.ts';
import { STRATEGIES } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { turns } from '../support/waiting.ts';

/** Milliseconds for each strategy and kind of program; without it, so many programs. */
const { TIME } = process.env;
const PROGRAMS = 150;
const DATABASES = 3;
/** Milliseconds that a call may wait: far more than any program takes. */
const TIMEOUT = 20_000;

/** One step: at one of the databases, after some turns of the event loop. */
interface Step {
  readonly what: 'write' | 'read' | 'walk' | 'transaction' | 'snapshot';
  readonly at: number;
  readonly turns: number;
  /** What happens inside, one after the other or at once. */
  readonly inside: readonly Step[];
  readonly together: boolean;
}

const { step } = fc.letrec<{ step: Step }>((tie) => ({
  step: fc.record({
    what: fc.constantFrom('write', 'read', 'walk', 'transaction', 'transaction', 'transaction', 'snapshot'),
    at: fc.nat(DATABASES - 1),
    turns: fc.nat(3),
    inside: fc.oneof(
      { depthSize: 'medium', withCrossShrink: true },
      fc.constant([]),
      fc.array(tie('step'), { minLength: 1, maxLength: 3 }),
    ),
    together: fc.boolean(),
  }),
}));

const programs = fc.array(step, { minLength: 2, maxLength: 5 });

/** Two transactions that take two databases in opposite order. */
const crossing = [0, 1].map((at): Step => {
  const write: Step = { what: 'write', at: 1 - at, turns: 3, inside: [], together: false };
  return { what: 'transaction', at, turns: 0, inside: [write], together: false };
});

/** What a program has done to each database: the calls that are kept if everything around them is. */
type Kept = readonly string[][];

/** Calls so far: each has a name of its own. */
let calls = 0;

class Run {
  readonly #databases: readonly LedgerDatabase[];
  readonly #ordered: boolean;
  refused = 0;

  constructor(databases: readonly LedgerDatabase[], ordered: boolean) {
    this.#databases = databases;
    this.#ordered = ordered;
  }

  /** @param lowest the database that is inside everything else: an ordered program takes no earlier one */
  async all(steps: readonly Step[], together: boolean, lowest = 0, readOnly = new Set<number>()): Promise<Kept> {
    const kept: Kept[] = [];
    const one = async (each: Step): Promise<void> => {
      kept.push(await this.#one(each, lowest, readOnly));
    };
    if (together) {
      // A failure is known when all have ended: what goes on after its transaction is another test's.
      const failed = (await Promise.allSettled(steps.map(one))).find(({ status }) => status === 'rejected');
      if (failed !== undefined) throw (failed as PromiseRejectedResult).reason;
    } else {
      for (const each of steps) await one(each);
    }
    return merged(kept);
  }

  /** Runs a step, whose failure is caught: what is around it goes on. */
  async #one(step: Step, lowest: number, readOnly: ReadonlySet<number>): Promise<Kept> {
    await turns(step.turns);
    try {
      return await this.#tried(step, lowest, readOnly);
    } catch (error) {
      if (this.#ordered || !(error instanceof DeadlockError)) throw error;
      this.refused += 1;
      return NOTHING;
    }
  }

  async #tried({ what, at, inside, together }: Step, lowest: number, readOnly: ReadonlySet<number>): Promise<Kept> {
    const chosen = this.#ordered ? Math.max(lowest, at) : at;
    const db = this.#databases[chosen];
    if (db === undefined) throw new Error('there is no such database');
    const call = `call-${++calls}`;
    const reading = readOnly.has(chosen);
    const within = (set = readOnly): Promise<Kept> => this.all(inside, together, chosen, new Set(set));
    switch (what) {
      case 'transaction':
        if (reading) return db.snapshot(() => within());
        return db.transaction(() => within());
      case 'snapshot':
        return db.snapshot(() => within(new Set([...readOnly, chosen])));
      case 'walk':
        for await (const row of db.api.entries.each(3)) {
          expect(row).toMatch(/\/1$/);
          return within();
        }
        return NOTHING;
      case 'write':
        if (!reading) {
          await db.api.entries.run(call, ['row']);
          return NOTHING.map((_, index) => (index === chosen ? [`${call}/1`] : []));
        }
        await db.api.entries.count();
        return NOTHING;
      case 'read':
        await db.api.entries.count();
        return NOTHING;
    }
  }
}

const NOTHING: Kept = Array.from({ length: DATABASES }, () => []);

function merged(kept: readonly Kept[]): Kept {
  return NOTHING.map((_, at) => kept.flatMap((each) => each[at] ?? []));
}

for (const strategy of STRATEGIES) {
  describe(`nested waits, ${strategy.title}`, () => {
    const dir = useTempDir();

    test.each([
      ['in one order goes through', true],
      ['in any order is refused at once where it cannot go on', false],
    ] as const)('a program that takes databases %s', async (_, ordered) => {
      const files = Array.from({ length: DATABASES }, (_, at) => dir.file(`${at}.db`));
      const databases: LedgerDatabase[] = [];
      for (const file of files) {
        databases.push(await openLedger(dir, strategy, { file, durability: 'normal', readers: 1, timeout: TIMEOUT }));
      }
      // Something to walk over.
      for (const db of databases) await db.api.entries.run('first', ['row']);
      let refused = 0;
      const tryOut = async (program: readonly Step[]): Promise<void> => {
        const before = files.map((file) => committed(dir, file));
        const run = new Run(databases, ordered);
        const since = performance.now();
        const kept = await run.all(program, true);
        expect(performance.now() - since, 'ms, long before the deadline').toBeLessThan(TIMEOUT / 2);
        for (const [at, file] of files.entries()) {
          const [rows, old] = [committed(dir, file), before[at] ?? []];
          expect(rows.slice(old.length).sort(), `rows of database ${at}`).toEqual([...(kept[at] ?? [])].sort());
        }
        refused += run.refused;
      };
      let last = Promise.resolve();
      await fc.assert(
        fc.asyncProperty(programs, (program) => (last = tryOut(program))),
        {
          examples: [[crossing]],
          ...(TIME === undefined ? { numRuns: PROGRAMS } : { numRuns: 1e9, interruptAfterTimeLimit: Number(TIME) }),
          ...(process.env.SEED === undefined ? {} : { seed: Number(process.env.SEED) }),
        },
      );
      // The time limit does not wait for it.
      await last;
      if (!ordered) expect(refused, 'circles found').toBeGreaterThan(0);
      for (const [at, db] of databases.entries()) await expectNothingHeld(dir, db, strategy, files[at]);
    });
  });
}
