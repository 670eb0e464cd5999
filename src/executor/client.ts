/**
 * The callers' end of a port: futures for requests that another thread answers (protocol.ts). What is in flight, and the port
 * that may be lost under it, are link.ts's affair.
 */
import { type Site } from '../context/call-site.ts';
import { abortError, type Ambient, labelOf, nestedLabel, siteOf, tenantsOf } from '../context/context.ts';
import { type Tenancy, Tenant, waitInside } from '../context/holders.ts';
import { type Cursor, type Pulled } from '../connection/cursor.ts';
import { type Scope } from '../context/scope.ts';
import { AbortError, ExecutorError, QueueFullError, TimeoutError } from '../errors.ts';
import { withOutcome } from '../outcome.ts';
import { nameSite, outcomeOf } from './client-errors.ts';
import { type Holding } from '../lanes/holding.ts';
import { type CheckpointReport } from '../maintenance/checkpoint.ts';
import { type Method } from '../repository/methods.ts';
import { type ErrorClass } from '../repository/types.ts';
import { decodeError, type EncodedError } from './error-codec.ts';
import { type FarConnections, type FarLane, FarLanes, type Guest, type Needs } from './far-lanes.ts';
import { type InFlight } from './in-flight.ts';
import { type KeepAlive } from './keep-alive.ts';
import { Link } from './link.ts';
import { Failure, Outgoing, Pending, SentCall, USUAL_COST } from './pending.ts';
import { type SentStep } from './protocol.ts';
import { Overdue } from './overdue.ts';
import { RemoteScope } from './remote-scope.ts';
import { isBegin, type PackedArguments, packArguments, sentContext } from './requests.ts';
import { type Page, QUEUED, RUNNING } from './words.ts';

/** Milliseconds after a deadline in which the server's own answer is awaited: it says more than can be known here. */
const GRACE = 100;
/** Bounds of one client. */
export interface ClientLimits {
  /** Milliseconds that a call may wait for its turn where its context sets no deadline. */
  readonly timeout: number;
  /** Requests in flight at most. */
  readonly inFlight: number;
  /** What calls have taken of late, in ms, by their labels: shared by the clients of one database. */
  readonly costs: Map<string, number>;
  /** How its server's connections are held. */
  readonly connections: FarConnections;
  /** The registry's own classes of errors. */
  readonly errors: readonly ErrorClass[];
}

/** One port's futures. */
export class PortClient {
  readonly page: Page;
  readonly link: Link;
  readonly #limits: ClientLimits;
  readonly #lanes: FarLanes;
  readonly #inFlight: InFlight;
  readonly #overdue: Overdue;
  #lastId = 0;
  /** The numbers of the cursors that have begun here. */
  readonly #cursors = new WeakMap<Cursor, number>();
  /** Streams that were neither read to their end nor ended: their generators are the server's to drop. */
  readonly #dropped = new FinalizationRegistry<number>((number) => {
    this.link.tell(['forget', number]);
  });
  #lastCursor = 0;
  /** Where the transactions and snapshots were called from that have not ended, by the numbers of their `begin`s. */
  readonly #sites = new Map<number, Site>();
  #refusal: ((label: string) => Error) | undefined;

  /** @param keeper of what brings the next port: a port that died keeps nothing alive */
  constructor(page: Page, limits: ClientLimits, keeper: KeepAlive) {
    this.page = page;
    this.#limits = limits;
    this.#lanes = new FarLanes(limits.connections);
    this.link = new Link(page, keeper, {
      answered: (pending, took) => {
        this.#learn(pending, took);
      },
      failure: (pending, encoded, holder) => this.#failure(pending, encoded, holder),
    });
    this.#inFlight = this.link.inFlight;
    this.#overdue = new Overdue(this.link);
  }

  /** Requests that somebody waits for. */
  get waiting(): number {
    return this.#inFlight.waiting;
  }

  /** Milliseconds that what is in flight is expected to keep the thread busy. */
  get load(): number {
    return this.#inFlight.load;
  }

  /** Milliseconds that a call of this method has taken of late; of most it is known only that it was next to nothing. */
  costOf({ label }: Method): number | undefined {
    return this.#limits.costs.get(label);
  }

  /** Rejects what is waiting, and whatever comes. */
  refuse(reason: (label: string) => Error): void {
    this.#refusal ??= reason;
    for (const pending of this.#inFlight.all()) {
      const state = this.#inFlight.stateOf(pending);
      const outcome = state === QUEUED ? 'not-started' : outcomeOf(state);
      this.#inFlight.lose(pending, reason, outcome);
    }
  }

  /** Closes the port. */
  close(): void {
    this.link.close();
    this.#overdue.stop();
  }

  call(method: Method, args: readonly unknown[], context: Ambient | undefined, scope?: RemoteScope): Promise<unknown> {
    try {
      return this.submit(method, args, context, scope).promise();
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Sends a call. @throws what refuses it before it is sent */
  submit(method: Method, args: readonly unknown[], context: Ambient | undefined, scope?: RemoteScope): Pending {
    const { access } = method;
    const label = labelOf(context, method.label);
    this.#admit(label, access);
    const { value, buffers } = packArguments(label, args);
    const endWait = this.#waitAround(access, label, context, scope);
    const what = new SentCall(method, value, buffers, sentContext(context));
    const request = this.#outgoing(++this.#lastId, this.link.word(), what, label, context, scope);
    request.access = access;
    request.cost = this.#limits.costs.get(method.label) ?? USUAL_COST;
    request.endWait = endWait;
    return this.#send(request);
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
    const label = outer === undefined ? labelOf(context, holding?.label ?? what) : nestedLabel(what, context);
    this.#admit(label, access);
    const signal = context?.signal;
    if (signal?.aborted === true) {
      const error = abortError(label, signal);
      throw access === 'write' ? withOutcome(error, 'not-started') : error;
    }
    const guest: Guest = { tenant: new Tenant(label), begun: false };
    const endWait = this.#waitAround(access, label, context, outer);
    const id = ++this.#lastId;
    this.#sites.set(id, holding?.site ?? siteOf(context));
    const [word, scopeId] = [this.link.word(), outer?.id ?? 0];
    const begin = ['begin', id, word, scopeId, what, sentContext(context), holding?.label] as const;
    const request = this.#outgoing(id, word, begin, label, context, outer);
    request.access = access;
    request.endWait = endWait;
    const pending = this.#send(request);
    pending.wanted = holding?.wanted;
    const answered = pending.answered();
    void answered.then(() => this.#sites.delete(id));
    const leave = this.laneOf(access, outer).enter(guest);
    await Promise.race([pending.begun(), answered]);
    // Given up, perhaps as soon as it had begun.
    if (pending.answer instanceof Failure) {
      leave();
      throw pending.answer.make(new Error());
    }

    guest.begun = true;
    const scope = new RemoteScope(this, id, guest.tenant, outer);
    const ended = answered.then((answer): never => {
      const error = answer instanceof Failure ? answer.make(new Error()) : new ExecutorError(`${label}: ended early`);
      scope.abandon();
      throw error;
    });
    // Nobody may be listening when the callback has just settled.
    ended.catch(() => undefined);
    let result: T;
    try {
      result = await Promise.race([run(scope), ended]);
    } catch (error) {
      scope.end();
      leave();
      pending.ending = true;
      if (!pending.settled) this.link.tell(['end', id, 'undo']);
      await answered;
      // Where it ended under its callback, the server has said what became of it.
      throw access === 'read' || scope.abandoned ? error : withOutcome(error, 'rolled-back');
    }
    scope.end();
    leave();
    pending.ending = true;
    if (!pending.settled) this.link.tell(['end', id, 'commit']);
    const answer = await answered;
    if (answer instanceof Failure) throw answer.make(new Error());
    return result;
  }

  /** Runs one step of a handler that yields, whose generator is the server's. */
  async advance(
    cursor: Cursor,
    how: 'pull' | 'end',
    context: Ambient | undefined,
    scope?: RemoteScope,
  ): Promise<Pulled> {
    const { method, args } = cursor;
    const { repository, name } = method;
    const label = labelOf(context, method.label);
    this.#admit(label, 'read');
    let number = this.#cursors.get(cursor);
    let packed: PackedArguments | undefined;
    if (number === undefined) {
      packed = packArguments(label, args);
      number = ++this.#lastCursor;
      this.#cursors.set(cursor, number);
      this.#dropped.register(cursor, number, cursor);
    }
    const endWait = this.#waitAround('step', label, context, scope);
    const scopeId = scope?.id ?? 0;
    const [id, word, sent] = [++this.#lastId, this.link.word(), sentContext(context)];
    const { value: first, buffers } = packed ?? {};
    const what = ['advance', id, word, scopeId, number, how, repository, name, first, buffers, sent] as const;
    const request = this.#outgoing(id, word, what, label, context, scope);
    request.endWait = endWait;
    const answer = await this.#send(request).answered();
    if (answer instanceof Failure) throw answer.make(new Error());
    const { items, done, failure } = answer as SentStep;
    if (done) this.#dropped.unregister(cursor);
    if (failure === undefined) return { items, done };
    return {
      items,
      done,
      failure: { error: decodeError(failure, new Error(), this.#limits.errors) },
    };
  }

  /** Asks for a checkpoint. */
  async checkpoint(context: Ambient | undefined): Promise<CheckpointReport> {
    const label = labelOf(context, 'checkpoint');
    this.#admit(label, 'write');
    const endWait = this.#waitAround('write', label, context);
    const [id, word] = [++this.#lastId, this.link.word()];
    const what = ['checkpoint', id, word, sentContext(context)] as const;
    const request = this.#outgoing(id, word, what, label, context);
    request.access = 'write';
    request.endWait = endWait;
    const answer = await this.#send(request).answered();
    if (answer instanceof Failure) throw answer.make(new Error());
    return answer as CheckpointReport;
  }

  /** What has begun and has not ended, by name. */
  running(): readonly string[] {
    return this.#inFlight.running();
  }

  /** What a request waits for: inside a scope, for what is nested there. `undefined` where it waits for nobody. */
  laneOf(needs: 'read' | 'write', scope: RemoteScope | undefined): FarLane;
  laneOf(needs: Needs, scope: RemoteScope | undefined): FarLane | undefined;
  laneOf(needs: Needs, scope: RemoteScope | undefined): FarLane | undefined {
    return scope === undefined ? this.#lanes.of(needs) : scope.turns;
  }

  /** What a close waits for, as far as this thread holds it. */
  taken(): readonly Tenancy[] {
    return this.#lanes.taken();
  }

  /** Resolves when nobody waits for anything. */
  idle(): Promise<void> {
    return this.#inFlight.idle();
  }

  /** Gives up on everything that can still be given up. @param reason asked where somebody waits */
  abandon(reason: (label: string) => Error, but?: 'synchronous handlers that run'): void {
    for (const pending of this.#inFlight.all()) {
      const { label, id, what, scope, access, awaited } = pending.parts;
      if (pending.settled || scope !== 0) continue;
      if (but !== undefined && isSynchronous(what) && this.#inFlight.stateOf(pending) === RUNNING) continue;
      const outcome = this.#inFlight.giveUp(pending);
      if (outcome === undefined) continue;
      if (isBegin(what)) this.link.tell(['end', id, 'undo']);
      const error = (): Error => (awaited ? reason(label) : new AbortError(`${label}: was given up`));
      // All that a snapshot comes to is here, once its callback has settled.
      if (access === 'read' && pending.ending) this.#inFlight.settle(pending, undefined);
      else this.#inFlight.release(pending, error(), outcome);
      this.link.gaveUp(pending);
    }
  }

  /** Looks whether a request is overdue, for whoever waits without an event loop. */
  expire(): void {
    this.#overdue.lookIfDue();
  }

  #admit(label: string, access: 'read' | 'write'): void {
    if (this.#refusal !== undefined) {
      const error = this.#refusal(label);
      throw access === 'write' ? withOutcome(error, 'not-started') : error;
    }
    const { inFlight } = this.#limits;
    if (this.#inFlight.size < inFlight) return;
    throw new QueueFullError(
      `${label}: ${inFlight} calls are on their way to the thread that owns the database already; ` +
        'slow the callers down, or raise the option "maxQueue"',
      { limit: inFlight },
    );
  }

  /** Has what is open around a request wait for what it waits for. @throws {DeadlockError} at once */
  #waitAround(
    needs: Needs,
    label: string,
    context: Ambient | undefined,
    scope?: RemoteScope,
  ): (() => void) | undefined {
    if (context === undefined || context.scopes.size === 0) return undefined;
    const lane = this.laneOf(needs, scope);
    // A free lane is a wait all the same, since others may come first; a turn inside a scope is not, which is taken in order.
    if (lane === undefined || (scope !== undefined && lane.isFree)) return undefined;
    const tenants = tenantsOf(context);
    return tenants.length === 0 ? undefined : waitInside(tenants, lane, label);
  }

  #outgoing(
    id: number,
    word: number,
    what: Outgoing['what'],
    label: string,
    context: Ambient | undefined,
    scope?: RemoteScope,
  ): Outgoing {
    const request = new Outgoing(id, word, what, label, context, this.#limits.timeout);
    request.scope = scope?.id ?? 0;
    return request;
  }

  #send(request: Outgoing): Pending {
    const { signal } = request;
    const pending = new Pending(request, GRACE);
    this.link.send(pending);
    this.#overdue.watch(pending.giveUpAt);
    if (signal !== undefined) {
      const abort = (): void => {
        this.#aborted(pending, signal);
      };
      if (signal.aborted) abort();
      else pending.listen(abort);
    }
    return pending;
  }

  /**
   * Remembers which calls are long, so that others are not sent behind them. A short one that the machine has held up for once
   * stays short: what it took is averaged by its logarithm.
   */
  #learn({ parts: { what } }: Pending, took: number | undefined): void {
    if (!('kind' in what)) return;
    const { costs } = this.#limits;
    const { label } = what.method;
    const known = costs.get(label);
    const cost = took === undefined ? USUAL_COST : Math.sqrt((known ?? took) * took);
    if (known !== cost) costs.set(label, cost);
  }

  #failure({ parts: { signal } }: Pending, encoded: EncodedError, holder: number | undefined): Failure {
    const site = holder === undefined ? undefined : this.#sites.get(holder);
    return new Failure((caller) => {
      const error = decodeError(encoded, caller, this.#limits.errors);
      // The reason itself is here, and need not have crossed.
      if (signal?.aborted === true && error instanceof AbortError) {
        Object.defineProperty(error, 'cause', { value: signal.reason, configurable: true, writable: true });
      }
      // Nor is the place known there where a transaction of this thread was begun.
      if (site !== undefined && error instanceof TimeoutError) nameSite(error, site);
      return error;
    });
  }

  #aborted(pending: Pending, signal: AbortSignal): void {
    if (pending.settled) return;
    const { id, label } = pending.parts;
    pending.givingUp = () => abortError(label, signal);
    this.link.tell(['abort', id]);
    pending.giveUpAt = this.link.attached ? performance.now() + GRACE : 0;
    if (this.link.attached) this.#overdue.watch(pending.giveUpAt);
    else this.#overdue.look();
  }
}

function isSynchronous(what: Outgoing['what']): boolean {
  return 'kind' in what && what.method.mode === 'sync';
}
