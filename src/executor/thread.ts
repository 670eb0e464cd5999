/**
 * A thread that owns a database, and the lines to it.
 *
 * 1. It is started, opens the database, and reports its description; then each line gets a port to it.
 * 2. When it dies, each line is told, and it is started again after a delay that grows with each death in a row; then each line
 *    gets a new port. Deaths are in a row while nothing was answered between them. After {@link MAX_DEATHS} it has failed: each
 *    line is told why, and it is not started again. One whose database was in memory has failed at once.
 * 3. To close it is told to drain, then to close; then it is ended. One that does not answer is left to itself.
 */
import { MessageChannel, type MessagePort, type ResourceLimits, Worker } from 'node:worker_threads';
import { ExecutorError, InternalError } from '../errors.ts';
import { decodeError } from './error-codec.ts';
import { type Description } from './protocol.ts';
import { type Order, type Report, type ThreadStart } from './thread-messages.ts';
import { findWorker } from './worker-file.ts';
import { type Page } from './words.ts';

/** Deaths without an answer between them, after which it is not started again. */
const MAX_DEATHS = 5;
const FIRST_DELAY = 10;
const MAX_DELAY = 5000;

/** Whoever calls through a port to the thread. */
export interface Caller {
  readonly page: Page;
  /** Takes a port to the thread, the first one or the one after a restart. */
  attach(port: MessagePort): void;
  /** The thread has died, and will be started again. */
  lost(cause: unknown): void;
  /** The thread is gone for good. */
  refuse(reason: (label: string) => Error): void;
}

/** How to start it. */
export interface ThreadPlan {
  readonly start: ThreadStart;
  readonly name: string;
  readonly resourceLimits: ResourceLimits | undefined;
  /** `'never'` where its database dies with it: another one would be empty. */
  readonly restart: 'always' | 'never';
}

/** A thread that owns a database. */
export class OwningThread {
  readonly #plan: ThreadPlan;
  readonly #callers = new Set<Caller>();
  #worker: Worker | undefined;
  #ready = false;
  #deaths = 0;
  /** How much had been answered when it was last started. */
  #answeredBefore = 0;
  #restart: NodeJS.Timeout | undefined;
  #failure: ((label: string) => Error) | undefined;
  #closing = false;
  #exited: Promise<void> = Promise.resolve();
  #expected: { readonly kind: Report['kind']; readonly arrived: (report: Report) => void } | undefined;

  constructor(plan: ThreadPlan) {
    this.#plan = plan;
  }

  /** Starts it. @throws what opening the database throws, or {@link ExecutorError} */
  async start(): Promise<Description> {
    const worker = this.#launch();
    try {
      return await this.#opened(worker);
    } catch (error) {
      this.#closing = true;
      void worker.terminate();
      await this.#exited;
      throw error;
    }
  }

  /** Adds a line; it gets its port at once, or when the thread is there again. */
  add(caller: Caller): void {
    if (this.#failure !== undefined) {
      caller.refuse(this.#failure);
      return;
    }
    this.#callers.add(caller);
    if (this.#ready) this.#connect(caller);
  }

  remove(caller: Caller): void {
    this.#callers.delete(caller);
  }

  /** Resolves when everything that was accepted has ended; nothing more is. At once when there is no thread. */
  async drain(): Promise<void> {
    if (this.#ready) await this.#ask({ kind: 'drain' }, 'drained');
  }

  /** Gives up on whatever has not ended in the thread. */
  abandon(because: string): void {
    if (this.#ready) this.#tell({ kind: 'abandon', because });
  }

  /** Closes the database and ends the thread. */
  async close(): Promise<void> {
    this.#closing = true;
    clearTimeout(this.#restart);
    if (this.#ready) await this.#ask({ kind: 'close' }, 'closed');
    await this.#worker?.terminate();
    await this.#exited;
  }

  /** Ends the thread without waiting: what runs in it natively runs on, until it ends by itself. */
  leave(): void {
    this.#closing = true;
    clearTimeout(this.#restart);
    this.#worker?.unref();
    void this.#worker?.terminate();
  }

  #launch(): Worker {
    const { start, name, resourceLimits } = this.#plan;
    const { url, execArgv } = findWorker();
    const worker = new Worker(url, {
      name,
      workerData: start,
      ...(execArgv === undefined ? {} : { execArgv }),
      ...(resourceLimits === undefined ? {} : { resourceLimits }),
    });
    this.#worker = worker;
    this.#answeredBefore = this.#answered();
    let cause: unknown;
    worker.on('error', (error) => {
      cause = error;
    });
    worker.on('message', (report: Report) => {
      if (report.kind === 'failed') cause = decodeError(report.error);
      this.#hear(report);
    });
    this.#exited = new Promise((resolve) => {
      worker.on('exit', (code) => {
        resolve();
        this.#ended(cause ?? new ExecutorError(`the thread ended by itself, with code ${code} (process.exit?)`));
      });
    });
    return worker;
  }

  async #opened(worker: Worker): Promise<Description> {
    const report = await new Promise<Report>((resolve, reject) => {
      worker.once('error', (error: Error) => {
        reject(this.#startFailed(error));
      });
      worker.once('exit', (code) => {
        reject(this.#startFailed(new Error(`it ended with code ${code}`)));
      });
      worker.on('message', (report: Report) => {
        if (report.kind === 'ready' || report.kind === 'failed') resolve(report);
      });
    });
    if (report.kind === 'failed') throw decodeError(report.error, new Error());
    if (report.kind !== 'ready') throw new InternalError(`a thread began with ${report.kind}`);
    this.#ready = true;
    // From here on a call in flight keeps the process alive, and nothing else.
    worker.unref();
    for (const caller of this.#callers) this.#connect(caller);
    return report;
  }

  #startFailed(cause: Error): ExecutorError {
    return new ExecutorError(
      `executor: the thread died while it was importing ${this.#plan.start.registry} and opening the database: ${cause.message}; ` +
        'see what that module does when it is imported',
      { cause },
    );
  }

  #connect(caller: Caller): void {
    const { port1, port2 } = new MessageChannel();
    this.#worker?.postMessage({ kind: 'serve', port: port2, page: caller.page } satisfies Order, [port2]);
    caller.attach(port1);
  }

  #tell(order: Order): void {
    this.#worker?.postMessage(order);
  }

  /** Gives an order and waits until it is reported done, or the thread is gone. */
  async #ask(order: Order, kind: Report['kind']): Promise<void> {
    this.#worker?.ref();
    const done = new Promise<Report>((resolve) => {
      this.#expected = { kind, arrived: resolve };
    });
    this.#tell(order);
    const report = await Promise.race([done, this.#exited]);
    this.#expected = undefined;
    this.#worker?.unref();
    if (report?.kind === 'closed' && report.error !== undefined) throw decodeError(report.error, new Error());
  }

  #hear(report: Report): void {
    if (report.kind === 'warning') {
      const { message, type, code } = report;
      process.emitWarning(message, { type, ...(code === undefined ? {} : { code }) });
    }
    if (report.kind === this.#expected?.kind) this.#expected.arrived(report);
  }

  #answered(): number {
    let sum = 0;
    for (const { page } of this.#callers) sum += Atomics.load(page, 0);
    return sum;
  }

  #ended(cause: unknown): void {
    const wasReady = this.#ready;
    this.#ready = false;
    if (this.#closing) return;
    if (!wasReady && this.#deaths === 0) return;
    if (this.#answered() !== this.#answeredBefore) this.#deaths = 0;
    this.#deaths += 1;
    if (this.#deaths >= MAX_DEATHS || this.#plan.restart === 'never') {
      this.#fail(cause);
      return;
    }
    for (const caller of this.#callers) caller.lost(cause);
    this.#restart = setTimeout(
      () => {
        void this.#startAgain();
      },
      Math.min(FIRST_DELAY * 2 ** (this.#deaths - 1), MAX_DELAY),
    );
  }

  async #startAgain(): Promise<void> {
    const worker = this.#launch();
    try {
      await this.#opened(worker);
    } catch {
      // It has ended, or is about to: that is a death like any other.
      await worker.terminate();
    }
  }

  #fail(cause: unknown): void {
    const last = cause instanceof Error ? cause.message : String(cause);
    const why =
      this.#plan.restart === 'never'
        ? `died, and its database, which was not in a file, with it: ${last}. Open a new one`
        : `died ${MAX_DEATHS} times in a row and is not started again; the last time of: ${last}. Open the database again ` +
          'when that is mended';
    this.#failure = (label) => new ExecutorError(`${label}: the thread that owns the database ${why}`, { cause });
    for (const caller of this.#callers) {
      caller.lost(cause);
      caller.refuse(this.#failure);
    }
    this.#callers.clear();
  }
}
