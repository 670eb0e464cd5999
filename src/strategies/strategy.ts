import { type Cursor, type Pulled } from '../connection/cursor.ts';
import { type Ambient } from '../context/context.ts';
import { type Tenant } from '../context/holders.ts';
import { type Scope } from '../context/scope.ts';
import { type Holding } from '../lanes/holding.ts';
import { type Exchange } from '../executor/given-ports.ts';
import { type CheckpointReport } from '../maintenance/checkpoint.ts';
import { type WriteStats } from '../observe/lane-stats.ts';
import { type ReaderStats } from '../observe/reader-stats.ts';
import { type WalStats } from '../observe/wal-stats.ts';
import { type Method, type MethodTable } from '../repository/methods.ts';

/** What a strategy counts. */
export interface StrategyStats {
  readonly writes: WriteStats | undefined;
  readonly readers: ReaderStats;
  readonly wal: WalStats | undefined;
  /** What it knows beside what its methods say. */
  readonly advice?: readonly string[];
}

/** How calls reach connections. A `Database` holds exactly one. */
export interface Strategy {
  /** Stands for the `Database` in async contexts. */
  readonly owner: object;
  readonly methods: MethodTable;
  /** Runs one call of the api. A write settles after its commit. */
  call(method: Method, args: readonly unknown[], context: Ambient | undefined): Promise<unknown>;
  /** Runs a step of a handler that yields: a read of its own, which waits like every read. All steps of one are on one connection. */
  advance(cursor: Cursor, how: 'pull' | 'end', context: Ambient | undefined): Promise<Pulled>;
  /** Runs a callback as one write transaction. */
  transaction<T>(run: (scope: Scope) => Promise<T>, context: Ambient | undefined): Promise<T>;
  /**
   * Runs a callback whose reads all see one state.
   *
   * @param holding given where the callback lasts as long as somebody else likes: whom to ask for the connection when others
   *   wait for it
   */
  snapshot<T>(run: (scope: Scope) => Promise<T>, context: Ambient | undefined, holding?: Holding): Promise<T>;
  /** Empties the WAL into the database; a turn in the write lane. */
  checkpoint(context: Ambient | undefined): Promise<CheckpointReport>;
  stats(): StrategyStats;
  /**
   * The threads that serve its calls, for ports that lead straight to them; absent where this thread does. The one that writes
   * comes first.
   */
  readonly exchanges?: readonly Exchange[];
  /**
   * Lets tenants that are open around a close wait for what that close waits for. The returned function ends the wait.
   *
   * @throws {DeadlockError} at once, where the close would wait for one of them
   */
  closeInside(tenants: readonly Tenant[]): () => void;
  /** Resolves when everything that was accepted so far has ended. */
  idle(): Promise<void>;
  /**
   * Gives up on everything that has not ended, and on what was on its way and begins only now: it rejects.
   *
   * @param reason asked once for each of them, with its label
   */
  abandon(reason: (label: string) => Error): void;
  /** The close failed, and nothing was closed: undoes what `idle` and `abandon` left behind. Absent where that cannot be. */
  resume?(): void;
  /** What a close waits for, by name. */
  running(): readonly string[] | Promise<readonly string[]>;
  /**
   * Finds out whether `close` can close everything, and closes nothing: for who closes several strategies all or none. Absent
   * where that is done by `close` alone.
   *
   * @throws what `close` would throw
   */
  prepareClose?(): void;
  /** Checkpoints and closes every connection, all or none. Called when nothing runs any more. */
  close(): void | Promise<void>;
}
