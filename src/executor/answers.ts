/** Answers on their way to the callers of one port. What cannot cross is answered with an error that says so. */
import { type MessagePort } from 'node:worker_threads';
import { HandlerError } from '../errors.ts';
import { withOutcome } from '../outcome.ts';
import { type Method } from '../repository/methods.ts';
import { type StrategyStats } from '../strategies/strategy.ts';
import { type ErrorClass } from '../repository/types.ts';
import { encodeError } from './error-codec.ts';
import { Outbox } from './outbox.ts';
import { type Answer, type Line } from './protocol.ts';
import { CannotCross, movable, pack } from './values.ts';

/** A call whose result is there. */
export interface Answered {
  readonly word: number;
  readonly method: Method;
  readonly scope: number;
  readonly took: number | undefined;
}

/** The answers of one port. */
export class Answers {
  readonly #port: MessagePort;
  readonly #errors: readonly ErrorClass[];
  readonly #outbox: Outbox<Answer>;
  /** Whose answers these are, for what turns out not to be sendable. */
  readonly #whole = new WeakMap<Answer, Pick<Answered, 'method' | 'scope'>>();
  /** Called as each one is about to leave. */
  readonly #leaves: () => void;
  #stopped = false;

  /** @param errors the registry's own classes */
  constructor({ port, page }: Line, errors: readonly ErrorClass[], leaves: () => void) {
    this.#port = port;
    this.#errors = errors;
    this.#leaves = leaves;
    this.#outbox = new Outbox<Answer>(
      port,
      (answer, error) => {
        this.#cannotSend(answer, error);
      },
      () => {
        // Wakes whoever waits without an event loop.
        Atomics.add(page, 0, 1);
        Atomics.notify(page, 0);
      },
    );
  }

  /** Sends a call's result. */
  value({ word, method, scope, took }: Answered, value: unknown): void {
    this.#leaves();
    if (this.#stopped) return;
    if (took === undefined && this.#outbox.value(method, word, value)) return;
    try {
      const packed = pack(value, 'the result');
      // Only what a table's own method has just read is known to be nobody else's.
      const moved = method.own ? [] : movable(packed.value);
      const answer = ['value', word, packed.value, packed.buffers, took] as const;
      this.#whole.set(answer, { method, scope });
      this.#outbox.push(answer, moved);
    } catch (error) {
      this.error(word, resultCannotCross(method, error, scope));
    }
  }

  /** @param holder the `begin` of this port that was in the way */
  error(word: number, error: unknown, holder?: number): void {
    const encoded = encodeError(error, this.#errors);
    this.send(holder === undefined ? ['error', word, encoded] : ['error', word, encoded, holder]);
  }

  /** Sends an answer as it is. */
  send(answer: Answer): void {
    this.#leaves();
    if (this.#stopped) return;
    this.#outbox.push(answer);
  }

  /** Sends new figures, which answer nobody. */
  tell(stats: StrategyStats): void {
    this.#outbox.push(['stats', stats]);
  }

  /** Nobody is there any more to be answered. */
  stop(): void {
    this.#stopped = true;
  }

  /** Sends what is left, and closes the port. */
  close(): void {
    this.#outbox.flush();
    this.#port.close();
  }

  #cannotSend(answer: Answer, error: unknown): void {
    if (answer[0] === 'stats') return;
    const refused = new CannotCross('the result', `what structured clone refuses (${String(error)})`);
    const whose = this.#whole.get(answer);
    this.error(answer[1], whose === undefined ? refused : resultCannotCross(whose.method, refused, whose.scope));
  }
}

function resultCannotCross(method: Method, error: unknown, scope: number): unknown {
  // Inside a transaction what becomes of it is the transaction's to say.
  const kept = method.access === 'write' && scope === 0;
  if (!(error instanceof CannotCross)) return kept ? withOutcome(error, 'committed') : error;
  const failure = new HandlerError(`${method.label}: ${error.message}, and cannot cross a thread; return plain data`, {
    cause: error,
  });
  if (kept) failure.outcome = 'committed';
  return failure;
}
