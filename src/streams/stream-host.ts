import { type Cursor, type Pulled } from '../connection/cursor.ts';
import { type Ambient } from '../context/context.ts';
import { type Scope } from '../context/scope.ts';
import { type Holding } from '../lanes/holding.ts';
import { type Method } from '../repository/methods.ts';
import { type PinnedStreams } from '../observe/stream-stats.ts';

/** The database as its streams use it. */
export interface StreamHost {
  /** The consistent streams that hold a snapshot now. */
  readonly pinned: PinnedStreams;
  /**
   * The transaction or snapshot that a pull belongs to: the one that the caller is in, unless the stream is of another, in
   * which it is not nested.
   */
  scopeAt(context: Ambient | undefined, home: Scope | undefined): Scope | undefined;
  /** Runs one call like every call of the api, in `scope` or outside. */
  call(
    method: Method,
    args: readonly unknown[],
    context: Ambient | undefined,
    scope: Scope | undefined,
  ): Promise<unknown>;
  /** Runs one step of a handler that yields, by the same rules. */
  advance(cursor: Cursor, how: 'pull' | 'end', context: Ambient | undefined, scope: Scope | undefined): Promise<Pulled>;
  /** Runs a callback in a snapshot of its own, outside every transaction. */
  snapshot(run: (scope: Scope) => Promise<void>, context: Ambient | undefined, holding: Holding): Promise<void>;
}
