/**
 * The callers' end of a port: futures for requests that another thread answers (protocol.ts).
 *
 * The port may be lost and another one take its place: what had not started is sent again, in order, and what had is rejected
 * with what is known of it. Callers notice the delay only.
 */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { CallSite } from '../context/call-site.ts';
import { abortError, type Ambient, labelOf, tenantsOf, timerDelay } from '../context/context.ts';
import { type Tenancy, waitInside } from '../context/holders.ts';
import { type Cursor, type Pulled } from '../connection/cursor.ts';
import { type Scope } from '../context/scope.ts';
import {
  AbortError,
  ExecutorError,
  type Holder,
  OptionError,
  type Outcome,
  QueueFullError,
  TimeoutError,
} from '../errors.ts';
import { withOutcome } from '../outcome.ts';
import { appendFrames, cannotCross, lostError, nameSite, outcomeOf, overdueError } from './client-errors.ts';
import { type StrategyStats } from '../strategies/strategy.ts';
import { type Holding } from '../lanes/holding.ts';
import { type CheckpointReport } from '../maintenance/checkpoint.ts';
import { type Method } from '../repository/methods.ts';
import { type ErrorClass } from '../repository/types.ts';
import { decodeError, type EncodedError } from './error-codec.ts';
import { type FarConnections, FarLanes, type Needs } from './far-lanes.ts';
import { Outbox } from './outbox.ts';
import { Failure, Pending } from './pending.ts';
import { type Answer, type Line, type Request, type SentContext, type SentStep, toShared } from './protocol.ts';
import { RemoteScope } from './remote-scope.ts';
import { CannotCross, pack, unpack } from './values.ts';
import { COMMITTED, GIVEN_UP, newPage, type Page, QUEUED, RUNNING, Words } from './words.ts';

/** Milliseconds after a deadline in which the server's own answer is awaited: it says more than can be known here. */
const GRACE = 100;
/** Milliseconds that a commit may take beyond its caller's deadline before it is left to itself. */
const COMMIT_GRACE = 1000;

/** What a call is expected to take, in ms, of which nothing else is known. */
const USUAL_COST = 0.02;

/** Bounds of one client. */
export interface ClientLimits {
  /** Milliseconds that a call may wait for its turn where its context sets no deadline. */
  readonly timeout: number;
  /** Requests in flight at most. */
  readonly inFlight: number;
  /** What calls took that kept a thread busy long, in ms, by their labels: shared by the clients of one database. */
  readonly costs: Map<string, number>;
  /** How its server's connections are held. */
  readonly connections: FarConnections;
  /** The registry's own classes of errors. */
  readonly errors: readonly ErrorClass[];
}

/** One port's futures. */
export class PortClient {
  readonly page: Page;
  readonly #limits: ClientLimits;
  readonly #lanes: FarLanes;
  /** Brings the next port: keeps the process alive while somebody waits, like the port itself. */
  readonly #keeper: MessagePort | undefined;
  #holding = 0;
  #load = 0;
  readonly #words: Words;
  readonly #pages: Page[];
  readonly #pending = new Map<number, Pending>();
  #lastId = 0;
  /** The numbers of the cursors that have begun here. */
  readonly #cursors = new WeakMap<Cursor, number>();
  #lastCursor = 0;
  #waiting = 0;
  #port: MessagePort | undefined;
  #outbox: Outbox<Request> | undefined;
  #refusal: ((label: string) => Error) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Infinity;
  #idle: (() => void)[] = [];
  #stats: StrategyStats | undefined;

  constructor(page: Page, limits: ClientLimits, keeper?: MessagePort) {
    this.page = page;
    this.#keeper = keeper;
    this.#pages = [page];
    this.#words = new Words(this.#pages);
    this.#limits = limits;
    this.#lanes = new FarLanes(limits.connections);
  }

  /** Requests that somebody waits for. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Milliseconds that what is in flight is expected to keep the thread busy. */
  get load(): number {
    return this.#load;
  }

  /** Transactions whose callbacks run. */
  get holding(): number {
    return this.#holding;
  }

  /** Whether its server is there. */
  get attached(): boolean {
    return this.#port !== undefined;
  }

  /** The server's latest figures. */
  get stats(): StrategyStats | undefined {
    return this.#stats;
  }

  /** Takes a port, in place of one that was lost, and sends what has not been started. */
  attach({ port }: Pick<Line, 'port'>): void {
    if (this.#port !== undefined) this.lost(undefined);
    this.#port = port;
    const outbox = new Outbox<Request>(port, (request, error) => {
      this.#cannotSend(request, error);
    });
    this.#outbox = outbox;
    port.on('message', this.#receive);
    if (this.#waiting === 0) port.unref();
    for (const page of this.#pages.slice(1)) outbox.push(['page', page]);
    for (const { parts, settled } of this.#pending.values()) if (!settled) outbox.push(parts.request);
  }

  /** The server is gone. What it had begun is rejected with its outcome; the rest waits for {@link attach}. */
  lost(cause: unknown): void {
    if (this.#port === undefined) return;
    // What the server has answered before it died may still lie here.
    this.receive();
    this.#port.off('message', this.#receive);
    this.#port.close();
    this.#port = undefined;
    this.#outbox = undefined;
    for (const pending of [...this.#pending.values()]) this.#settleLost(pending, cause);
  }

  /** Rejects what is waiting, and whatever comes. */
  refuse(reason: (label: string) => Error): void {
    this.#refusal ??= reason;
    for (const pending of [...this.#pending.values()]) {
      const state = this.#words.read(pending.parts.word);
      this.#release(pending, reason(pending.parts.label), state === QUEUED ? 'not-started' : outcomeOf(state));
      this.#forget(pending);
    }
  }

  /** Closes the port. */
  close(): void {
    this.#outbox?.flush();
    this.#port?.close();
    clearTimeout(this.#timer);
  }

  async call(method: Method, args: readonly unknown[], context: Ambient | undefined, scope = 0): Promise<unknown> {
    const pending = this.submit(method, args, context, scope);
    const answer = await pending.answered;
    if (answer instanceof Failure) throw answer.make(new Error());
    return answer;
  }

  /** Sends a call. @throws what refuses it before it is sent */
  submit(method: Method, args: readonly unknown[], context: Ambient | undefined, scope: number): Pending {
    const { repository, name, label, access } = method;
    this.#admit(label, access);
    let packed: ReturnType<typeof pack>;
    try {
      packed = pack(args, 'argument');
    } catch (error) {
      throw error instanceof CannotCross ? cannotCross(label, error) : error;
    }
    const endWait = scope === 0 ? this.#waitAround(access, label, context) : undefined;
    const id = ++this.#lastId;
    const word = this.#word();
    const values = packed.value as readonly unknown[];
    const sent = sentContext(context);
    const cost = this.#limits.costs.get(label) ?? USUAL_COST;
    return this.#send(
      ['call', id, word, scope, repository, name, values, packed.buffers, sent],
      { label: labelOf(context, label), access, scope, cost, endWait },
      context,
    );
  }

  /** Runs a callback as a transaction or snapshot of the server's, inside `outer` if there is one. */
  async hold<T>(
    what: 'transaction' | 'snapshot',
    run: (scope: Scope) => Promise<T>,
    context: Ambient | undefined,
    outer?: RemoteScope,
    holding?: Holding,
  ): Promise<T> {
    const access = what === 'transaction' ? 'write' : 'read';
    this.#admit(what, access);
    const name = holding?.label ?? what;
    const signal = context?.signal;
    if (signal?.aborted === true) {
      const error = abortError(labelOf(context, name), signal);
      throw access === 'write' ? withOutcome(error, 'not-started') : error;
    }
    const site = new CallSite();
    const endWait = outer === undefined ? this.#waitAround(access, name, context) : undefined;
    const id = ++this.#lastId;
    const label = outer === undefined || what === 'snapshot' ? labelOf(context, name) : 'nested transaction';
    const scopeId = outer?.id ?? 0;
    const request = ['begin', id, this.#word(), scopeId, what, sentContext(context), holding?.label] as const;
    const pending = this.#send(request, { label, access, scope: scopeId, cost: USUAL_COST, endWait }, context);
    pending.wanted = holding?.wanted;
    const first = await Promise.race([pending.begun, pending.answered]);
    if (first instanceof Failure) throw first.make(new Error());

    const scope = new RemoteScope(this, id, label, outer);
    const ended = pending.answered.then((answer): never => {
      const error = answer instanceof Failure ? answer.make(new Error()) : new ExecutorError(`${label}: ended early`);
      scope.abandon();
      throw error;
    });
    // Nobody may be listening when the callback has just settled.
    ended.catch(() => undefined);
    if (access === 'write') this.#holding += 1;
    const leave = outer === undefined ? this.#lanes.enter(access, { tenant: scope.tenant, site }) : undefined;
    let result: T;
    try {
      result = await Promise.race([run(scope), ended]);
      scope.end();
    } catch (error) {
      scope.end();
      if (!pending.settled) this.#outbox?.push(['end', id, 'undo']);
      await pending.answered;
      // Where it ended under its callback, the server has said what became of it.
      throw access === 'read' || scope.abandoned ? error : withOutcome(error, 'rolled-back');
    } finally {
      leave?.();
      if (access === 'write') this.#holding -= 1;
    }
    if (!pending.settled) this.#outbox?.push(['end', id, 'commit']);
    const answer = await pending.answered;
    if (answer instanceof Failure) throw answer.make(new Error());
    return result;
  }

  /** Runs one step of a handler that yields, whose generator is the server's. */
  async advance(cursor: Cursor, how: 'pull' | 'end', context: Ambient | undefined, scope = 0): Promise<Pulled> {
    const { method, args } = cursor;
    const { repository, name, label } = method;
    this.#admit(label, 'read');
    let number = this.#cursors.get(cursor);
    let packed: ReturnType<typeof pack> | undefined;
    if (number === undefined) {
      try {
        packed = pack(args, 'argument');
      } catch (error) {
        throw error instanceof CannotCross ? cannotCross(label, error) : error;
      }
      number = ++this.#lastCursor;
      this.#cursors.set(cursor, number);
    }
    const first = packed?.value as readonly unknown[] | undefined;
    const endWait = scope === 0 ? this.#waitAround('step', label, context) : undefined;
    const [id, word, sent] = [++this.#lastId, this.#word(), sentContext(context)];
    const answer = await this.#send(
      ['advance', id, word, scope, number, how, repository, name, first, packed?.buffers, sent],
      { label: labelOf(context, label), access: 'read', scope, cost: USUAL_COST, endWait },
      context,
    ).answered;
    if (answer instanceof Failure) throw answer.make(new Error());
    const { items, done, failure } = answer as SentStep;
    if (failure === undefined) return { items, done };
    return { items, done, failure: { error: decodeError(failure, new Error(), this.#limits.errors) } };
  }

  /** Asks for a checkpoint. */
  async checkpoint(context: Ambient | undefined): Promise<CheckpointReport> {
    this.#admit('checkpoint', 'write');
    const endWait = this.#waitAround('write', 'checkpoint', context);
    const request = ['checkpoint', ++this.#lastId, this.#word(), sentContext(context)] as const;
    const label = labelOf(context, 'checkpoint');
    const about = { label, access: 'write', scope: 0, cost: USUAL_COST, endWait } as const;
    const answer = await this.#send(request, about, context).answered;
    if (answer instanceof Failure) throw answer.make(new Error());
    return answer as CheckpointReport;
  }

  /** What has begun and has not ended, by name. */
  running(): readonly string[] {
    return [...this.#pending.values()]
      .filter(({ settled, parts }) => !settled && parts.scope === 0 && this.#words.read(parts.word) !== QUEUED)
      .map(({ parts }) => parts.label);
  }

  /** What a close waits for, as far as this thread holds it. */
  taken(): readonly Tenancy[] {
    return this.#lanes.taken();
  }

  /** Resolves when nobody waits for anything. Whoever can give something back early is asked to. */
  idle(): Promise<void> {
    if (this.#waiting === 0) return Promise.resolve();
    for (const pending of this.#pending.values()) pending.wanted?.();
    return new Promise((resolve) => {
      this.#idle.push(resolve);
    });
  }

  /** Gives up on everything that can still be given up. */
  abandon(reason: (label: string) => Error): void {
    for (const pending of [...this.#pending.values()]) {
      if (pending.settled || pending.parts.scope !== 0) continue;
      const { label, id, request } = pending.parts;
      const outcome = this.#giveUp(pending);
      if (outcome === undefined) continue;
      if (request[0] === 'begin') this.#outbox?.push(['end', id, 'undo']);
      this.#release(pending, reason(label), outcome);
    }
  }

  /** Takes in what has arrived, without the event loop. */
  receive(): void {
    const port = this.#port;
    if (port === undefined) return;
    for (;;) {
      const received = receiveMessageOnPort(port) as { message: readonly Answer[] } | undefined;
      if (received === undefined) return;
      this.#receive(received.message);
    }
  }

  /** Sends what waits for the end of the turn now, for whoever does not reach it. */
  flush(): void {
    this.#outbox?.flush();
  }

  /** Looks whether a request is overdue, for whoever waits without an event loop. */
  expire(): void {
    this.#expire();
  }

  #admit(label: string, access: 'read' | 'write'): void {
    if (this.#refusal !== undefined) {
      const error = this.#refusal(label);
      throw access === 'write' ? withOutcome(error, 'not-started') : error;
    }
    const { inFlight } = this.#limits;
    if (this.#pending.size < inFlight) return;
    throw new QueueFullError(
      `${label}: ${inFlight} calls are on their way to the thread that owns the database already; ` +
        'slow the callers down, or raise the option "maxQueue"',
      { limit: inFlight },
    );
  }

  /** Has what is open around a request, of other databases, wait for what it waits for. @throws {DeadlockError} at once */
  #waitAround(needs: Needs, label: string, context: Ambient | undefined): (() => void) | undefined {
    if (context === undefined || context.scopes.size === 0) return undefined;
    const tenants = tenantsOf(context);
    const lane = this.#lanes.of(needs);
    return tenants.length === 0 || lane === undefined ? undefined : waitInside(tenants, lane, label);
  }

  #word(): number {
    const word = this.#words.take();
    if (word !== undefined) return word;
    const page = newPage();
    this.#pages.push(page);
    this.#words.add(page);
    this.#outbox?.push(['page', page]);
    return this.#word();
  }

  #send(
    request: Pending['parts']['request'],
    { label, access, scope, cost, endWait }: Pick<Pending['parts'], 'label' | 'access' | 'scope' | 'cost' | 'endWait'>,
    context: Ambient | undefined,
  ): Pending {
    const [, id, word] = request;
    const since = performance.now();
    const bounded = context?.deadline !== undefined;
    const deadline = context?.deadline ?? since + this.#limits.timeout;
    const signal = context?.signal;
    const pending = new Pending(
      { id, word, label, access, scope, request, signal, since, deadline, bounded, cost, endWait },
      GRACE,
    );
    this.#pending.set(id, pending);
    this.#load += cost;
    if (this.#waiting++ === 0) {
      this.#port?.ref();
      this.#keeper?.ref();
    }
    this.#outbox?.push(request);
    this.#watch(pending.giveUpAt);
    if (signal !== undefined) {
      const abort = (): void => {
        this.#aborted(pending, signal);
      };
      if (signal.aborted) abort();
      else pending.listen(abort);
    }
    return pending;
  }

  readonly #receive = (batch: readonly Answer[]): void => {
    for (const answer of batch) {
      if (answer[0] === 'stats') {
        this.#stats = answer[1];
        continue;
      }
      const pending = this.#pending.get(answer[1]);
      if (pending === undefined) continue;
      switch (answer[0]) {
        case 'begun':
          if (pending.settled) this.#outbox?.push(['end', answer[1], 'undo']);
          else pending.start();
          break;
        case 'wanted':
          pending.wanted?.();
          break;
        case 'value':
          this.#learn(pending, answer[4]);
          this.#settle(pending, answer[3] === undefined ? answer[2] : unpack(answer[2], answer[3]));
          this.#forget(pending);
          break;
        case 'error':
          this.#settle(pending, this.#failure(pending, answer[2]));
          this.#forget(pending);
      }
    }
  };

  /** Remembers which calls are long, so that others are not sent behind them. */
  #learn({ parts: { request } }: Pending, took: number | undefined): void {
    const { costs } = this.#limits;
    if (request[0] !== 'call' || (took === undefined && costs.size === 0)) return;
    const label = `${request[4]}.${request[5]}`;
    if (took === undefined) costs.delete(label);
    else costs.set(label, took);
  }

  #failure({ parts: { signal } }: Pending, encoded: EncodedError): Failure {
    return new Failure((caller) => {
      const error = decodeError(encoded, caller, this.#limits.errors);
      // The reason itself is here, and need not have crossed.
      if (signal?.aborted === true && error instanceof AbortError) {
        Object.defineProperty(error, 'cause', { value: signal.reason, configurable: true, writable: true });
      }
      // Nor is the place known there where a transaction of this thread was begun.
      if (error instanceof TimeoutError && error.holder !== undefined) nameSite(error, error.holder, this.#lanes);
      return error;
    });
  }

  /** Gives its caller an answer. Its word stays taken until {@link forget}. */
  #settle(pending: Pending, answer: unknown): void {
    if (pending.settled) return;
    pending.settle(answer);
    if (--this.#waiting > 0) return;
    this.#port?.unref();
    this.#keeper?.unref();
    if (this.#idle.length > 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  #forget(pending: Pending): void {
    if (!this.#pending.delete(pending.parts.id)) return;
    this.#words.give(pending.parts.word);
    this.#load = this.#pending.size === 0 ? 0 : this.#load - pending.parts.cost;
  }

  #release(pending: Pending, error: Error, outcome: Outcome): void {
    const write = pending.parts.access === 'write';
    this.#settle(
      pending,
      new Failure((caller) => {
        appendFrames(error, caller);
        return write ? withOutcome(error, outcome) : error;
      }),
    );
  }

  #settleLost(pending: Pending, cause: unknown): void {
    const { label, word, scope, access, request } = pending.parts;
    const state = this.#words.read(word);
    if (!pending.settled) {
      if (state === QUEUED && scope === 0) return;
      if (request[0] === 'begin' && state === COMMITTED) {
        this.#settle(pending, undefined);
      } else {
        const error = lostError(label, access, state, cause);
        this.#release(pending, error, outcomeOf(state));
      }
    }
    this.#forget(pending);
  }

  #aborted(pending: Pending, signal: AbortSignal): void {
    if (pending.settled) return;
    const { id, label } = pending.parts;
    pending.givingUp = () => abortError(label, signal);
    this.#outbox?.push(['abort', id]);
    pending.giveUpAt = this.#port === undefined ? 0 : performance.now() + GRACE;
    if (this.#port === undefined) this.#expire();
    else this.#watch(pending.giveUpAt);
  }

  /** Sees to it that somebody looks at the requests at this time. */
  #watch(at: number): void {
    if (at >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(this.#expire, timerDelay(at - performance.now()) + 1);
    // A request in flight keeps the process alive by its port.
    this.#timer.unref();
  }

  readonly #expire = (): void => {
    this.#timerAt = Infinity;
    const now = performance.now();
    let next = Infinity;
    for (const pending of [...this.#pending.values()]) {
      if (pending.settled) continue;
      const waits = pending.giveUpAt > now || this.#overdue(pending, now);
      if (waits) next = Math.min(next, pending.giveUpAt);
    }
    if (next < Infinity) this.#watch(next);
  };

  /** Its deadline, or its signal, has passed, and the server has not said so: it is busy, or not there. Whether it waits on. */
  #overdue(pending: Pending, now: number): boolean {
    const { word, bounded, scope } = pending.parts;
    const { givingUp } = pending;
    const state = this.#words.read(word);
    // Inside a transaction what runs is kept or undone with it: it is the transaction that is given up.
    const goesOn = scope !== 0 || (!bounded && givingUp === undefined);
    if (state === RUNNING && goesOn) {
      pending.giveUpAt = Infinity;
      return true;
    }
    let outcome = this.#giveUp(pending);
    if (outcome === undefined) {
      if (now < pending.parts.deadline + COMMIT_GRACE) {
        pending.giveUpAt = pending.parts.deadline + COMMIT_GRACE;
        return true;
      }
      outcome = outcomeOf(this.#words.read(word));
    }
    this.#release(
      pending,
      givingUp?.() ?? overdueError(pending.parts, now, outcome, this.#blame(pending, now)),
      outcome,
    );
    return false;
  }

  /** Takes a request back if that can be done; what became of it then. */
  #giveUp({ parts: { word } }: Pending): Outcome | undefined {
    if (this.#words.change(word, QUEUED, GIVEN_UP)) return 'not-started';
    if (this.#words.change(word, RUNNING, GIVEN_UP)) return 'rolled-back';
    return undefined;
  }

  /** Why a request did not start: the oldest one that runs, which is what the others wait for, or the thread itself. */
  #blame(except: Pending, now: number): Holder | 'starting' | undefined {
    if (this.#port === undefined) return 'starting';
    for (const pending of this.#pending.values()) {
      const { word, label, since } = pending.parts;
      const state = this.#words.read(word);
      if (pending !== except && state !== QUEUED)
        return { label, heldFor: now - since, site: this.#lanes.siteOf(label) };
    }
    return undefined;
  }

  #cannotSend(request: Request, error: unknown): void {
    if (request[0] !== 'call') return;
    const pending = this.#pending.get(request[1]);
    if (pending === undefined) return;
    const refused = new OptionError(`${pending.parts.label}: an argument cannot cross a thread: ${String(error)}`);
    this.#release(pending, refused, 'not-started');
    this.#forget(pending);
  }
}

function sentContext(context: Ambient | undefined): SentContext | undefined {
  if (context === undefined) return undefined;
  const { deadline, label, signal } = context;
  if (deadline === undefined && label === undefined && signal === undefined) return undefined;
  const shared = deadline === undefined ? undefined : toShared(deadline);
  return { deadline: shared, label, abortable: signal !== undefined };
}
