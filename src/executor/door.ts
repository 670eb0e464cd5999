/** One port of a strategy, and what its callers have in flight: the server's end of protocol.ts. */
import { type MessagePort } from 'node:worker_threads';
import { FarSite } from '../context/call-site.ts';
import { type Ambient, NO_SCOPES, runWithAmbient, unawaited } from '../context/context.ts';
import { Cursor, type Pulled } from '../connection/cursor.ts';
import { farSiteOf } from '../context/lease.ts';
import { type Scope } from '../context/scope.ts';
import { type StrategyStats } from '../strategies/strategy.ts';
import { AbortError, ContextError, TimeoutError, TransactionEndedError, UnknownMethodError } from '../errors.ts';
import { withOutcome } from '../outcome.ts';
import { type Method } from '../repository/methods.ts';
import { type ErrorClass } from '../repository/types.ts';
import { type Strategy } from '../strategies/strategy.ts';
import { Answers } from './answers.ts';
import { arrived } from './arrived.ts';
import { encodeError } from './error-codec.ts';
import { HeldScopes, Undone } from './held-scopes.ts';
import { fromShared, type Line, type Request, type SentContext, type SentStep } from './protocol.ts';
import { unpack } from './values.ts';
import { Reader } from './wire.ts';
import { WordProgress, Words } from './words.ts';

/** What a door tells whoever keeps it. */
export interface DoorEvents {
  /** Why no more calls are accepted; `undefined` while they are. */
  readonly refusal: (label: string) => Error | undefined;
  /** Why nothing may begin any more, whenever it was accepted; `undefined` while it may. */
  readonly givenUp: (label: string) => Error | undefined;
  /** A call was made, or answered. */
  readonly called: () => void;
  /** A request is about to be accepted, or to start. */
  readonly starting: () => void;
  /** A request that its caller has not given up is answered with this. */
  readonly failed: (error: unknown) => void;
  /** The port has closed. */
  readonly closed: () => void;
}

/** What is called; `undefined` where there is no such method. */
interface Called {
  readonly repository: string;
  readonly name: string;
  readonly method: Method | undefined;
}

/** Milliseconds from which on callers are told how long a call kept the thread busy. */
const LONG = 2;

/** Serves one port. */
export class Door {
  readonly #strategy: Strategy;
  readonly #errors: readonly ErrorClass[];
  readonly #words: Words;
  readonly #events: DoorEvents;
  readonly #answers: Answers;
  readonly #port: MessagePort;
  readonly #reader: Reader<Request, Called>;
  readonly #held = new HeldScopes();
  /** Calls of handlers that yield, between two steps, and the scope that each began in, or 0. */
  readonly #cursors = new Map<number, { readonly cursor: Cursor; readonly scope: number }>();
  readonly #aborts = new Map<number, AbortController>();
  #gone = false;
  #reading = false;

  constructor(strategy: Strategy, errors: readonly ErrorClass[], line: Line, events: DoorEvents) {
    this.#strategy = strategy;
    this.#errors = errors;
    this.#words = new Words([line.page], events.starting);
    this.#events = events;
    this.#answers = new Answers(line, errors, events.called);
    this.#port = line.port;
    this.#reader = new Reader<Request, Called>({
      message: (request) => {
        this.#accept(request);
      },
      method: (repository, name) => this.#find(repository, name),
      call: (called, id, word, args) => {
        this.#call(called, id, word, 0, args, undefined);
      },
    });
    line.port.on('message', (batch: readonly unknown[]) => {
      this.#read(batch);
    });
    line.port.on('close', () => {
      this.#close();
    });
  }

  /** Sends new figures. */
  tell(stats: StrategyStats): void {
    this.#answers.tell(stats);
  }

  /** Takes in what lies in the port; not inside a call that came through it, behind which there is more. */
  receive(): void {
    if (this.#reading) return;
    for (const batch of arrived<readonly unknown[]>(this.#port)) this.#read(batch);
  }

  #read(batch: readonly unknown[]): void {
    this.#reading = true;
    try {
      this.#reader.read(batch);
    } finally {
      this.#reading = false;
    }
  }

  /** Sends what is left, and closes the port. */
  close(): void {
    this.#answers.close();
  }

  #accept(request: Request): void {
    switch (request[0]) {
      case 'call': {
        const [, id, word, scope, repository, name, args, buffers, sent] = request;
        const values = unpack(args, buffers) as readonly unknown[];
        this.#call(this.#find(repository, name), id, word, scope, values, sent);
        break;
      }
      case 'begin':
        this.#begin(request);
        break;
      case 'advance':
        this.#advance(request);
        break;
      case 'checkpoint':
        this.#checkpoint(request);
        break;
      case 'end':
        this.#held.end(request[1], request[2]);
        break;
      case 'abort':
        this.#aborts.get(request[1])?.abort();
        break;
      case 'forget':
        this.#cursors.delete(request[1]);
        break;
      case 'page':
        this.#words.add(request[1]);
    }
  }

  #call(
    { repository, name, method }: Called,
    id: number,
    word: number,
    scope: number,
    args: readonly unknown[],
    sent: SentContext | undefined,
  ): void {
    this.#events.called();
    if (method === undefined) {
      const message = `${repository}.${name}: there is no such method here`;
      this.#fail(id, word, new UnknownMethodError(message, { repository, method: name }));
      return;
    }
    const progress = new WordProgress(this.#words, word);
    // A write of its own says so itself, when its turn has come.
    if ((method.access === 'read' || scope !== 0) && !progress.start()) {
      this.#fail(id, word, givenUp(method.label), 'not-started');
      return;
    }
    const around = this.#around(id, sent, progress);
    let result: Promise<unknown>;
    const since = performance.now();
    // A synchronous write runs later, and its handler with what surrounds the call: see `runForeign`.
    const plain = sent === undefined && scope === 0 && method.access === 'write' && method.mode === 'sync';
    try {
      result = plain
        ? this.#run(scope, method, args, around)
        : runWithAmbient(around, () => this.#run(scope, method, args, around));
    } catch (error) {
      result = Promise.reject(error);
    }
    const busy = performance.now() - since;
    const took = busy >= LONG ? busy : undefined;
    result.then(
      (value) => {
        this.#aborts.delete(id);
        this.#answers.value({ word, method, scope, took }, value);
      },
      (error: unknown) => {
        this.#fail(id, word, error);
      },
    );
  }

  #find(repository: string, name: string): Called {
    return { repository, name, method: this.#strategy.methods.get(repository)?.get(name) };
  }

  #run(scope: number, method: Method, args: readonly unknown[], around: Ambient): Promise<unknown> {
    if (scope !== 0) {
      const held = this.#held.get(scope);
      if (held !== undefined) return held.call(method, args, around);
      return Promise.reject(ended(method.label));
    }
    const refusal = this.#refusal(method.label);
    return refusal === undefined ? this.#strategy.call(method, args, around) : Promise.reject(refusal);
  }

  #advance([, id, word, scope, number, how, repository, name, args, buffers, sent]: Extract<
    Request,
    readonly ['advance', ...unknown[]]
  >): void {
    this.#events.called();
    const method = this.#strategy.methods.get(repository)?.get(name);
    if (method?.gives !== 'items') {
      const message = `${repository}.${name}: there is no such handler here`;
      this.#fail(id, word, new UnknownMethodError(message, { repository, method: name }));
      return;
    }
    const progress = new WordProgress(this.#words, word);
    if (!progress.start()) {
      this.#fail(id, word, givenUp(method.label), 'not-started');
      return;
    }
    const around = this.#around(id, sent, progress);
    let cursor = this.#cursors.get(number)?.cursor;
    if (cursor === undefined && args !== undefined) {
      cursor = new Cursor(method, unpack(args, buffers) as readonly unknown[]);
      this.#cursors.set(number, { cursor, scope });
    }
    runWithAmbient(around, () => this.#step(scope, cursor, how, method, around)).then(
      ({ items, done, failure }) => {
        if (done) this.#cursors.delete(number);
        const encoded = failure === undefined ? undefined : encodeError(failure.error, this.#errors);
        this.#answers.value({ word, method, scope, took: undefined }, {
          items,
          done,
          failure: encoded,
        } satisfies SentStep);
      },
      (error: unknown) => {
        this.#fail(id, word, error);
      },
    );
  }

  async #step(
    scope: number,
    cursor: Cursor | undefined,
    how: 'pull' | 'end',
    method: Method,
    around: Ambient,
  ): Promise<Pulled> {
    const held = this.#held.get(scope);
    if (scope !== 0 && held === undefined) throw ended(method.label);
    if (cursor === undefined) {
      if (how === 'end') return { items: [], done: true };
      throw new ContextError(`${method.label}: the thread that it was reading in had to be replaced; stream again`);
    }
    if (held === undefined) {
      const refusal = this.#refusal(method.label);
      if (refusal !== undefined) throw refusal;
      return this.#strategy.advance(cursor, how, around);
    }
    return held.advance(cursor, how, around);
  }

  #begin([, id, word, outer, what, sent, stream]: Extract<Request, readonly ['begin', ...unknown[]]>): void {
    this.#events.called();
    const progress = new WordProgress(this.#words, word);
    const site = new FarSite(this, id);
    const around = { ...this.#around(id, sent, progress), site };
    const inside = (scope: Scope): Promise<void> =>
      this.#held.hold(
        id,
        scope,
        () => (progress.start() ? this.#events.givenUp(scope.label) : new Undone()),
        () => {
          this.#answers.send(['begun', word]);
        },
      );
    const begin = (): Promise<void> => {
      if (outer !== 0) {
        const held = this.#held.get(outer);
        return held === undefined ? Promise.reject(ended(what)) : held[what](inside, around);
      }
      const refusal = this.#refusal(what);
      if (refusal !== undefined) return Promise.reject(refusal);
      if (stream === undefined) return this.#strategy[what](inside, around);
      const wanted = (): void => {
        this.#answers.send(['wanted', word]);
      };
      return this.#strategy.snapshot(inside, around, { label: stream, site, wanted });
    };
    runWithAmbient(around, begin).then(
      () => {
        this.#left(id);
        this.#answers.send(['value', word, undefined, undefined]);
      },
      (error: unknown) => {
        this.#left(id);
        if (error instanceof Undone) this.#answers.send(['value', word, undefined, undefined]);
        else this.#fail(id, word, error);
      },
    );
  }

  #checkpoint([, id, word, sent]: Extract<Request, readonly ['checkpoint', ...unknown[]]>): void {
    this.#events.called();
    const progress = new WordProgress(this.#words, word);
    const around = this.#around(id, sent, progress);
    const refusal = this.#refusal('checkpoint');
    const run = (): ReturnType<Strategy['checkpoint']> =>
      refusal === undefined ? this.#strategy.checkpoint(around) : Promise.reject(refusal);
    // It holds nothing back that could be undone: whoever gives it up while it waits finds that it did not start.
    runWithAmbient(around, run).then(
      (report) => {
        this.#aborts.delete(id);
        this.#answers.send(['value', word, report, undefined]);
      },
      (error: unknown) => {
        this.#fail(id, word, error);
      },
    );
  }

  #left(id: number): void {
    this.#aborts.delete(id);
    this.#held.left(id);
    // Its generators cannot go on any more.
    for (const [number, { scope }] of this.#cursors) if (scope === id) this.#cursors.delete(number);
  }

  #around(id: number, sent: SentContext | undefined, progress: WordProgress): Ambient {
    if (sent === undefined) {
      return { deadline: undefined, signal: undefined, label: undefined, scopes: NO_SCOPES, progress };
    }
    let signal: AbortSignal | undefined;
    if (sent.abortable) {
      const controller = new AbortController();
      this.#aborts.set(id, controller);
      ({ signal } = controller);
    }
    const deadline = sent.deadline === undefined ? undefined : fromShared(sent.deadline);
    return { deadline, signal, label: sent.label, scopes: NO_SCOPES, progress };
  }

  #refusal(label: string): Error | undefined {
    this.#events.starting();
    return this.#events.refusal(label);
  }

  #fail(id: number, word: number, error: unknown, outcome?: 'not-started'): void {
    this.#aborts.delete(id);
    if (this.#words.fail(word)) this.#events.failed(error);
    const said = outcome === undefined ? error : withOutcome(error, outcome);
    this.#answers.error(word, said, this.#inTheWay(error));
  }

  /** The `begin` of this port that an error names. */
  #inTheWay(error: unknown): number | undefined {
    const far = error instanceof TimeoutError && error.holder !== undefined ? farSiteOf(error.holder) : undefined;
    return far?.door === this ? far.begin : undefined;
  }

  /** The thread at the other end died, or closed its database: whatever it held is undone, and the lane goes on. */
  #close(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#answers.stop();
    this.#held.undoAll();
    // Their `finally` runs; nobody is left to be told how that went. On a database that closes it would open a reader again.
    if (this.#events.refusal('close') === undefined)
      for (const { cursor } of this.#cursors.values())
        this.#strategy.advance(cursor, 'end', unawaited(undefined)).catch(() => undefined);
    this.#cursors.clear();
    for (const controller of this.#aborts.values()) controller.abort();
    this.#aborts.clear();
    this.#events.closed();
  }
}

function givenUp(label: string): AbortError {
  return new AbortError(`${label}: was given up by its caller`);
}

function ended(label: string): TransactionEndedError {
  const error = new TransactionEndedError(
    `${label}: its transaction or snapshot has ended; await every call inside the callback`,
  );
  error.outcome = 'not-started';
  return error;
}
