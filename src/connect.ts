import { type MessagePort, receiveMessageOnPort, threadId } from 'node:worker_threads';
import { CallSite } from './context/call-site.ts';
import { currentContext, scopeOf } from './context/context.ts';
import { type Database } from './database.ts';
import { ClosedError, OptionError } from './errors.ts';
import { arrived } from './executor/arrived.ts';
import { cannotBlock, refuseToBlock, sleepUntilAnswered } from './executor/blocking.ts';
import { PortClient } from './executor/client.ts';
import { KeepAlive } from './executor/keep-alive.ts';
import { decodeError } from './executor/error-codec.ts';
import { type Greeting, type Notice } from './executor/given-ports.ts';
import { PortStrategy } from './executor/port-strategy.ts';
import { connectionsOf, type Description, methodsOf } from './executor/protocol.ts';
import { RemoteScope } from './executor/remote-scope.ts';
import { describe } from './plain.ts';
import { buildBlockingApi } from './repository/api.ts';
import { type Method } from './repository/methods.ts';
import { type BlockingApi, type ErrorClass, type Registry } from './repository/types.ts';
import { SluiceDatabase } from './sluice-database.ts';
import { watchUnclosed } from './unclosed.ts';

/** A `Database` whose connections another thread has. */
export interface ConnectedDatabase<G extends Registry = Registry> extends Database<G> {
  /**
   * The same methods, which block this thread until the answer is there and give it without a promise: for a worker thread
   * that does one thing at a time. Refused with a `ContextError` on the main thread, on one that serves calls itself, and
   * where it would wait for a transaction or snapshot that was begun through this port and could not go on meanwhile.
   *
   * @example
   * const account = db.blocking.accounts.get(1);
   */
  readonly blocking: BlockingApi<G>;
}

/**
 * Reaches a database of another thread through a port that its `db.port()` made. Calls, transactions, snapshots and contexts
 * are those of any `Database`; handlers run in the thread that owns it. Closing it closes the port, and not the database.
 *
 * @param port from `workerData` or a message, where it was in the `transferList`
 * @param repositories the registry that the database was opened with
 * @example
 * const db = connect(workerData.port, ledger);
 * await db.api.transfers.send(1, 2, 500);
 * @throws {OptionError} not a port of `db.port()`, one that was connected already, or of a database with other repositories
 */
export function connect<G extends Registry>(port: MessagePort, repositories: G): ConnectedDatabase<G> {
  const greeting = readGreeting(port);
  refuseOtherRepositories(greeting, repositories);
  const site = new CallSite();
  const errors = repositories.errors ?? [];
  const strategy = new Connection(port, greeting, repositories);
  const database = new Connected<G>(strategy, greeting, errors);
  const release = async (): Promise<void> => {
    await strategy.idle();
    strategy.close();
  };
  watchUnclosed(database, { file: greeting.decision.facts.file, site, release, over: () => strategy.over });
  return database;
}

class Connected<G extends Registry> extends SluiceDatabase<G> implements ConnectedDatabase<G> {
  readonly blocking: BlockingApi<G>;

  constructor(strategy: Connection, greeting: Greeting, errors: readonly ErrorClass[]) {
    super(strategy, greeting.decision, () => undefined, { ...greeting, errors });
    const call = (method: Method, args: readonly unknown[]): unknown => {
      refuseToBlock(method, greeting.servedBy === threadId);
      const context = currentContext();
      const scope = scopeOf(context, strategy.owner);
      if (scope instanceof RemoteScope) return strategy.block(method, args, scope);
      this.refuseIfClosed(method.label);
      return strategy.block(method, args, undefined);
    };
    this.blocking = buildBlockingApi(strategy.methods, call) as BlockingApi<G>;
  }
}

/** The strategy behind a control port. */
class Connection extends PortStrategy {
  readonly #control: MessagePort;
  readonly #description: Description;
  /** The owner has closed the database, or its thread is gone. */
  over = false;

  constructor(control: MessagePort, greeting: Greeting, { repositories, errors = [] }: Registry) {
    const { timeout, maxQueue, methods, pages } = greeting;
    const costs = new Map<string, number>();
    const limits = { timeout, inFlight: maxQueue + 1000, errors, costs, connections: connectionsOf(greeting) };
    const keeper = new KeepAlive((alive) => {
      if (alive) control.ref();
      else control.unref();
    });
    const [writer, ...readers] = pages.map((page) => new PortClient(page, limits, keeper));
    if (writer === undefined) throw new OptionError('connect: the port leads nowhere');
    super(methodsOf(methods, repositories), writer, readers);
    this.#control = control;
    this.#description = greeting;
    control.on('message', this.#notice);
    control.on('close', () => {
      // What had begun in a thread that died is rejected with that.
      for (const client of this.clients()) client.link.lost(undefined);
      this.#end('has closed it, or has ended');
    });
    control.unref();
    this.#receive();
  }

  /** Makes a call and sleeps until it is answered. */
  block(method: Method, args: readonly unknown[], scope: RemoteScope | undefined): unknown {
    const client = scope?.client ?? (method.access === 'write' ? this.writer : this.reader(method));
    const context = currentContext();
    const ended = scope?.refusal(method.label, method.access, context);
    if (ended !== undefined) throw ended;
    if (!client.laneOf(method.access, scope).isFree) {
      const why = 'it would wait for a transaction or snapshot of this thread, which could not go on meanwhile';
      throw cannotBlock(method, why, 'call it inside, or await it');
    }
    const pending = client.submit(method, args, context, scope);
    return sleepUntilAnswered(pending, {
      page: client.page,
      flush: () => {
        client.link.flush();
      },
      receive: () => {
        this.#receive();
        client.link.receive();
      },
      expire: () => {
        client.expire();
      },
    });
  }

  override close(): void {
    void super.close();
    this.#control.close();
  }

  #receive(): void {
    for (const notice of arrived<Notice>(this.#control)) this.#notice(notice);
  }

  readonly #notice = (notice: Notice): void => {
    if (notice.kind === 'closed') {
      for (const client of this.clients()) client.link.receive();
      this.#end('has closed it');
      return;
    }
    const client = this.clients()[notice.at];
    switch (notice.kind) {
      case 'line':
        client?.link.attach(notice.port);
        break;
      case 'lost':
        client?.link.lost(notice.cause === undefined ? undefined : decodeError(notice.cause));
        break;
      case 'refused': {
        const { error } = notice;
        client?.refuse(() => decodeError(error, new Error()) as Error);
      }
    }
  };

  #end(why: string): void {
    this.over = true;
    const { file } = this.#description.decision.facts;
    for (const client of this.clients()) {
      client.refuse((label) => new ClosedError(`${label}: the thread that had ${file} open ${why}`));
      client.link.lost(undefined);
    }
  }
}

function readGreeting(port: unknown): Greeting {
  if (typeof port !== 'object' || port === null || !('postMessage' in port)) {
    throw new OptionError(`connect: the first argument is ${describe(port)}; give the port that db.port() made`);
  }
  const received = receiveMessageOnPort(port as MessagePort) as { message: Partial<Greeting> | undefined } | undefined;
  const greeting = received?.message;
  if (greeting?.kind === 'greeting') return greeting as Greeting;
  throw new OptionError(
    'connect: the port is none that db.port() made, was connected already, or its database is closed; each thread needs one of its own',
  );
}

function refuseOtherRepositories({ methods }: Greeting, given: unknown): void {
  const repositories = (given as Partial<Registry> | undefined)?.repositories;
  if (typeof repositories !== 'object') {
    throw new OptionError(
      `connect: the second argument is ${describe(given)}; give what defineRepositories(import.meta.url, …) made`,
    );
  }
  const there = [...new Set(methods.map(([repository]) => repository))].sort();
  const here = Object.keys(repositories).sort();
  if (String(there) === String(here)) return;
  throw new OptionError(
    `connect: the database has the repositories ${there.join(', ')}, and the registry ${here.join(', ')}; give the one it was opened with`,
  );
}
