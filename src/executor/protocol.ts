/**
 * How calls travel between the thread that makes them and the one that owns the connection.
 *
 * 1. A port carries batches of the messages below, one batch for each turn of the sender's event loop; or two, of which the first
 *    goes ahead because the server is idle (pace.ts). The commonest messages are laid out flat (wire.ts): a `call` without scope,
 *    context and buffers, and a `value` of which nothing else need be said.
 * 2. Each request has a number, in order. It is answered once, with `value` or `error`; before that a `begin` may be answered
 *    with `begun`. Requests are accepted in the order of their numbers.
 * 3. How far a request has come stands in its word of shared memory (words.ts). Its caller gives it up by changing the word;
 *    the server then does not start it, or undoes it instead of committing. It is answered all the same, which frees the word.
 * 4. `begin` asks for a transaction or a snapshot. When it is `begun` the server's lane, or reader, is held until `end`: the
 *    callback runs with the caller, and its calls carry the number of the `begin` as their scope. With `end` it is committed
 *    or undone, and then the `begin` is answered.
 *    A `begin` of a stream may be answered with `wanted`: others wait for what it holds, and it may give it back early.
 *    `advance` runs one step of a handler that yields; its generator stays with the server, under the port's own number, until
 *    it or the scope that it began in has ended, or `forget` says that nobody has its stream any more.
 * 5. `abort` says that a request's signal has aborted. The answer says what became of it.
 * 6. A port that closes, because its thread died or its `Database` was closed, undoes the scopes that it held.
 * 7. When the server's thread dies, the words say what is known. QUEUED: it is sent again, in order, to the thread that takes
 *    its place. RUNNING: nothing of it was kept. COMMITTING: nobody knows. COMMITTED: it was kept, and its result is lost.
 * 8. Times are on the clock of `process.hrtime`, which all threads share; `performance.now()` begins anew in each.
 */
import { type MessagePort } from 'node:worker_threads';
import { type Decision } from '../connection/decide.ts';
import { type StrategyStats } from '../strategies/strategy.ts';
import { InternalError } from '../errors.ts';
import { type Method, type MethodTable } from '../repository/methods.ts';
import { checkApiStream } from '../repository/table-reads.ts';
import { Trust } from '../repository/trust.ts';
import { type AnyRepository, type Repositories } from '../repository/types.ts';
import { type EncodedError } from './error-codec.ts';
import { type FarConnections } from './far-lanes.ts';
import { type Buffers } from './values.ts';
import { type Page } from './words.ts';

/** What surrounds a request: see {@link Ambient}. Times as (8) says. */
export interface SentContext {
  readonly deadline: number | undefined;
  readonly label: string | undefined;
  /** Whether `abort` may follow. */
  readonly abortable: boolean;
}

/** From the caller. `scope` is the number of a `begin`, or 0. */
export type Request =
  | readonly [
      kind: 'call',
      id: number,
      word: number,
      scope: number,
      repository: string,
      method: string,
      args: readonly unknown[],
      buffers: Buffers,
      context: SentContext | undefined,
    ]
  | readonly [
      kind: 'begin',
      id: number,
      word: number,
      scope: number,
      what: 'transaction' | 'snapshot',
      context: SentContext | undefined,
      /** The name of a stream that can give its snapshot back early: it may be answered with `wanted`. */
      stream: string | undefined,
    ]
  | readonly [
      kind: 'advance',
      id: number,
      word: number,
      scope: number,
      /** Which of this port's cursors: a call of a handler that yields. */
      cursor: number,
      how: 'pull' | 'end',
      repository: string,
      method: string,
      /** With the first step only. */
      args: readonly unknown[] | undefined,
      buffers: Buffers,
      context: SentContext | undefined,
    ]
  | readonly [kind: 'checkpoint', id: number, word: number, context: SentContext | undefined]
  | readonly [kind: 'end', scope: number, how: 'commit' | 'undo']
  | readonly [kind: 'abort', id: number]
  | readonly [kind: 'forget', cursor: number]
  | readonly [kind: 'page', page: Page];

/** From the server. `word`: that of the request, which is taken until the answer has come. */
export type Answer =
  /** `took`: milliseconds that the thread was busy with it, where that is worth knowing. */
  | readonly [kind: 'value', word: number, value: unknown, buffers: Buffers, took?: number | undefined]
  /** `holder`: the `begin` of this port that was in the way. */
  | readonly [kind: 'error', word: number, error: EncodedError, holder?: number]
  | readonly [kind: 'begun', word: number]
  | readonly [kind: 'wanted', word: number]
  | readonly [kind: 'stats', stats: StrategyStats];

/** One method, as its callers need it. */
export type SentMethod = readonly [
  repository: string,
  name: string,
  access: Method['access'],
  mode: Method['mode'],
  gives: Method['gives'],
];

/** What one step of a handler that yields came to. */
export interface SentStep {
  readonly items: readonly unknown[];
  readonly done: boolean;
  readonly failure: EncodedError | undefined;
}

/** What a client must know of a database. */
export interface Description {
  readonly decision: Decision;
  readonly methods: readonly SentMethod[];
  readonly timeout: number;
  readonly maxQueue: number;
  /** How many snapshots each of its threads may have open at once, where they have readers of their own. */
  readonly readers: number;
}

/** How its connections are held. Where that cannot be told from here, as if there were always a reader free. */
export function connectionsOf({ decision, readers }: Pick<Description, 'decision' | 'readers'>): FarConnections {
  const { strategy, journal, facts } = decision;
  if (strategy === 'shared') return { file: facts.file, readers: 'one handle' };
  return { file: facts.file, readers: strategy === 'per-context' || journal === 'wal' ? readers : Infinity };
}

/** What a caller holds of one thread that serves calls: a port to it, and the first page of its words. */
export interface Line {
  readonly port: MessagePort;
  readonly page: Page;
}

/**
 * The methods of a description as calls look them up. Their handlers are elsewhere.
 *
 * @param repositories the caller's own, for what can be refused before it is sent
 */
export function methodsOf(sent: readonly SentMethod[], repositories: Repositories): MethodTable {
  const table = new Map<string, Map<string, Method>>();
  for (const [repository, name, access, mode, gives] of sent) {
    let methods = table.get(repository);
    if (methods === undefined) table.set(repository, (methods = new Map<string, Method>()));
    const label = `${repository}.${name}`;
    const on = (): never => {
      throw new InternalError(`${label} was asked for on a connection of this thread`);
    };
    methods.set(name, {
      repository,
      name,
      label,
      access,
      mode,
      gives,
      own: true,
      ...checkOf(gives, repositories[repository]),
      waits: false,
      trust: new Trust(),
      on,
    });
  }
  return table;
}

function checkOf(gives: Method['gives'], repository: AnyRepository | undefined): Pick<Method, 'check'> {
  if (gives !== 'rows' || repository === undefined) return {};
  return {
    check: (filter, options) => {
      checkApiStream(repository, filter, options);
    },
  };
}

export function describeMethods(methods: MethodTable): SentMethod[] {
  return [...methods.values()].flatMap((repository) =>
    [...repository.values()].map(
      ({ repository, name, access, mode, gives }) => [repository, name, access, mode, gives] as const,
    ),
  );
}

const offset = Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** A time of `performance.now()`'s clock on the one that all threads share. */
export function toShared(time: number): number {
  return time + offset;
}

/** A time of the shared clock on this thread's `performance.now()`. */
export function fromShared(time: number): number {
  return time - offset;
}
