/**
 * What the ledger's entries must be, in plain JavaScript: calls run strictly one after another, each all or nothing. Under
 * every strategy, batched and replayed as it may be, the database must come to the same rows and the same answers.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { appendFileSync, existsSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { DrizzleQueryError, sql } from 'drizzle-orm';
import {
  type Api,
  type AsyncReadDatabase,
  type AsyncWriteDatabase,
  ConstraintError,
  type Database,
  defineAsyncRepository,
  defineRepositories,
  defineRepository,
  type Outcome,
} from '../../src/index.ts';
import { entries, type Failure, ledger, type LedgerDatabase, Refusal, type Step } from './ledger.ts';

/**
 * What an asynchronous handler does between its statements. A `hop` stays in the microtask queue, and `forget` leaves a
 * write behind that comes after the handler's end; the others wait for something that is not the database.
 */
export type Pause = 'hop' | 'forget' | 'immediate' | 'timer' | 'file';

/**
 * Gates that are files, so that they reach a handler in any thread: `touch` makes one, `until` waits until there is one,
 * and `late` leaves a promise behind that waits for one, tries to write in every way, and logs what it is told.
 */
export type Signal = { readonly touch: string } | { readonly until: string } | { readonly late: string };

/** What one asynchronous call is told to do. */
export type AsyncSteps = readonly (Step | Pause | Signal)[];

/** Somebody's own context, as a program has it for its logger. */
export const user = new AsyncLocalStorage<string>();

const asListed = async (db: AsyncReadDatabase): Promise<string[]> =>
  (await db.select().from(entries).orderBy(entries.id)).map(({ call, part }) => `${call}/${part}`);

/**
 * Asynchronous handlers for the table of entries. The log of a call gets a line for each effect; beside it `.runs` gets one
 * for each run of the handler, and `.errors` the name of each error of a statement that it did not catch.
 */
const awaiting = defineAsyncRepository(entries, {
  reads: (db, { use }) => {
    const listed = (): Promise<string[]> => asListed(db);
    return {
      /** Reads twice, with another await between. */
      hopping: async () => {
        const first = await listed();
        await Promise.resolve();
        return [first, await listed()] as const;
      },
      /** Reads twice, and waits for the event loop between. */
      waiting: async () => {
        const first = await listed();
        await turn();
        await turn();
        return [first, await listed()] as const;
      },
      /** Reads twice, and waits for a gate between. */
      held: async (begun: string, held: string) => {
        const first = await listed();
        writeFileSync(begun, '');
        await exists(held);
        return [first, await listed()] as const;
      },
      /** Writes where only reads belong, which is a compile error without the casts. */
      sneak: async (call: string, how: 'drizzle' | 'use') => {
        await turn();
        if (how === 'use') return use(ledger.repositories.entries).sneak(call);
        return (db as AsyncWriteDatabase).insert(entries).values({ call, part: 1 }).run();
      },
    };
  },
  writes: (db, { afterCommit, use }) => {
    const insert = (call: string, part: number) => db.insert(entries).values({ call, part }).run();
    const fail = async (failure: Failure, call: string, part: number): Promise<void> => {
      if (failure === 'again') await insert(call, part);
      else if (failure === 'throw') throw new Refusal(`${call} was refused`);
      else if (failure === 'or-rollback') await db.run(sql`INSERT OR ROLLBACK INTO traps (kind) VALUES ('taken')`);
      else if (failure === 'orphan') await db.run(sql`INSERT INTO orphans (parent) VALUES (-1)`);
      else await db.run(sql`INSERT INTO traps (kind) VALUES (${failure})`);
    };
    const tryAllLate = async (log: string | undefined, call: string): Promise<void> => {
      const ways = [
        () => insert(call, 98),
        () => use(ledger.repositories.entries).run(`late-${call}`, ['row']),
        () => db.select().from(entries).all(),
        () => {
          afterCommit(() => {
            appendFileSync(`${log}.errors`, 'effect\n');
          });
        },
      ];
      for (const way of ways) await recorded(log, way).catch(() => undefined);
    };
    const steps = async (call: string, todo: AsyncSteps, log?: string, id?: number): Promise<number> => {
      if (log !== undefined) appendFileSync(`${log}.runs`, `${id ?? call}\n`);
      let part = 0;
      for (const step of todo) {
        if (typeof step === 'object') {
          if ('touch' in step) writeFileSync(step.touch, '');
          else if ('until' in step) await exists(step.until);
          else void exists(step.late).then(() => tryAllLate(log, call));
          continue;
        }
        switch (step) {
          case 'row':
            await recorded(log, () => insert(call, ++part));
            break;
          case 'note':
            afterCommit(() => {
              if (log !== undefined) appendFileSync(log, `${call}\n`);
            });
            break;
          case 'hop':
            await Promise.resolve();
            break;
          case 'forget':
            setImmediate(() => {
              insert('ghost', id ?? 0).catch(() => undefined);
            });
            break;
          case 'immediate':
            await turn();
            break;
          case 'timer':
            await sleep(1);
            break;
          case 'file':
            await stat('.');
            break;
          default:
            if (!step.startsWith('caught ')) await fail(step as Failure, call, part);
            else await fail(step.slice('caught '.length) as Failure, call, part).catch(() => undefined);
        }
      }
      return part;
    };
    return {
      /** Awaits nothing but its database. */
      hop: steps,
      /** May wait for anything. A method of its own, because one that was seen to wait is remembered. */
      wait: (call: string, todo: AsyncSteps, log?: string, id?: number) => steps(call, todo, log, id),
      /** Inserts the same row twice, and says what it has caught. */
      async tolerant(call: string) {
        await insert(call, 1);
        try {
          await insert(call, 1);
          return 'nothing';
        } catch (error) {
          return error instanceof ConstraintError ? error.kind : String(error);
        }
      },
      /** Inserts a row for whoever calls, and logs who it is after the commit. */
      async who(log: string, pause: 'hop' | 'immediate') {
        await (pause === 'hop' ? Promise.resolve() : turn());
        const name = `async ${String(user.getStore())}`;
        await insert(name, 1);
        afterCommit(() => {
          appendFileSync(log, `${name}, after the commit ${String(user.getStore())}\n`);
        });
      },
    };
  },
});

/** The same by a synchronous handler. */
const plain = defineRepository(entries, {
  writes: (db, { afterCommit }) => ({
    who(log: string) {
      const name = `plain ${String(user.getStore())}`;
      db.insert(entries).values({ call: name, part: 1 }).run();
      afterCommit(() => {
        appendFileSync(log, `${name}, after the commit ${String(user.getStore())}\n`);
      });
    },
  }),
});

/** A handler that is made of others'. */
const relay = defineAsyncRepository(entries, {
  reads: (db, { use }) => ({
    /** How many rows there are: by a synchronous repository, by an asynchronous one, and by itself. */
    counted: async () => [
      use(ledger.repositories.entries).count(),
      await use(awaiting).count(),
      (await db.select().from(entries)).length,
    ],
  }),
  writes: (_db, { use }) => ({
    async both(call: string, ending: 'hop' | 'immediate' | 'throw') {
      const sync = use(ledger.repositories.entries);
      const written = sync.run(`${call}-sync`, ['row']);
      await use(awaiting).hop(`${call}-async`, ['row', 'hop', 'row']);
      await use(awaiting).insert({ call: `${call}-table`, part: 1 });
      if (ending === 'immediate') await turn();
      if (ending === 'throw') throw new Refusal('after all of it');
      return [written, sync.count(), (await use(awaiting).find({ call: `${call}-async` })).length];
    },
  }),
});

async function exists(file: string): Promise<void> {
  while (!existsSync(file)) await turn();
}

async function recorded(log: string | undefined, way: () => unknown): Promise<void> {
  try {
    await way();
  } catch (error) {
    // Drizzle wraps what a statement of its proxy driver rejects with.
    const inner = error instanceof DrizzleQueryError ? error.cause : error;
    if (log !== undefined) appendFileSync(`${log}.errors`, `${inner instanceof Error ? inner.name : String(inner)}\n`);
    throw error;
  }
}

/** The contract's ledger, and asynchronous handlers for the table of entries. */
export const mixed = defineRepositories(
  import.meta.url,
  { ...ledger.repositories, awaiting, plain, relay },
  { errors: [Refusal] },
);

/** The database of both. */
export type MixedDatabase = Database<typeof mixed>;

/** One call of `entries.run`, or of an asynchronous handler that does the same. */
export type Call =
  | { readonly handler?: 'sync'; readonly call: string; readonly steps: readonly Step[] }
  | { readonly handler: 'hop' | 'wait'; readonly call: string; readonly steps: AsyncSteps };

/** What a caller submits. */
export type Operation =
  | { readonly kind: 'call'; readonly call: Call }
  | { readonly kind: 'clear' }
  | {
      readonly kind: 'transaction';
      /** In order, with other things awaited between them; `caught`: the callback goes on after a failure. */
      readonly calls: readonly (Call & { readonly caught: boolean })[];
      /** All at once instead, in `Promise.all`: they take turns, and it comes to the same. */
      readonly together?: boolean;
      readonly ending: 'commit' | 'throw';
    };

/** `ok`, or the error's name and, of a constraint, its kind. */
export type Result = string;

/** What a caller learns. */
export interface Answer {
  readonly result: Result;
  /** What the error says became of the write. */
  readonly outcome: Outcome | undefined;
}

/** A fault that the file brings about at its nth insert into the entries. */
export type Fault = 'abort' | 'fail' | 'rollback';

/** The committed state. */
interface State {
  readonly rows: readonly string[];
  /** The calls whose effects have run, in order. */
  readonly notes: readonly string[];
  /** Inserts until the fault comes about; it never does below zero. */
  readonly countdown: number;
  /** A `RAISE(FAIL)` that its handler caught keeps its row, and the next one is a unique violation. */
  readonly failKept: boolean;
}

/** A state in the making. */
interface Draft {
  rows: string[];
  notes: string[];
  countdown: number;
  failKept: boolean;
  /** Holds a row whose deferred foreign key COMMIT will refuse. */
  orphaned: boolean;
}

/** Thrown inside the model only. */
class Failed extends Error {
  readonly result: Result;
  /** The whole transaction has ended. */
  readonly fatal: boolean;

  constructor(result: Result, fatal = false) {
    super(result);
    this.result = result;
    this.fatal = fatal;
  }
}

/** The ledger's entries as they must be. */
export class EntriesModel {
  #state: State;
  readonly #fault: Fault | undefined;

  constructor(fault?: { readonly kind: Fault; readonly at: number }) {
    this.#fault = fault?.kind;
    this.#state = { rows: [], notes: [], countdown: fault?.at ?? -1, failKept: false };
  }

  /** Every committed row as `call/part`, in the order of the inserts. */
  get rows(): readonly string[] {
    return this.#state.rows;
  }

  /** The calls whose effects must have run, in order: once for each `note` of what was committed. */
  get notes(): readonly string[] {
    return this.#state.notes;
  }

  /** Runs an operation by itself. */
  run(operation: Operation): Result {
    const draft: Draft = copy({ ...this.#state, orphaned: false });
    try {
      switch (operation.kind) {
        case 'call':
          this.#call(draft, operation.call);
          break;
        case 'clear':
          draft.rows = [];
          break;
        case 'transaction':
          this.#transaction(draft, operation);
          break;
      }
      if (draft.orphaned) throw new Failed('ConstraintError:foreign-key');
    } catch (error) {
      if (error instanceof Failed) return error.result;
      throw error;
    }
    const { rows, notes, countdown, failKept } = draft;
    this.#state = { rows, notes, countdown, failKept };
    return 'ok';
  }

  #transaction(draft: Draft, { calls, ending }: Extract<Operation, { kind: 'transaction' }>): void {
    let broken = false;
    for (const call of calls) {
      const before = copy(draft);
      try {
        if (broken) throw new Failed('TransactionEndedError');
        this.#call(draft, call);
      } catch (error) {
        if (!(error instanceof Failed) || !call.caught) throw error;
        broken ||= error.fatal;
        Object.assign(draft, before);
      }
    }
    if (ending === 'throw') throw new Failed('Refusal');
    if (broken) throw new Failed('TransactionEndedError');
  }

  #call(draft: Draft, { call, steps }: Call): void {
    let part = 0;
    let ended = false;
    for (const step of steps) {
      if (isPause(step)) continue;
      // Once a handler has caught the end of the transaction, its next statement tells it again.
      if (ended && step !== 'note' && step !== 'throw' && !step.startsWith('caught ')) break;
      if (step === 'row') this.#insert(draft, `${call}/${++part}`);
      else if (step.startsWith('caught ')) {
        if (ended) continue;
        try {
          this.#fail(draft, step.slice('caught '.length) as Failure, `${call}/${part}`);
        } catch (error) {
          if (!(error instanceof Failed)) throw error;
          ended ||= error.fatal;
          if (step === 'caught fail') draft.failKept = true;
        }
      } else if (step === 'note') draft.notes.push(call);
      else this.#fail(draft, step as Failure, `${call}/${part}`, ended);
    }
    if (ended) throw new Failed('TransactionEndedError', true);
  }

  #insert(draft: Draft, row: string): void {
    // The insert that is refused for its key never gets as far as the fault, and its count is undone with it.
    if (draft.rows.includes(row)) throw new Failed('ConstraintError:unique');
    draft.countdown -= 1;
    if (draft.countdown === 0) throw new Failed('ConstraintError:check', this.#fault === 'rollback');
    draft.rows.push(row);
  }

  #fail(draft: Draft, failure: Failure, row: string, ended = false): void {
    switch (failure) {
      case 'again':
        // Without a row before it this is part 0: the first of its kind.
        this.#insert(draft, row);
        return;
      case 'throw':
        throw new Failed('Refusal', ended);
      case 'abort':
        throw new Failed('ConstraintError:check');
      case 'fail':
        throw new Failed(draft.failKept ? 'ConstraintError:unique' : 'ConstraintError:check');
      case 'rollback':
        throw new Failed('ConstraintError:check', true);
      case 'or-rollback':
        throw new Failed('ConstraintError:unique', true);
      case 'orphan':
        draft.orphaned = true;
    }
  }
}

function copy(state: State & { readonly orphaned: boolean }): Draft {
  return { ...state, rows: [...state.rows], notes: [...state.notes] };
}

/** What becomes of the database does not depend on it. */
function isPause(step: AsyncSteps[number]): step is Pause | Signal {
  return typeof step === 'object' || ['hop', 'forget', 'immediate', 'timer', 'file'].includes(step);
}

/** What the callback of a transaction throws of its own accord. */
class Refused extends Error {
  override readonly name = 'Refusal';
}

/** Submits an operation to a real database. `between` is awaited between a transaction's calls. */
export async function submit(
  db: LedgerDatabase,
  operation: Operation,
  between: () => Promise<unknown>,
  log?: string,
): Promise<Result> {
  return (await answerOf(perform(db, operation, between, log))).result;
}

/** Makes the calls of an operation; asynchronous ones need a {@link MixedDatabase}. `id` is theirs in the list of runs. */
export function perform(
  db: LedgerDatabase,
  operation: Operation,
  between: () => Promise<unknown>,
  log?: string,
  id?: number,
): Promise<unknown> {
  switch (operation.kind) {
    case 'call':
      return make(db.api, operation.call, log, id);
    case 'clear':
      return db.api.entries.clear();
    case 'transaction':
      return db.transaction(async (api) => {
        const one = (call: (typeof operation.calls)[number]): Promise<unknown> => {
          const done = make(api, call, log, id);
          return call.caught ? done.catch(() => undefined) : done;
        };
        if (operation.together === true) await Promise.all(operation.calls.map(one));
        else {
          for (const call of operation.calls) {
            await one(call);
            await between();
          }
        }
        if (operation.ending === 'throw') throw new Refused();
      });
  }
}

function make(api: Api<typeof ledger>, call: Call, log?: string, id?: number): Promise<unknown> {
  if (call.handler === undefined || call.handler === 'sync') return api.entries.run(call.call, call.steps, log);
  return (api as Api<typeof mixed>).awaiting[call.handler](call.call, call.steps, log, id);
}

/** What the caller of an operation learns. Never rejects. */
export async function answerOf(operation: Promise<unknown>): Promise<Answer> {
  try {
    await operation;
    return { result: 'ok', outcome: undefined };
  } catch (error) {
    if (!(error instanceof Error)) return { result: String(error), outcome: undefined };
    const { outcome } = error as { outcome?: Outcome };
    return { result: error instanceof ConstraintError ? `${error.name}:${error.kind}` : error.name, outcome };
  }
}
