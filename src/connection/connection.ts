import { ConstraintError, ContextError, HandlerError } from '../errors.ts';
import {
  bothSides,
  type Handler,
  type HandlerSet,
  type HandlerSide,
  makeReads,
  makeWrites,
  type ReadSide,
  type Workbench,
} from '../repository/handlers.ts';
import { type Method } from '../repository/methods.ts';
import { type AnyRepository, type Repositories } from '../repository/types.ts';
import { AsyncBench, type AsyncDriver, type StartedRun } from './async-bench.ts';
import { callSignal } from './cancelled.ts';
import { distinctKeys, newViolations, violatedForeignKeys } from './foreign-keys.ts';
import { Gate } from './gate.ts';
import { GuardedClient, refuseUnfinished } from './guarded-client.ts';
import { type Handle, type NativeStatement } from './handle.ts';
import { handlerDatabase } from './session.ts';
import { isBusy, translateError } from './sqlite-errors.ts';

/** A function to run after the commit of the call that asked for it. */
export type Effect = () => unknown;

interface Made {
  reads: ReadSide | undefined;
  writes: HandlerSide | undefined;
  /** Both in one object, as `use` gives them in a write. */
  all: HandlerSet | undefined;
  making: boolean;
}

const NO_EFFECTS: readonly Effect[] = [];

/** The SQL of transaction control, compiled at first use. */
const CONTROL = {
  begin: 'BEGIN',
  beginImmediate: 'BEGIN IMMEDIATE',
  commit: 'COMMIT',
  // A deferred BEGIN takes its snapshot with its first read.
  pin: 'SELECT 1 FROM sqlite_schema LIMIT 1',
  // One name for every level: SQLite finds the innermost, and handlers cannot name a savepoint themselves.
  savepoint: 'SAVEPOINT sluice',
  release: 'RELEASE sluice',
  rollbackTo: 'ROLLBACK TO sluice',
} as const;

/**
 * A handle with its Drizzle database, its verified pragmas and its handlers.
 *
 * Invariant: it is owned by one lease at a time. Whoever holds the lease gives it back outside a transaction, or discards it.
 */
export class Connection {
  readonly handle: Handle;
  readonly role: 'writer' | 'reader';
  readonly #gate: Gate;
  readonly #client: GuardedClient;
  readonly #bench: Workbench;
  readonly #names: Map<AnyRepository, string>;
  readonly #made = new Map<AnyRepository, Made>();
  readonly #control: Partial<Record<keyof typeof CONTROL, NativeStatement>> = {};
  #dataVersion: NativeStatement | undefined;
  /** Handlers that were seen to run several statements, and so need a transaction for one view of the data. */
  readonly #several = new WeakSet<Handler>();
  #effects: Effect[] = [];
  readonly #asyncDriver: AsyncDriver | undefined;
  #async: AsyncBench | undefined;

  /** @param settings `file` is named in errors; `asyncDriver` may be absent where no repository is asynchronous */
  constructor(
    handle: Handle,
    role: 'writer' | 'reader',
    settings: { repositories: Repositories; file: string; asyncDriver: AsyncDriver | undefined },
  ) {
    const { repositories, file, asyncDriver } = settings;
    this.handle = handle;
    this.role = role;
    this.#asyncDriver = asyncDriver;
    this.#gate = new Gate(file);
    const pending = (): Effect[] => this.#effects;
    this.#client = new GuardedClient(handle, this.#gate, {
      get length() {
        return pending().length;
      },
      truncate: (length) => {
        if (length < pending().length) pending().length = length;
      },
    });
    this.#names = new Map(Object.entries(repositories).map(([name, repository]) => [repository, name]));
    const db = handlerDatabase(this.#client);
    this.#bench = {
      prepare: (source) => this.#client.prepare(source),
      forReads: [db, { signal: callSignal, use: (repository: AnyRepository) => this.reads(repository).all }],
      forWrites: [
        db,
        {
          signal: callSignal,
          use: (repository: AnyRepository) => this.both(repository),
          afterCommit: (effect: Effect) => {
            // After the end of its transaction the call is as good as undone, and the effect with it.
            if (this.#gate.access !== 'write' && this.#gate.access !== 'ended') {
              throw new HandlerError(
                'afterCommit: called outside a write handler’s call; call it while the handler runs',
              );
            }
            this.#effects.push(effect);
          },
        },
      ],
    };
  }

  get inTransaction(): boolean {
    return this.handle.inTransaction;
  }

  /** Whether a handler is running on it right now: an api call that this handler makes has to wait for its end. */
  get busy(): boolean {
    return this.#gate.access !== 'none';
  }

  /** What becomes of an api call that would run inside the handler that is running right now; `undefined` where none is. */
  refusal(label: string): ContextError | undefined {
    return this.busy ? callInHandler(label, this.#gate.label) : undefined;
  }

  /** A repository's read handlers on this connection, made at first use. */
  reads(repository: AnyRepository): ReadSide {
    const made = this.#entry(repository);
    return (made.reads ??= this.#make(repository, made, makeReads));
  }

  /** A repository's write handlers on this connection, made at first use. */
  writes(repository: AnyRepository): HandlerSide {
    const made = this.#entry(repository);
    return (made.writes ??= this.#make(repository, made, makeWrites));
  }

  /** All of a repository's handlers, as a write uses them. */
  both(repository: AnyRepository): HandlerSet {
    const made = this.#entry(repository);
    return (made.all ??= bothSides(this.reads(repository), this.writes(repository), this.#nameOf(repository)));
  }

  /**
   * Runs a read handler. It sees one committed state: a handler that turns out to run several statements is run again
   * inside a transaction, and from then on always.
   */
  read(method: Method, args: readonly unknown[]): unknown {
    const handler = method.on(this);
    const gate = this.#gate;
    if (this.handle.inTransaction) return this.#run('read', method.label, handler, args);
    if (!this.#several.has(handler)) {
      gate.single = true;
      try {
        const result = this.#run('read', method.label, handler, args);
        // The handler may have caught what unwound it; what it made of half its rows is not an answer.
        if (!gate.overrun) return result;
      } catch (error) {
        if (!gate.overrun) throw error;
      } finally {
        gate.single = false;
      }
      gate.overrun = false;
      this.#several.add(handler);
    }
    this.control('begin');
    try {
      return this.#run('read', method.label, handler, args);
    } finally {
      this.rollback();
    }
  }

  /**
   * Runs one step of a read that goes on later. It sees one committed state, or that of the transaction that is open; nothing
   * of it is left open on the connection. What `run` threw is the answer, because it cannot be run again.
   *
   * @throws {BusyError} before `run` has begun
   */
  step(label: string, run: () => void): { readonly error: unknown } | undefined {
    const own = !this.handle.inTransaction;
    if (own) this.control('begin');
    try {
      if (own) this.control('pin');
      try {
        this.#run('read', label, run, []);
      } catch (error) {
        return { error };
      }
      return undefined;
    } finally {
      if (own) this.rollback();
    }
  }

  /** What the last write came to, beside its result: see {@link Gate}. */
  get lastWrite(): Pick<Gate, 'writes' | 'lost'> {
    return this.#gate;
  }

  /** Runs a write handler inside the transaction that is open. */
  write(method: Method, args: readonly unknown[]): unknown {
    return this.#run('write', method.label, method.on(this), args);
  }

  /** Starts an asynchronous handler inside the transaction that is open. */
  start(method: Method, args: readonly unknown[]): StartedRun {
    return this.#asyncBench(method.label).start(method.access, method.label, method.on(this), args);
  }

  /** Runs one statement of transaction control. @throws translated errors, `BusyError` among them. */
  control(step: keyof typeof CONTROL): void {
    try {
      const statement = (this.#control[step] ??= this.handle.prepare(CONTROL[step]));
      if (step === 'pin') statement.get();
      else statement.run();
    } catch (error) {
      throw translateError(error, { operation: CONTROL[step], handle: this.handle });
    }
  }

  /**
   * Takes SQLite's write lock if it is free. Somebody who looks often calls this: no error is made of a refusal.
   *
   * @throws translated errors of everything else
   */
  takeWriteLock(): boolean {
    try {
      (this.#control.beginImmediate ??= this.handle.prepare(CONTROL.beginImmediate)).run();
      return true;
    } catch (error) {
      if (isBusy(error)) return false;
      throw translateError(error, { operation: CONTROL.beginImmediate, handle: this.handle });
    }
  }

  /** A number that is another one when another connection has committed; `undefined` when it cannot be had just now. */
  get dataVersion(): number | undefined {
    try {
      return Number((this.#dataVersion ??= this.handle.prepare('PRAGMA data_version').pluck()).get());
    } catch {
      // Somebody is at work on a rollback journal.
      return undefined;
    }
  }

  /** Commits. @throws translated errors; one over a foreign key leaves nothing to commit and names it */
  commit(): void {
    try {
      this.control('commit');
    } catch (error) {
      throw error instanceof ConstraintError ? this.explainCommit(error) : error;
    }
  }

  /** Names the foreign keys for which COMMIT was refused, while the rows that violate them are still there. */
  explainCommit(error: ConstraintError): unknown {
    if (error.kind !== 'foreign-key') return error;
    const after = violatedForeignKeys(this.handle);
    this.rollback();
    const keys = distinctKeys(newViolations(violatedForeignKeys(this.handle), after));
    return translateError(error.cause, { operation: 'COMMIT', handle: this.handle, foreignKeys: () => keys });
  }

  /** Ends the open transaction, if there is one. Never throws: whether it worked is `inTransaction`'s to say. */
  rollback(): void {
    this.#effects = [];
    if (!this.handle.inTransaction) return;
    try {
      this.handle.exec('ROLLBACK');
    } catch {
      // The first error is the one to report; the lease looks at inTransaction and discards the connection.
    }
  }

  /**
   * Makes it fit for whoever gets it next: outside any transaction, no statement under way, `query_only` as its role wants
   * it. Never throws.
   *
   * A handler can leave none of this behind. `query_only` is set by a pragma with a value, which is refused by its text,
   * and statements are lent without `iterate`. So it is asked once for each lease, and not for each synchronous read.
   *
   * @returns `broken` when it must not serve anybody any more
   */
  makeClean(): 'clean' | 'repaired' | 'broken' {
    const { handle } = this;
    const expected = this.role === 'reader' ? 1 : 0;
    try {
      // Refused by the driver while a statement is under way, which pins the state that it reads.
      handle.exec('');
      if (!handle.inTransaction && handle.pragma('query_only', { simple: true }) === expected) return 'clean';
      this.rollback();
      handle.pragma(`query_only = ${expected}`);
      return handle.inTransaction ? 'broken' : 'repaired';
    } catch {
      return 'broken';
    }
  }

  /** Takes the effects that handlers have asked for since the last time. */
  takeEffects(): readonly Effect[] {
    if (this.#effects.length === 0) return NO_EFFECTS;
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  close(): void {
    this.handle.close();
  }

  #run(access: 'read' | 'write', label: string, handler: Handler, args: readonly unknown[]): unknown {
    const gate = this.#gate;
    if (gate.access !== 'none') throw callInHandler(label, gate.label);
    gate.access = access;
    gate.label = label;
    gate.statements = 0;
    gate.writes = 0;
    gate.lost = false;
    try {
      const result = handler(...args);
      if (typeof result === 'object') refuseUnfinished(result, label);
      return result;
    } catch (error) {
      throw translateError(error, { operation: label, handle: this.handle });
    } finally {
      gate.access = 'none';
    }
  }

  #entry(repository: AnyRepository): Made {
    let made = this.#made.get(repository);
    if (made === undefined) {
      this.#made.set(repository, (made = { reads: undefined, writes: undefined, all: undefined, making: false }));
    }
    return made;
  }

  #make<S extends HandlerSide>(
    repository: AnyRepository,
    made: Made,
    make: (repository: AnyRepository, name: string, bench: Workbench) => S,
  ): S {
    const name = this.#nameOf(repository);
    if (made.making) {
      throw new HandlerError(
        `${name}: factories use each other in a circle; call use inside the handler, not in the factory`,
      );
    }
    const { access } = this.#gate;
    made.making = true;
    this.#gate.access = 'prepare';
    try {
      return make(repository, name, repository.kind === 'sync' ? this.#bench : this.#asyncBench(name).bench);
    } catch (error) {
      throw translateError(error, { operation: `factory of ${name}`, handle: this.handle });
    } finally {
      this.#gate.access = access;
      made.making = false;
    }
  }

  /** Made for the first asynchronous repository. */
  #asyncBench(name: string): AsyncBench {
    if (this.#asyncDriver === undefined) {
      throw new HandlerError(
        `${name}: its handlers are asynchronous, and no repository of the registry is; use it in an asynchronous handler`,
      );
    }
    return (this.#async ??= new AsyncBench({
      driver: this.#asyncDriver,
      handle: this.handle,
      gate: this.#gate,
      client: this.#client,
      sides: (repository, access) =>
        access === 'read' ? [this.reads(repository)] : [this.reads(repository), this.writes(repository)],
      addEffect: (effect) => {
        this.#effects.push(effect);
      },
    }));
  }

  #nameOf(repository: AnyRepository): string {
    return this.#names.get(repository) ?? 'a repository outside the registry';
  }
}

function callInHandler(label: string, running: string): ContextError {
  return new ContextError(
    `${label}: called through the api while ${running} runs on the same connection; a handler reaches other handlers with use(…)`,
  );
}
