import { holderOf, type Lease } from '../context/lease.ts';
import { describeHolder } from '../errors.ts';

/**
 * Warns that a WAL over its limit cannot be emptied: once for each reader, and only when it has doubled since the last
 * time, so that many short readers that overlap do not fill a log.
 */
export class PinWarning {
  readonly #file: string;
  readonly #warned = new WeakSet<Lease>();
  #lastSize = 0;

  constructor(file: string) {
    this.#file = file;
  }

  /** It was emptied: the next time is the first one again. */
  reset(): void {
    this.#lastSize = 0;
  }

  /** @param lease the oldest reader of this thread, if there is one */
  about(size: number, limit: number, lease: Lease | undefined): void {
    if (size < this.#lastSize * 2 || (lease !== undefined && this.#warned.has(lease))) return;
    this.#lastSize = size;
    if (lease !== undefined) this.#warned.add(lease);
    process.emitWarning(
      `checkpoint of ${this.#file}: the WAL has ${mebibytes(size)}, its limit is ${mebibytes(limit)}, and it cannot be ` +
        `emptied: ${cause(lease)}`,
      { type: 'SluiceWarning', code: 'SLUICE_WAL_PINNED' },
    );
  }
}

function cause(lease: Lease | undefined): string {
  if (lease === undefined) {
    return (
      'no reader of this thread is open, so another process, thread or connection reads from it; ' +
      'find the one whose read transaction stays open, and end it'
    );
  }
  return (
    `a reader keeps an old state of the database: ${describeHolder(holderOf(lease))}; ` +
    'end it sooner, or read page by page without a snapshot'
  );
}

function mebibytes(bytes: number): string {
  return `${(bytes / (1024 * 1024)).toFixed(1)} MiB`;
}
