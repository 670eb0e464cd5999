import { type Ambient } from '../context/context.ts';
import { type Method } from '../repository/methods.ts';
import { type Request, type SentContext } from './protocol.ts';
import { type Buffers } from './values.ts';

/** What a call is expected to take, in ms, of which nothing else is known. */
export const USUAL_COST = 0.02;

/** Why a request failed: an error that came, or one that is made here. Made into one where the caller's stack is known. */
export class Failure {
  readonly make: (caller: Error) => unknown;

  constructor(make: (caller: Error) => unknown) {
    this.make = make;
  }
}

/** A call as it was made. It is not laid out as a message before it is sent. */
export class SentCall {
  readonly kind = 'call';
  readonly method: Method;
  readonly args: readonly unknown[];
  readonly buffers: Buffers;
  readonly sent: SentContext | undefined;

  constructor(method: Method, args: readonly unknown[], buffers: Buffers, sent: SentContext | undefined) {
    this.method = method;
    this.args = args;
    this.buffers = buffers;
    this.sent = sent;
  }
}

/** Any other request. */
export type SentRequest = Extract<Request, readonly ['begin' | 'advance' | 'checkpoint', ...unknown[]]>;

/** A request as its caller made it. Instances, here and above, and no literals: see write-call.ts. */
export class Outgoing {
  readonly id: number;
  readonly word: number;
  /** As it was sent, to be sent again to a thread that takes the place of one that died. */
  readonly what: SentCall | SentRequest;
  readonly since = performance.now();
  readonly deadline: number;
  /** Whether the deadline is the context's, and so ends it also when it runs. */
  readonly bounded: boolean;
  readonly signal: AbortSignal | undefined;
  readonly label: string;
  access: 'read' | 'write' = 'read';
  /** The `begin` that it belongs to, or 0. */
  scope = 0;
  /** Milliseconds that it is expected to keep its thread busy. */
  cost = USUAL_COST;
  /** Ends the wait of what is open around it. */
  endWait: (() => void) | undefined;

  /** @param timeout milliseconds that it may wait where its context sets no deadline */
  constructor(
    id: number,
    word: number,
    what: SentCall | SentRequest,
    label: string,
    context: Ambient | undefined,
    timeout: number,
  ) {
    this.id = id;
    this.word = word;
    this.what = what;
    this.label = label;
    this.deadline = context?.deadline ?? this.since + timeout;
    this.bounded = context?.deadline !== undefined;
    this.signal = context?.signal;
  }

  /** Whether anybody waits for its answer: whoever does has a deadline. */
  get awaited(): boolean {
    return this.deadline !== Infinity;
  }
}

const NOW = Promise.resolve();
const nothing = (): void => undefined;

/** A request that has not been answered. */
export class Pending {
  readonly parts: Outgoing;
  /** When its caller is released although no answer has come, on `performance.now()`'s clock. */
  giveUpAt: number;
  /** What releases it before its deadline. */
  givingUp: (() => Error) | undefined;
  /** For a `begin` of a stream: others wait for what it holds. */
  wanted: (() => void) | undefined;
  /** Nobody waits any more; the answer that is still to come frees its word. */
  settled = false;
  /** For a `begin`: its callback has settled, and only its end is still to come. */
  ending = false;
  /** It was given up before the server came to it, and will hold nothing. */
  neverRan = false;
  /** What it was settled with, for whoever waits without an event loop. */
  answer: unknown;
  #answered: ((answer: unknown) => void) | undefined;
  #begun: (() => void) | undefined;
  #stopListening: (() => void) | undefined;
  #waitEnded = false;

  constructor(parts: Outgoing, grace: number) {
    this.parts = parts;
    this.giveUpAt = parts.deadline + grace;
  }

  /** The caller's promise: one for each call, and its error made where the caller's own frames are still known. Asked for once. */
  promise(): Promise<unknown> {
    if (this.settled) return Promise.resolve(settlement(this.answer));
    return new Promise((resolve) => {
      this.#answered = (answer) => {
        resolve(answer instanceof Failure ? settlement(answer) : answer);
      };
    });
  }

  /** Resolves with the value, or with a {@link Failure}: never rejects, so that nobody has to listen. Asked for once. */
  answered(): Promise<unknown> {
    if (this.settled) return Promise.resolve(this.answer);
    return new Promise((resolve) => {
      this.#answered = resolve;
    });
  }

  /** For a `begin`: resolves when its scope has begun; never, when it does not. Asked for once. */
  begun(): Promise<void> {
    return new Promise((resolve) => {
      this.#begun = resolve;
    });
  }

  /** Calls a function when its signal aborts, while it waits. */
  listen(aborted: () => void): void {
    const { signal } = this.parts;
    if (signal === undefined) return;
    signal.addEventListener('abort', aborted, { once: true });
    this.#stopListening = () => {
      signal.removeEventListener('abort', aborted);
    };
  }

  start(): void {
    this.#endWait();
    this.#begun?.();
  }

  /** Gives its caller the value, or a {@link Failure}. The first time counts. */
  settle(answer: unknown): void {
    if (this.settled) return;
    this.settled = true;
    this.answer = answer;
    this.#stopListening?.();
    this.#endWait();
    this.#answered?.(answer);
  }

  /** Once: a `begin` that has begun waits for nobody any more, and is answered later. */
  #endWait(): void {
    if (this.#waitEnded) return;
    this.#waitEnded = true;
    this.parts.endWait?.();
  }
}

/**
 * What a promise is resolved with. An error is made two ticks later, when the promise is known to follow this one: only then
 * does the stack show who awaits it.
 */
function settlement(answer: unknown): unknown {
  if (!(answer instanceof Failure)) return answer;
  return NOW.then(nothing).then((): never => {
    throw answer.make(new Error());
  });
}
