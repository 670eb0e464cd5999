import { type Request } from './protocol.ts';
import { type EncodedError } from './error-codec.ts';

/** Why a request failed: an error that came, or one that is made here. Made into one where the caller's stack is known. */
export class Failure {
  readonly make: (caller: Error) => unknown;

  constructor(make: (caller: Error) => unknown) {
    this.make = make;
  }
}

/** What a {@link Pending} is made of. */
export interface PendingParts {
  readonly id: number;
  readonly word: number;
  readonly label: string;
  readonly access: 'read' | 'write';
  /** The `begin` that it belongs to, or 0. */
  readonly scope: number;
  /** As it was sent, to be sent again to a thread that takes the place of one that died. */
  readonly request: Extract<Request, readonly ['call' | 'begin' | 'advance' | 'checkpoint', ...unknown[]]>;
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

/** A request that has not been answered. */
export class Pending {
  readonly parts: PendingParts;
  /** Resolves with the value, or with a {@link Failure}: never rejects, so that nobody has to listen. */
  readonly answered: Promise<unknown>;
  /** For a `begin`: resolves when its scope has begun; never, when it does not. */
  readonly begun: Promise<void>;
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
  #answer!: (answer: unknown) => void;
  #begin!: () => void;
  #stopListening: (() => void) | undefined;
  #waitEnded = false;

  constructor(parts: PendingParts, grace: number) {
    this.parts = parts;
    this.giveUpAt = parts.deadline + grace;
    this.answered = new Promise((resolve) => {
      this.#answer = resolve;
    });
    this.begun =
      parts.request[0] === 'begin'
        ? new Promise((resolve) => {
            this.#begin = resolve;
          })
        : NEVER;
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
    this.#begin();
  }

  /** Gives its caller the value, or a {@link Failure}. The first time counts. */
  settle(answer: unknown): void {
    if (this.settled) return;
    this.settled = true;
    this.answer = answer;
    this.#stopListening?.();
    this.#endWait();
    this.#answer(answer);
  }

  /** Once: a `begin` that has begun waits for nobody any more, and is answered later. */
  #endWait(): void {
    if (this.#waitEnded) return;
    this.#waitEnded = true;
    this.parts.endWait?.();
  }

  fail(error: EncodedError, decode: (error: EncodedError, caller: Error) => unknown): void {
    this.settle(new Failure((caller) => decode(error, caller)));
  }
}

const NEVER = new Promise<void>(() => undefined);
