import { type Method } from '../repository/methods.ts';
import { type Request, type SentContext } from './protocol.ts';
import { type Buffers } from './values.ts';

/** Why a request failed: an error that came, or one that is made here. Made into one where the caller's stack is known. */
export class Failure {
  readonly make: (caller: Error) => unknown;

  constructor(make: (caller: Error) => unknown) {
    this.make = make;
  }
}

/** A call as it was made. It is not laid out as a message before it is sent. */
export interface SentCall {
  readonly kind: 'call';
  readonly method: Method;
  readonly args: readonly unknown[];
  readonly buffers: Buffers;
  readonly sent: SentContext | undefined;
}

/** Any other request. */
export type SentRequest = Extract<Request, readonly ['begin' | 'advance' | 'checkpoint', ...unknown[]]>;

/** What a {@link Pending} is made of. */
export interface PendingParts {
  readonly id: number;
  readonly word: number;
  readonly label: string;
  readonly access: 'read' | 'write';
  /** The `begin` that it belongs to, or 0. */
  readonly scope: number;
  /** As it was sent, to be sent again to a thread that takes the place of one that died. */
  readonly what: SentCall | SentRequest;
  readonly signal: AbortSignal | undefined;
  readonly since: number;
  readonly deadline: number;
  /** Whether the deadline is the context's, and so ends it also when it runs. */
  readonly bounded: boolean;
  /** Milliseconds that it is expected to keep its thread busy. */
  readonly cost: number;
  /** Ends the wait of what is open around it. */
  readonly endWait: (() => void) | undefined;
}

const NOW = Promise.resolve();
const nothing = (): void => undefined;

/** A request that has not been answered. */
export class Pending {
  readonly parts: PendingParts;
  /** When its caller is released although no answer has come, on `performance.now()`'s clock. */
  giveUpAt: number;
  /** What releases it before its deadline. */
  givingUp: (() => Error) | undefined;
  /** For a `begin` of a stream: others wait for what it holds. */
  wanted: (() => void) | undefined;
  /** Nobody waits any more; the answer that is still to come frees its word. */
  settled = false;
  /** What it was settled with, for whoever waits without an event loop. */
  answer: unknown;
  #answered: ((answer: unknown) => void) | undefined;
  #begun: (() => void) | undefined;
  #stopListening: (() => void) | undefined;
  #waitEnded = false;

  constructor(parts: PendingParts, grace: number) {
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
