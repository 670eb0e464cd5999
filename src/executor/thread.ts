/**
 * A thread that owns a database, and the lines to it.
 *
 * 1. It is started and imports the registry, opens the database when it is told to, and reports its description; then each
 *    line gets a port to it. Several threads import side by side, and open one after another. An import that does not come to
 *    its end is ended.
 * 2. When it dies, each line is told, and it is started again after a delay that grows with each death in a row; then each line
 *    gets a new port. Deaths are in a row while nothing was answered between them. After {@link MAX_DEATHS} it has failed: each
 *    line is told why, and it is not started again. One whose database was in memory has failed at once.
 * 3. To close it is told to drain, then asked whether it can close, then told to; then it is ended. One that does not answer
 *    is left to itself. What several threads have open is closed all or none: while one of them cannot close none is told to,
 *    and all of them go on.
 */
import { MessageChannel, type MessagePort, type ResourceLimits, Worker } from 'node:worker_threads';
import { ExecutorError } from '../errors.ts';
import { decodeError } from './error-codec.ts';
import { KeepAlive } from './keep-alive.ts';
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
  readonly start: Omit<ThreadStart, 'urgent'>;
  readonly name: string;
  readonly resourceLimits: ResourceLimits | undefined;
  /** `'never'` where its database dies with it: another one would be empty. */
  readonly restart: 'always' | 'never';
  /** Milliseconds that importing the registry may take. */
  readonly importWithin: number;
}

/** A thread that owns a database. */
export class OwningThread {
  readonly #plan: ThreadPlan;
  /** Of whoever calls from here. The port to a thread that died would let the process end before its death is known. */
  readonly keeper = new KeepAlive((alive) => {
    if (alive) this.#worker?.ref();
    else this.#worker?.unref();
  });
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
  #opened: Promise<Description> | undefined;
  /** The order to give up on everything, once it was given: also for a thread that takes the place of this one. */
  #givenUp: Order | undefined;
  /** Not 0 since then: it looks for that order before it begins anything. */
  readonly #urgent = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  /** Who waits for a report of each kind. */
  readonly #expected = new Map<Report['kind'], (report: Report) => void>();

  constructor(plan: ThreadPlan) {
    this.#plan = plan;
  }

  /** Starts it; it opens nothing before {@link start}. */
  launch(): Promise<Description> {
    return (this.#opened ??= this.#launch());
  }

  /** Has it open the database. @throws what opening the database throws, or {@link ExecutorError} */
  async start(): Promise<Description> {
    const opened = this.launch();
    this.#tell({ kind: 'open' });
    try {
      return await opened;
    } catch (error) {
      this.#closing = true;
      void this.#worker?.terminate();
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

  /**
   * Resolves when everything that was accepted has ended; nothing more is. At once when there is no thread.
   *
   * @returns what was given up on in there, by name
   */
  async drain(): Promise<readonly string[]> {
    const report = this.#ready ? await this.#ask({ kind: 'drain' }, 'drained') : undefined;
    return report?.kind === 'drained' ? report.abandoned : [];
  }

  /** What a close waits for in the thread, by name: also for callers that have ports. Not before a handler that runs has ended. */
  async running(): Promise<readonly string[]> {
    const report = this.#ready ? await this.#ask({ kind: 'name running' }, 'running') : undefined;
    return report?.kind === 'running' ? report.labels : [];
  }

  /** Gives up on whatever has not ended in the thread. */
  abandon(because: string): void {
    this.#givenUp = { kind: 'abandon', because };
    if (this.#ready) this.#tell(this.#givenUp);
    Atomics.store(this.#urgent, 0, 1);
  }

  /** @throws what would keep the database from being closed; nothing was */
  async prepareClose(): Promise<void> {
    if (this.#ready) await this.#ask({ kind: 'prepare' }, 'prepared');
  }

  /** The close has failed, and nothing was closed: it accepts calls again. */
  resume(): void {
    this.#givenUp = undefined;
    Atomics.store(this.#urgent, 0, 0);
    if (this.#ready) this.#tell({ kind: 'resume' });
  }

  /** Closes the database and ends the thread, and with it what could not be closed after all. */
  async close(): Promise<void> {
    this.#closing = true;
    clearTimeout(this.#restart);
    try {
      if (this.#ready) await this.#ask({ kind: 'close' }, 'closed');
    } finally {
      await this.#worker?.terminate();
      await this.#exited;
    }
  }

  /** Ends the thread without waiting: what runs in it natively runs on, until it ends by itself. */
  leave(): void {
    this.#closing = true;
    clearTimeout(this.#restart);
    this.#worker?.unref();
    void this.#worker?.terminate();
  }

  /** The promise is that of its description. */
  #launch(): Promise<Description> {
    const { start, name, resourceLimits, importWithin } = this.#plan;
    const { url, execArgv } = findWorker();
    const worker = new Worker(url, {
      name,
      workerData: { ...start, urgent: this.#urgent } satisfies ThreadStart,
      ...(execArgv === undefined ? {} : { execArgv }),
      ...(resourceLimits === undefined ? {} : { resourceLimits }),
    });
    this.#worker = worker;
    this.#answeredBefore = this.#answered();
    let cause: unknown;
    const patience = setTimeout(() => {
      cause = new Error(`it had not ended after ${importWithin} ms (an await of what never comes?)`);
      void worker.terminate();
    }, importWithin);
    worker.on('error', (error) => {
      cause = error;
    });
    const opened = new Promise<Description>((resolve, reject) => {
      worker.on('message', (report: Report) => {
        switch (report.kind) {
          case 'imported':
            clearTimeout(patience);
            break;
          case 'failed':
            cause = decodeError(report.error);
            reject(decodeError(report.error, new Error()));
            break;
          case 'ready':
            this.#isReady(worker);
            resolve(report);
        }
        this.#hear(report);
      });
      worker.on('exit', (code) => {
        reject(this.#startFailed(cause instanceof Error ? cause : new Error(`it ended with code ${code}`)));
      });
    });
    // Whoever starts it listens; one that is launched and not wanted after all is ended.
    opened.catch(() => undefined);
    this.#exited = new Promise((resolve) => {
      worker.on('exit', (code) => {
        clearTimeout(patience);
        resolve();
        this.#ended(cause ?? new ExecutorError(`the thread ended by itself, with code ${code} (process.exit?)`));
      });
    });
    return opened;
  }

  #isReady(worker: Worker): void {
    this.#ready = true;
    // From here on a call in flight keeps the process alive, and nothing else.
    if (!this.keeper.wanted) worker.unref();
    if (this.#givenUp !== undefined) this.#tell(this.#givenUp);
    for (const caller of this.#callers) this.#connect(caller);
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
  async #ask(order: Order, kind: Report['kind']): Promise<Report | undefined> {
    this.#worker?.ref();
    const done = new Promise<Report>((resolve) => {
      this.#expected.set(kind, resolve);
    });
    this.#tell(order);
    const report = await Promise.race([done, this.#exited]);
    this.#expected.delete(kind);
    if (!this.keeper.wanted) this.#worker?.unref();
    const failed = report?.kind === 'closed' || report?.kind === 'prepared' ? report.error : undefined;
    if (failed !== undefined) throw decodeError(failed, new Error());
    return report ?? undefined;
  }

  #hear(report: Report): void {
    if (report.kind === 'warning') {
      const { message, type, code } = report;
      process.emitWarning(message, { type, ...(code === undefined ? {} : { code }) });
    }
    this.#expected.get(report.kind)?.(report);
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
    const opened = this.#launch();
    this.#tell({ kind: 'open' });
    try {
      await opened;
    } catch {
      // It has ended, or is about to: that is a death like any other.
      await this.#worker?.terminate();
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
