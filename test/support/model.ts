/**
 * What the ledger's entries must be, in plain JavaScript: calls run strictly one after another, each all or nothing. Under
 * every strategy, batched and replayed as it may be, the database must come to the same rows and the same answers.
 */
import { ConstraintError } from '../../src/index.ts';
import { type Failure, type LedgerDatabase, type Step } from './ledger.ts';

/** One call of `entries.run`. */
export interface Call {
  readonly call: string;
  readonly steps: readonly Step[];
}

/** What a caller submits. */
export type Operation =
  | { readonly kind: 'call'; readonly call: Call }
  | { readonly kind: 'clear' }
  | {
      readonly kind: 'transaction';
      /** In order, with other things awaited between them; `caught`: the callback goes on after a failure. */
      readonly calls: readonly (Call & { readonly caught: boolean })[];
      readonly ending: 'commit' | 'throw';
    };

/** `ok`, or the error's name and, of a constraint, its kind. */
export type Result = string;

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
  switch (operation.kind) {
    case 'call':
      return settle(db.api.entries.run(operation.call.call, operation.call.steps, log));
    case 'clear':
      return settle(db.api.entries.clear());
    case 'transaction':
      return settle(
        db.transaction(async (api) => {
          for (const { call, steps, caught } of operation.calls) {
            const done = api.entries.run(call, steps, log);
            await (caught ? done.catch(() => undefined) : done);
            await between();
          }
          if (operation.ending === 'throw') throw new Refused();
        }),
      );
  }
}

async function settle(promise: Promise<unknown>): Promise<Result> {
  try {
    await promise;
    return 'ok';
  } catch (error) {
    if (error instanceof ConstraintError) return `${error.name}:${error.kind}`;
    return error instanceof Error ? error.name : String(error);
  }
}
