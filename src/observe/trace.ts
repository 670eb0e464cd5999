/**
 * Tracing channels, for `node:diagnostics_channel` and whatever listens there. Nobody listening costs one property read.
 *
 * - `tracing:sluice:call:*`: one api call, with the events of `TracingChannel.tracePromise`.
 * - `tracing:sluice:batch:start` and `:end`: one batch of the write lane.
 * - `tracing:sluice:checkpoint:end`: one checkpoint that Sluice ran.
 *
 * @see https://nodejs.org/api/diagnostics_channel.html#class-tracingchannel
 */
import { tracingChannel } from 'node:diagnostics_channel';
import { type Holder } from '../errors.ts';

/** What the events of `sluice:call` carry; `result` and `error` are added by Node when it has ended. */
export interface CallTrace {
  /** `accounts.credit`. */
  readonly call: string;
  readonly access: 'read' | 'write';
  readonly file: string;
  /** The label of the context, if there is one. */
  readonly context: string | undefined;
}

/** What `tracing:sluice:call:error` carries when a function given to `afterCommit` threw: its call was committed. */
export interface EffectTrace {
  readonly call: string;
  readonly phase: 'afterCommit';
  readonly error: unknown;
}

/** What `tracing:sluice:batch:end` carries; `:start` carries `{ queued }`, how many calls waited. */
export interface BatchTrace {
  /** `done`: committed, or rolled back because every call failed. `undone`: rolled back, and to be replayed. */
  readonly outcome: 'done' | 'undone';
  /** How many calls were in it. */
  readonly calls: number;
  /** Milliseconds from BEGIN to the end of COMMIT. */
  readonly duration: number;
}

/** What `tracing:sluice:checkpoint:end` carries. */
export interface CheckpointTrace {
  readonly file: string;
  /**
   * `passive`: moves what nobody still reads past. `restart`: does so with writers kept out, if none was at work.
   * `truncate`: empties the WAL as well.
   */
  readonly mode: 'passive' | 'restart' | 'truncate';
  /** It ran in a thread of its own; otherwise it held this one for `duration`. */
  readonly thread: boolean;
  /** Whether nothing was left behind. */
  readonly complete: boolean;
  /** Bytes of the WAL file afterwards. */
  readonly size: number;
  /** Milliseconds. */
  readonly duration: number;
  /** The oldest reader of this thread, where it was not complete. */
  readonly holder: Holder | undefined;
}

/** One api call. */
export const callChannel = tracingChannel<unknown, CallTrace | EffectTrace>('sluice:call');
/** One batch. */
export const batchChannel = tracingChannel<unknown, BatchTrace | { readonly queued: number }>('sluice:batch');
/** One checkpoint. */
export const checkpointChannel = tracingChannel<unknown, CheckpointTrace>('sluice:checkpoint');
