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
 * | QUEUED, RUNNING, COMMITTING | FAILED | the server, before it answers with an error |
 *
 * A word is free again when the answer to its call has come.
 */
export const QUEUED = 0;
export const RUNNING = 1;
export const COMMITTING = 2;
export const COMMITTED = 3;
export const GIVEN_UP = 4;
export const FAILED = 5;

/** Words in one page. More pages are added when more calls are in flight. */
const PAGE = 4096;

/**
 * One page. Before the words of calls stand, on the first page of a port, how many messages the server has sent, for whoever
 * waits for them without an event loop, and how many microseconds its commits have taken lately.
 */
export type Page = Int32Array<SharedArrayBuffer>;

const HEAD = 2;
const COMMIT_TIME = 1;

export function newPage(): Page {
  return new Int32Array(new SharedArrayBuffer((PAGE + HEAD) * Int32Array.BYTES_PER_ELEMENT));
}

/** Milliseconds that a commit takes; `undefined` while none was seen. */
export function commitTime(first: Page): number | undefined {
  const microseconds = Atomics.load(first, COMMIT_TIME);
  return microseconds === 0 ? undefined : microseconds / 1000;
}

/** The words of one port. The server's view of them is made of the pages that were sent to it. */
export class Words {
  readonly #pages: Page[];
  readonly #starting: () => void;
  readonly #free: number[] = [];
  #next = 0;
  /** When the batch of which some calls are COMMITTING began to commit. */
  #commitSince: number | undefined;

  /** @param starting told, at the server's end, before a call starts */
  constructor(pages: readonly Page[], starting: () => void = () => undefined) {
    this.#pages = [...pages];
    this.#starting = starting;
  }

  /** Makes a call RUNNING, unless it was given up. */
  start(at: number): boolean {
    this.#starting();
    return this.change(at, QUEUED, RUNNING) || this.read(at) === RUNNING;
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

  /** A request is about to be answered with an error. Whether its caller, who has not given up, learns of it first from that. */
  fail(at: number): boolean {
    return [QUEUED, RUNNING, COMMITTING].some((from) => this.change(at, from, FAILED));
  }

  /** A call of a batch is about to be committed. */
  committing(): void {
    this.#commitSince ??= performance.now();
  }

  /** A call of that batch is committed, or was undone. */
  commitEnded(outcome: 'committed' | 'undone'): void {
    if (this.#commitSince === undefined) return;
    const microseconds = (performance.now() - this.#commitSince) * 1000;
    this.#commitSince = undefined;
    const [first] = this.#pages;
    if (outcome === 'undone' || first === undefined) return;
    const before = Atomics.load(first, COMMIT_TIME);
    const now = before === 0 ? microseconds : before + (microseconds - before) / 8;
    Atomics.store(first, COMMIT_TIME, Math.max(1, Math.round(now)));
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
    this.#words.commitEnded('undone');
    return this.#words.start(this.#at);
  }

  commit(): boolean {
    this.#words.committing();
    return this.#words.change(this.#at, RUNNING, COMMITTING) || this.#words.read(this.#at) === COMMITTING;
  }

  committed(): void {
    this.#words.change(this.#at, COMMITTING, COMMITTED);
    this.#words.commitEnded('committed');
  }

  undone(): void {
    this.#words.commitEnded('undone');
    if (!this.#words.change(this.#at, RUNNING, QUEUED)) this.#words.change(this.#at, COMMITTING, QUEUED);
  }
}

function index(at: number): number {
  return HEAD + (at % PAGE);
}
