import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { ClosedError } from '../errors.ts';
import { adviceOn } from '../observe/advice.ts';
import { type StrategyStats } from '../strategies/strategy.ts';
import { type ErrorClass } from '../repository/types.ts';
import { type Strategy } from '../strategies/strategy.ts';
import { Door, type DoorEvents } from './door.ts';
import { type Exchange } from './given-ports.ts';
import { type Caller } from './thread.ts';
import { type Page } from './words.ts';

/** Callers learn of new figures within this many milliseconds. */
const STATS_DELAY = 20;
/** And once more when nobody has called for so long. */
const REST_DELAY = 2000;

type Watching = Pick<DoorEvents, 'starting' | 'failed'>;

const NOBODY: Watching = { starting: () => undefined, failed: () => undefined };

/**
 * The ports through which other threads reach a strategy of this thread: one {@link Door} for each.
 *
 * It does not own the strategy. What a port still has open is undone when it closes; the strategy goes on.
 */
export class Switchboard implements Exchange {
  readonly #strategy: Strategy;
  readonly #errors: readonly ErrorClass[];
  readonly #watching: Watching;
  readonly #doors = new Set<Door>();
  #timer: NodeJS.Timeout | undefined;
  #later: NodeJS.Timeout | undefined;
  #refusal: ((label: string) => Error) | undefined;
  #givenUp: ((label: string) => Error) | undefined;

  /**
   * @param errors the registry's own classes
   * @param watching told what happens to the requests of all ports
   */
  constructor(strategy: Strategy, errors: readonly ErrorClass[], watching: Watching = NOBODY) {
    this.#errors = errors;
    this.#strategy = strategy;
    this.#watching = watching;
  }

  /** Serves a port from now on. */
  serve(port: MessagePort, page: Page): void {
    const door: Door = new Door(
      this.#strategy,
      this.#errors,
      { port, page },
      {
        refusal: (label) => this.#givenUp?.(label) ?? this.#refusal?.(label),
        givenUp: (label) => this.#givenUp?.(label),
        called: () => {
          this.#tellSoon();
        },
        ...this.#watching,
        closed: () => {
          this.#doors.delete(door);
        },
      },
    );
    this.#doors.add(door);
    // Whoever waits at the other end keeps the process alive, and nobody else.
    port.unref();
  }

  /** A caller of another thread, which this thread serves. */
  add(caller: Caller): void {
    const { port1, port2 } = new MessageChannel();
    this.serve(port2, caller.page);
    caller.attach(port1);
  }

  /** Refuses calls that come from now on, except those of scopes that are open. What lies in the ports was made before. */
  refuse(file: string): void {
    for (const door of this.#doors) door.receive();
    this.#refusal ??= notStarted((label) => new ClosedError(`${label}: the database ${file} is closed; open it again`));
  }

  /** Refuses also what was accepted and has not begun. The strategy gives up on what has. */
  giveUp(reason: (label: string) => ClosedError): void {
    this.#givenUp = notStarted(reason);
  }

  /** Accepts calls again: the close has failed. */
  accept(): void {
    this.#refusal = undefined;
    this.#givenUp = undefined;
  }

  /** Closes every port. */
  close(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#later);
    for (const door of this.#doors) {
      door.tell(this.#stats());
      door.close();
    }
  }

  /** What the strategy says of itself, with advice. */
  #stats(): StrategyStats {
    const stats = this.#strategy.stats();
    return { ...stats, advice: [...adviceOn(this.#strategy.methods), ...(stats.advice ?? [])] };
  }

  #tellSoon(): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#tell();
      clearTimeout(this.#later);
      // What is done when nobody calls any more, such as a checkpoint.
      this.#later = setTimeout(() => {
        this.#tell();
      }, REST_DELAY);
      this.#later.unref();
    }, STATS_DELAY);
    this.#timer.unref();
  }

  #tell(): void {
    const stats = this.#stats();
    for (const door of this.#doors) door.tell(stats);
  }
}

function notStarted(reason: (label: string) => ClosedError): (label: string) => ClosedError {
  return (label) => {
    const error = reason(label);
    error.outcome = 'not-started';
    return error;
  };
}
