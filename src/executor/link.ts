/**
 * A port, what is in flight over it, and what becomes of that when the port is lost.
 *
 * Another port may take its place: what had not started is sent again, in order, and what had is rejected with what is known of
 * it. Callers notice the delay only.
 */
import { type MessagePort } from 'node:worker_threads';
import { OptionError } from '../errors.ts';
import { type StrategyStats } from '../strategies/strategy.ts';
import { arrived } from './arrived.ts';
import { endedMeanwhile, lostError, outcomeOf } from './client-errors.ts';
import { type EncodedError } from './error-codec.ts';
import { InFlight } from './in-flight.ts';
import { type KeepAlive } from './keep-alive.ts';
import { Outbox } from './outbox.ts';
import { Pace } from './pace.ts';
import { type Failure, type Pending } from './pending.ts';
import { type Answer, type Request } from './protocol.ts';
import { isBegin, put } from './requests.ts';
import { unpack } from './values.ts';
import { Reader } from './wire.ts';
import { commitTime, GIVEN_UP, type Page, QUEUED } from './words.ts';

/** What a link makes of answers. */
export interface LinkEvents {
  /** A call has been answered with a value. @param took milliseconds that it kept the thread busy, where they are many */
  readonly answered: (pending: Pending, took: number | undefined) => void;
  /** Makes the error out of what came. @param holder the `begin` that was in the way, if it was one of this port's */
  readonly failure: (pending: Pending, encoded: EncodedError, holder: number | undefined) => Failure;
}

/** One port's traffic. */
export class Link {
  readonly inFlight: InFlight;
  /** The server's latest figures. */
  stats: StrategyStats | undefined;
  readonly #page: Page;
  readonly #events: LinkEvents;
  #port: MessagePort | undefined;
  #outbox: Outbox<Request> | undefined;
  readonly #pace = new Pace();
  /** Requests in the outbox, and whether one of them writes. */
  #unsent = 0;
  #unsentWrite = false;
  readonly #listener = {
    message: (answer: Answer): void => {
      this.#hear(answer);
    },
    value: (word: number, value: unknown): void => {
      const pending = this.inFlight.get(word);
      if (pending !== undefined) this.#value(pending, value, undefined);
    },
  };
  #reader = new Reader<Answer, never>(this.#listener);

  /** @param keeper of what brings the next port: a port that died keeps nothing alive */
  constructor(page: Page, keeper: KeepAlive, events: LinkEvents) {
    this.#page = page;
    this.#events = events;
    this.inFlight = new InFlight(page, (busy) => {
      for (const port of [this.#port, keeper]) {
        if (busy) port?.ref();
        else port?.unref();
      }
    });
  }

  /** Whether its server is there. */
  get attached(): boolean {
    return this.#port !== undefined;
  }

  /** Takes a port, in place of one that was lost, and sends what has not been started. */
  attach(port: MessagePort): void {
    if (this.#port !== undefined) this.lost(undefined);
    this.#port = port;
    const outbox = new Outbox<Request>(
      port,
      (request, error) => {
        this.#cannotSend(request, error);
      },
      () => {
        this.#left('end of the turn');
      },
    );
    this.#outbox = outbox;
    this.#reader = new Reader(this.#listener);
    this.#unsent = 0;
    port.on('message', this.#receive);
    if (this.inFlight.waiting === 0) port.unref();
    for (const page of this.inFlight.pages.slice(1)) outbox.push(['page', page]);
    for (const { parts } of this.inFlight.all()) put(outbox, parts);
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
    for (const pending of this.inFlight.all()) this.#settleLost(pending, cause);
  }

  close(): void {
    this.#outbox?.flush();
    this.#port?.close();
  }

  /** A word for a request that is about to be sent. */
  word(): number {
    return this.inFlight.word((page) => {
      this.tell(['page', page]);
    });
  }

  /** Sends a request; while there is no port it waits for one. */
  send(pending: Pending): void {
    this.inFlight.add(pending);
    const outbox = this.#outbox;
    if (outbox === undefined) return;
    const { parts } = pending;
    put(outbox, parts);
    if (this.#unsent++ === 0) this.#pace.began(parts.since);
    if (parts.access === 'write') this.#unsentWrite = true;
    // What is in flight beside these keeps the server busy.
    if (this.inFlight.size !== this.#unsent) return;
    const commit = this.#unsentWrite ? (commitTime(this.#page) ?? Infinity) : 0;
    if (!this.#pace.isDue(this.#unsent, commit)) return;
    this.#left('ahead');
    outbox.sendAhead();
  }

  /** Says something that has no answer. A server that is gone need not know. */
  tell(message: Extract<Request, readonly ['end' | 'abort' | 'forget' | 'page', ...unknown[]]>): void {
    this.#outbox?.push(message);
  }

  /**
   * Its caller has given up and been told: what a server has of it is answered all the same, and what none has is forgotten.
   * With a transaction or snapshot all that is in it is given up.
   */
  gaveUp(pending: Pending): void {
    const undone = this.inFlight.stateOf(pending) === GIVEN_UP;
    if (!this.attached) this.inFlight.forget(pending);
    const { id, what, label } = pending.parts;
    if (!isBegin(what) || !undone || pending.neverRan) return;
    for (const inside of this.inFlight.all()) {
      if (inside.parts.scope !== id || inside.settled) continue;
      const outcome = this.inFlight.giveUp(inside) ?? 'rolled-back';
      this.inFlight.release(inside, endedMeanwhile(inside.parts.label, label), outcome);
      this.gaveUp(inside);
    }
  }

  /** Sends what waits for the end of the turn now, for whoever does not reach it. */
  flush(): void {
    this.#outbox?.flush();
  }

  /** Takes in what has arrived, without the event loop. */
  receive(): void {
    const port = this.#port;
    if (port === undefined) return;
    for (const batch of arrived<readonly unknown[]>(port)) this.#receive(batch);
  }

  #left(when: 'ahead' | 'end of the turn'): void {
    this.#pace.left(this.#unsent, when);
    this.#unsent = 0;
    this.#unsentWrite = false;
  }

  readonly #receive = (batch: readonly unknown[]): void => {
    this.inFlight.heard();
    this.#reader.read(batch);
  };

  #hear(answer: Answer): void {
    if (answer[0] === 'stats') {
      this.stats = answer[1];
      return;
    }
    const pending = this.inFlight.get(answer[1]);
    if (pending === undefined) return;
    switch (answer[0]) {
      case 'begun':
        if (pending.settled) this.tell(['end', pending.parts.id, 'undo']);
        else pending.start();
        break;
      case 'wanted':
        pending.wanted?.();
        break;
      case 'value':
        this.#value(pending, answer[3] === undefined ? answer[2] : unpack(answer[2], answer[3]), answer[4]);
        break;
      case 'error':
        this.#settle(pending, this.#events.failure(pending, answer[2], answer[3]));
    }
  }

  #value(pending: Pending, value: unknown, took: number | undefined): void {
    this.#events.answered(pending, took);
    this.#settle(pending, value);
  }

  #settle(pending: Pending, answer: unknown): void {
    this.inFlight.settle(pending, answer);
    this.inFlight.forget(pending);
  }

  #settleLost(pending: Pending, cause: unknown): void {
    const { label, scope, access } = pending.parts;
    const state = this.inFlight.stateOf(pending);
    if (!pending.settled && state === QUEUED && scope === 0) return;
    this.inFlight.lose(pending, () => lostError(label, access, state, cause), outcomeOf(state));
  }

  #cannotSend(request: Request, error: unknown): void {
    if (request[0] !== 'call' && request[0] !== 'advance') return;
    const pending = this.inFlight.get(request[2]);
    if (pending === undefined) return;
    const refused = new OptionError(`${pending.parts.label}: an argument cannot cross a thread: ${String(error)}`);
    this.inFlight.release(pending, refused, 'not-started');
    this.inFlight.forget(pending);
  }
}
