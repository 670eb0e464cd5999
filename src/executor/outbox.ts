import { type MessagePort, type Transferable } from 'node:worker_threads';

/**
 * Messages on their way out of this turn of the event loop: they leave together, after its microtasks, because a message
 * costs as much as twenty of what it carries.
 */
export class Outbox<T> {
  readonly #port: MessagePort;
  /** What becomes of a message that turns out not to be sendable. */
  readonly #refused: (message: T, error: unknown) => void;
  /** Called when a batch has left. */
  readonly #sent: (() => void) | undefined;
  #batch: T[] = [];
  #transfer: Transferable[] = [];
  #scheduled = false;

  constructor(port: MessagePort, refused: (message: T, error: unknown) => void, sent?: () => void) {
    this.#port = port;
    this.#refused = refused;
    this.#sent = sent;
  }

  push(message: T, transfer?: readonly Transferable[]): void {
    this.#batch.push(message);
    if (transfer !== undefined) this.#transfer.push(...transfer);
    if (this.#scheduled) return;
    this.#scheduled = true;
    // From a microtask nextTick comes after all other microtasks: whoever is about to call in this turn still joins.
    queueMicrotask(() => {
      process.nextTick(this.flush);
    });
  }

  /** Sends what there is now. */
  readonly flush = (): void => {
    this.#scheduled = false;
    const batch = this.#batch;
    if (batch.length === 0) return;
    const transfer = this.#transfer;
    this.#batch = [];
    this.#transfer = [];
    try {
      this.#port.postMessage(batch, transfer);
    } catch {
      // One of them cannot be cloned, although it was looked at: a proxy, or a getter that throws. The others can.
      for (const message of batch) this.#sendAlone(message);
    }
    this.#sent?.();
  };

  #sendAlone(message: T): void {
    try {
      this.#port.postMessage([message]);
    } catch (error) {
      this.#refused(message, error);
    }
  }
}
