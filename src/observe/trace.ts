/**
 * Tracing channels, for `node:diagnostics_channel` and whatever listens there. Nobody listening costs one property read.
 *
 * - `tracing:sluice:call:*`: one api call, with the events of `TracingChannel.tracePromise`.
 * - `tracing:sluice:batch:start` and `:end`: one batch of the write lane.
 *
 * @see https://nodejs.org/api/diagnostics_channel.html#class-tracingchannel
 */
import { tracingChannel } from 'node:diagnostics_channel';

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

/** One api call. */
export const callChannel = tracingChannel<unknown, CallTrace | EffectTrace>('sluice:call');
/** One batch. */
export const batchChannel = tracingChannel<unknown, BatchTrace | { readonly queued: number }>('sluice:batch');
