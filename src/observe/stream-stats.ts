import { type CallSite } from '../context/call-site.ts';
import { describeHolder, type Holder } from '../errors.ts';

/** Streams that were asked to be `consistent`, and hold a snapshot of their own now. */
export interface StreamStats {
  readonly pinning: number;
  /** The one that has held it longest. */
  readonly oldest: Holder | undefined;
}

interface Pinned {
  readonly label: string;
  readonly site: CallSite;
}

/** Those of one `Database`. */
export class PinnedStreams {
  /** When each began, the oldest first. */
  readonly #since = new Map<Pinned, number>();

  /** Counts one for as long as it holds its snapshot: until the function that is returned is called. */
  add(stream: Pinned): () => void {
    this.#since.set(stream, performance.now());
    return () => {
      this.#since.delete(stream);
    };
  }

  read(): StreamStats {
    const [oldest] = this.#holders();
    return { pinning: this.#since.size, oldest };
  }

  /** A sentence on each, with what it costs the others. */
  hazards(journalMode: string): string[] {
    const cost =
      journalMode === 'wal'
        ? 'until it ends SQLite cannot reuse the WAL, which grows with every write'
        : 'until it ends it has the only connection, and reads what is left into memory as soon as somebody waits for it';
    return this.#holders().map(
      (holder) =>
        `A consistent stream holds a snapshot: ${describeHolder(holder)}; ${cost}. Do less for each row, or end it.`,
    );
  }

  #holders(): Holder[] {
    const now = performance.now();
    return [...this.#since].map(([{ label, site }, since]) => ({ label, heldFor: now - since, site: site.describe() }));
  }
}
