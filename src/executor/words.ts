import { type Progress } from '../context/progress.ts';

/**
 * How far the calls of one port have come: a word of shared memory for each call in flight, which both ends change with
 * `Atomics.compareExchange` only, so that of two who want different things one learns that it came second.
 *
 * | from | to | by |
 * |---|---|---|
 * | free | QUEUED | the caller, before it sends the call |
 * | QUEUED | RUNNING | the server, as its handler starts |
 * | RUNNING | COMMITTING | the server, before COMMIT |
 * | COMMITTING | COMMITTED | the server, after COMMIT |
 * | RUNNING, COMMITTING | QUEUED | the server, when the call was undone and will run again |
 * | QUEUED, RUNNING | GIVEN_UP | the caller, who waits no longer |
 *
 * A word is free again when the answer to its call has come.
 */
export const QUEUED = 0;
export const RUNNING = 1;
export const COMMITTING = 2;
export const COMMITTED = 3;
export const GIVEN_UP = 4;

/** Words in one page. More pages are added when more calls are in flight. */
const PAGE = 4096;

/** One page; its first word counts the messages that the server has sent, for whoever waits for them without an event loop. */
export type Page = Int32Array<SharedArrayBuffer>;

export function newPage(): Page {
  return new Int32Array(new SharedArrayBuffer((PAGE + 1) * Int32Array.BYTES_PER_ELEMENT));
}

/** The words of one port. The server's view of them is made of the pages that were sent to it. */
export class Words {
  readonly #pages: Page[];
  readonly #free: number[] = [];
  #next = 0;

  constructor(pages: readonly Page[]) {
    this.#pages = [...pages];
  }

  /** Takes a word that is free and makes it QUEUED; `undefined` when there is none left: add a page. */
  take(): number | undefined {
    const free = this.#free.pop();
    const at = free ?? this.#next;
    if (free === undefined) {
      if (at >= this.#pages.length * PAGE) return undefined;
      this.#next += 1;
    }
    Atomics.store(this.#page(at), index(at), QUEUED);
    return at;
  }

  give(at: number): void {
    this.#free.push(at);
  }

  add(page: Page): void {
    this.#pages.push(page);
  }

  read(at: number): number {
    return Atomics.load(this.#page(at), index(at));
  }

  /** Changes a word if it is still `from`. */
  change(at: number, from: number, to: number): boolean {
    return Atomics.compareExchange(this.#page(at), index(at), from, to) === from;
  }

  /** A word that nobody knows is an error of the sender, and the last page's to answer. */
  #page(at: number): Page {
    const page = this.#pages[Math.floor(at / PAGE)];
    if (page === undefined) throw new RangeError(`there is no word ${at}`);
    return page;
  }
}

/** A call's {@link Progress} in its word. */
export class WordProgress implements Progress {
  readonly #words: Words;
  readonly #at: number;

  constructor(words: Words, at: number) {
    this.#words = words;
    this.#at = at;
  }

  get givenUp(): boolean {
    return this.#words.read(this.#at) === GIVEN_UP;
  }

  start(): boolean {
    return this.#words.change(this.#at, QUEUED, RUNNING) || this.#words.read(this.#at) === RUNNING;
  }

  commit(): boolean {
    return this.#words.change(this.#at, RUNNING, COMMITTING) || this.#words.read(this.#at) === COMMITTING;
  }

  committed(): void {
    this.#words.change(this.#at, COMMITTING, COMMITTED);
  }

  undone(): void {
    if (!this.#words.change(this.#at, RUNNING, QUEUED)) this.#words.change(this.#at, COMMITTING, QUEUED);
  }
}

function index(at: number): number {
  return 1 + (at % PAGE);
}
