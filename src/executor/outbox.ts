import { type MessagePort, type Transferable } from 'node:worker_threads';
import { type Method } from '../repository/methods.ts';
import { Writer } from './wire.ts';

/**
 * Messages on their way out of this turn of the event loop: they leave together, after its microtasks, because a message
 * costs as much as twenty of what it carries.
 */
export class Outbox<T extends object> {
  readonly #port: MessagePort;
  /** What becomes of a message that turns out not to be sendable. */
  readonly #refused: (message: T, error: unknown) => void;
  /** Called when the messages of a turn have left. */
  readonly #sent: (() => void) | undefined;
  readonly #batch = new Writer();
  #transfer: Transferable[] = [];
  #scheduled = false;
  /** Some of this turn's messages have gone ahead of the others. */
  #wentAhead = false;

  constructor(port: MessagePort, refused: (message: T, error: unknown) => void, sent?: () => void) {
    this.#port = port;
    this.#refused = refused;
    this.#sent = sent;
  }

  push(message: T, transfer?: readonly Transferable[]): void {
    this.#batch.message(message);
    if (transfer !== undefined) this.#transfer.push(...transfer);
    this.#schedule();
  }

  /** Sends a call whose arguments need no looking after; otherwise nothing. */
  call(method: Method, id: number, word: number, args: readonly unknown[]): boolean {
    if (!this.#batch.call(method, id, word, args)) return false;
    this.#schedule();
    return true;
  }

  /** Sends a result that needs no looking after; otherwise nothing. */
  value(method: Method, word: number, value: unknown): boolean {
    if (!this.#batch.value(method, word, value)) return false;
    this.#schedule();
    return true;
  }

  /** Sends what there is now, and what else comes in this turn at its end. */
  sendAhead(): void {
    this.#wentAhead = true;
    this.#post();
  }

  /** Sends what there is now. */
  readonly flush = (): void => {
    this.#scheduled = false;
    if (this.#batch.empty && !this.#wentAhead) return;
    this.#wentAhead = false;
    this.#post();
    this.#sent?.();
  };

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(this.#afterThese);
  }

  /** From a microtask nextTick comes after all other microtasks: whoever is about to call in this turn still joins. */
  readonly #afterThese = (): void => {
    process.nextTick(this.flush);
  };

  #post(): void {
    if (this.#batch.empty) return;
    const list = this.#batch.take();
    const transfer = this.#transfer;
    if (transfer.length > 0) this.#transfer = [];
    try {
      this.#port.postMessage(list, transfer);
    } catch {
      // One of them cannot be cloned, although it was looked at: a proxy, or a getter that throws. The others can.
      this.#port.postMessage(list.filter((each) => this.#canCross(each)));
    }
  }

  /** Of a list only whole messages are objects. */
  #canCross(each: unknown): boolean {
    if (typeof each !== 'object' || each === null) return true;
    try {
      structuredClone(each);
      return true;
    } catch (error) {
      this.#refused(each as T, error);
      return false;
    }
  }
}
