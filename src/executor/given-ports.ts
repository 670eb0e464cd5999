/**
 * Ports for other threads.
 *
 * What `db.port()` gives is a control port. Over it the owner hands one data port for each thread that serves calls: these go
 * straight to that thread, past the owner's event loop, and another one follows when such a thread was started again.
 *
 * 1. The first message is the greeting: what the database is. It lies in the port when the port is given, so that `connect` can
 *    read it at once.
 * 2. A `line` is a data port. `lost` says that its thread died; another `line` follows, or `refused` for good.
 * 3. The control port closes with the database at the one end, which then says `closed` first, or with the `Database` of the
 *    other thread.
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { encodeError, type EncodedError } from './error-codec.ts';
import { type Description } from './protocol.ts';
import { type Caller } from './thread.ts';
import { newPage, type Page } from './words.ts';

/** The first message of a control port. */
export interface Greeting extends Description {
  readonly kind: 'greeting';
  /** The first page of words of each line: the writer's, then the readers'. */
  readonly pages: readonly Page[];
  /** The thread whose event loop serves the calls, where it is the owner's own. */
  readonly servedBy: number | undefined;
}

/** What else the owner says. */
export type Notice =
  | { readonly kind: 'line'; readonly at: number; readonly port: MessagePort }
  | { readonly kind: 'lost'; readonly at: number; readonly cause: EncodedError | undefined }
  | { readonly kind: 'refused'; readonly at: number; readonly error: EncodedError }
  | { readonly kind: 'closed' };

/** What serves the calls of a line. */
export interface Exchange {
  add(caller: Caller): void;
  remove?(caller: Caller): void;
}

/** The control ports that one `Database` has given away. */
export class GivenPorts {
  readonly #controls = new Set<MessagePort>();

  /** @param exchanges the writer's, then the readers' */
  give(description: Description, exchanges: readonly Exchange[], servedBy: number | undefined): MessagePort {
    const { port1: control, port2: given } = new MessageChannel();
    const callers = exchanges.map((_, at) => remoteCaller(control, at));
    const pages = callers.map(({ page }) => page);
    control.postMessage({ kind: 'greeting', ...description, pages, servedBy } satisfies Greeting);
    for (const [at, exchange] of exchanges.entries()) {
      const caller = callers[at];
      if (caller !== undefined) exchange.add(caller);
    }
    this.#controls.add(control);
    control.on('close', () => {
      this.#controls.delete(control);
      for (const [at, exchange] of exchanges.entries()) {
        const caller = callers[at];
        if (caller !== undefined) exchange.remove?.(caller);
      }
    });
    // A port that was given away does not keep the process alive.
    control.unref();
    return given;
  }

  close(): void {
    for (const control of this.#controls) {
      control.postMessage({ kind: 'closed' } satisfies Notice);
      control.close();
    }
  }
}

/** The caller at the other end of a control port. */
function remoteCaller(control: MessagePort, at: number): Caller {
  return {
    page: newPage(),
    attach: (port) => {
      control.postMessage({ kind: 'line', at, port } satisfies Notice, [port]);
    },
    lost: (cause) => {
      const encoded = cause === undefined ? undefined : encodeError(cause);
      control.postMessage({ kind: 'lost', at, cause: encoded } satisfies Notice);
    },
    refuse: (reason) => {
      control.postMessage({ kind: 'refused', at, error: encodeError(reason('this call')) } satisfies Notice);
    },
  };
}
