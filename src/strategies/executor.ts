/**
 * One thread owns the connection that writes, and others may own readers; callers submit and await a future. Inside each
 * thread runs an ordinary strategy.
 */
import { resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type MessagePort } from 'node:worker_threads';
import { type PathFacts } from '../connection/facts.ts';
import { type ClientLimits, PortClient } from '../executor/client.ts';
import { PortStrategy } from '../executor/port-strategy.ts';
import { connectionsOf, type Description, methodsOf } from '../executor/protocol.ts';
import { type Caller, OwningThread, type ThreadPlan } from '../executor/thread.ts';
import { newPage } from '../executor/words.ts';
import { type Settings } from '../options.ts';

/** Milliseconds that a thread is waited for after everything in it was given up; then it is left to itself. */
const LEAVE_AFTER = 1000;

/** Milliseconds in which a thread that can answer does. */
const ANSWER_WITHIN = 500;

/** Milliseconds that importing the registry's module may take at least. */
const IMPORT_WITHIN = 30_000;

/** What the threads of one database are, and say of themselves. */
export interface Threads {
  readonly writer: OwningThread;
  readonly readers: readonly OwningThread[];
  readonly description: Description;
}

/**
 * Starts the threads: the one that writes, which creates and migrates the file, and then the readers.
 *
 * @throws what opening the database throws in the thread, as the same class
 */
export async function startThreads(settings: Settings, path: PathFacts): Promise<Threads> {
  const { resourceLimits, readerThreads, timeout } = settings;
  // A reader of a database in memory would find another one.
  const isTransient = path.storage.kind === 'memory' || path.storage.kind === 'temporary';
  const plan = (behind: boolean, options: object, name: string): ThreadPlan => ({
    start: threadStart(settings, path, behind, options),
    name,
    resourceLimits,
    restart: isTransient ? 'never' : 'always',
    importWithin: Math.max(timeout, IMPORT_WITHIN),
  });
  const writer = new OwningThread(plan(false, { migrations: text(settings.migrations) }, 'sluice'));
  const readers = Array.from(
    { length: isTransient ? 0 : readerThreads },
    (_, at) => new OwningThread(plan(true, { readonly: true }, `sluice reader ${at + 1}`)),
  );
  try {
    for (const thread of [writer, ...readers]) void thread.launch();
    const description = await writer.start();
    // Without WAL a reader would keep the writer from committing.
    if (!description.decision.facts.walObtained && !settings.readonly) {
      await Promise.all(readers.splice(0).map((reader) => reader.close()));
    }
    await Promise.all(readers.map((reader) => reader.start()));
    return { writer, readers, description };
  } catch (error) {
    await Promise.allSettled([writer, ...readers].map((thread) => thread.close()));
    throw error;
  }
}

/** The strategy `executor`. */
export class Executor extends PortStrategy {
  readonly exchanges: readonly OwningThread[];
  readonly #threads: Threads;
  #leaving: NodeJS.Timeout | undefined;
  /** Once the close has given up: tells it what was given up on, and is what that is rejected with. */
  #givenUp: ((label: string) => Error) | undefined;
  /** Resolves when it is time to leave the threads to themselves. */
  #left!: Promise<undefined>;
  #leave!: () => void;

  constructor(threads: Threads, settings: Settings) {
    const { description, writer, readers } = threads;
    const shared = { costs: new Map<string, number>(), connections: connectionsOf(description) };
    super(
      methodsOf(description.methods, settings.repositories),
      callThrough(writer, settings, shared),
      readers.map((reader) => callThrough(reader, settings, shared)),
    );
    this.#threads = threads;
    this.exchanges = [writer, ...readers];
    this.#stay();
  }

  override async idle(): Promise<void> {
    await this.#orLeft(super.idle());
    const drained = this.#all().map(async (thread) => {
      for (const label of await thread.drain()) this.#givenUp?.(label);
    });
    await this.#orLeft(Promise.all(drained));
  }

  override abandon(reason: (label: string) => Error): void {
    this.#givenUp = reason;
    for (const client of this.clients()) client.abandon(reason, 'synchronous handlers that run');
    // Then the threads: a handler that sees that it is given up ends, and nothing that waits behind it may begin.
    for (const thread of this.#all()) thread.abandon('the database was closed and did not wait for it any longer');
    super.abandon(reason);
    this.#leaving ??= setTimeout(this.#leave, LEAVE_AFTER);
  }

  /** Also what has begun for threads that have ports, unless a handler keeps a thread from saying so. */
  override async running(): Promise<readonly string[]> {
    const asked = Promise.all(this.#all().map((thread) => thread.running()));
    const named = await Promise.race([asked, pause(ANSWER_WITHIN, undefined, { ref: false })]);
    return named?.flat() ?? super.waitedFor();
  }

  resume(): void {
    this.#givenUp = undefined;
    clearTimeout(this.#leaving);
    this.#stay();
    for (const thread of this.#all()) thread.resume();
  }

  override async close(): Promise<void> {
    // The writer last: it empties the WAL into the database, which a reader would prevent.
    const ended = (async () => {
      await Promise.all(this.#all().map((thread) => thread.prepareClose()));
      await Promise.all(this.#threads.readers.map((reader) => reader.close()));
      await this.#threads.writer.close();
      return 'ended' as const;
    })();
    if ((await this.#orLeft(ended)) !== 'ended') {
      ended.catch(() => undefined);
      for (const thread of this.#all()) thread.leave();
      // What is being committed could not be given up.
      for (const client of this.clients()) if (this.#givenUp !== undefined) client.refuse(this.#givenUp);
    }
    clearTimeout(this.#leaving);
    this.#givenUp = undefined;
    await super.close();
  }

  /** From now on nobody is in a hurry. */
  #stay(): void {
    this.#leaving = undefined;
    this.#left = new Promise((resolve) => {
      this.#leave = () => {
        resolve(undefined);
      };
    });
  }

  #all(): readonly OwningThread[] {
    return [this.#threads.writer, ...this.#threads.readers];
  }

  /** Waits for it; for a moment only, when everything was given up. */
  #orLeft<T>(done: Promise<T>): Promise<T | undefined> {
    return Promise.race([done, this.#left]);
  }
}

function callThrough(
  thread: OwningThread,
  { timeout, maxQueue, batch, errors }: Settings,
  shared: Pick<ClientLimits, 'costs' | 'connections'>,
): PortClient {
  const page = newPage();
  // The lane itself refuses what is more than `maxQueue`; what runs in a batch does not wait any more.
  const client = new PortClient(page, { timeout, inFlight: maxQueue + batch.calls, errors, ...shared }, thread.keeper);
  const caller: Caller = {
    page,
    attach: (port: MessagePort) => {
      client.link.attach(port);
    },
    lost: (cause) => {
      client.link.lost(cause);
    },
    refuse: (reason) => {
      client.refuse(reason);
    },
  };
  thread.add(caller);
  return client;
}

function threadStart(settings: Settings, { file }: PathFacts, behind: boolean, options: object): ThreadPlan['start'] {
  const { url, repositories, durability, readers, timeout, maxQueue, batch, pragmas, readonly } = settings;
  return {
    registry: url,
    names: Object.keys(repositories),
    behind,
    options: { file, durability, readers, timeout, maxQueue, batch, pragmas, readonly, ...options },
  };
}

/** Absolute: when a thread is started again, the process may work in another folder. */
function text(place: string | URL | undefined): string | undefined {
  return place === undefined ? undefined : resolve(place instanceof URL ? fileURLToPath(place) : place);
}
