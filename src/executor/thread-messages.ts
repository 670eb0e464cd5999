/** What a thread that owns a database and its keeper say to each other, beside the ports of protocol.ts. */
import { type MessagePort } from 'node:worker_threads';
import { type OpenOptions } from '../options.ts';
import { type EncodedError } from './error-codec.ts';
import { type Description } from './protocol.ts';
import { type Page } from './words.ts';

/** `workerData` of the thread. */
export interface ThreadStart {
  readonly registry: string;
  /** The names of the registry's repositories, by which it is found among the exports of its module. */
  readonly names: readonly string[];
  readonly options: Omit<OpenOptions, 'repositories'>;
  /** Whether it runs what may take long, beside a thread that writes. */
  readonly behind: boolean;
  /** Its only element is not 0 from when it is told to give up, which it must heed before anything begins. */
  readonly urgent: Int32Array<SharedArrayBuffer>;
}

/** To the thread. */
export type Order =
  /** Open the database. */
  | { readonly kind: 'open' }
  | { readonly kind: 'serve'; readonly port: MessagePort; readonly page: Page }
  /** Accept no more calls, and say when what was accepted has ended. */
  | { readonly kind: 'drain' }
  /** Say what a close waits for. */
  | { readonly kind: 'name running' }
  /** Give up on whatever has not ended. */
  | { readonly kind: 'abandon'; readonly because: string }
  /** Say whether everything could be closed now. */
  | { readonly kind: 'prepare' }
  | { readonly kind: 'close' }
  /** The close has failed: go on. */
  | { readonly kind: 'resume' };

/** From the thread. */
export type Report =
  /** The registry's module is there. */
  | { readonly kind: 'imported' }
  | ({ readonly kind: 'ready' } & Description)
  /** It could not open the database. */
  | { readonly kind: 'failed'; readonly error: EncodedError }
  /** @param abandoned what was given up on here, by name, as far as its caller has not given it up */
  | { readonly kind: 'drained'; readonly abandoned: readonly string[] }
  | { readonly kind: 'running'; readonly labels: readonly string[] }
  | { readonly kind: 'prepared'; readonly error: EncodedError | undefined }
  | { readonly kind: 'closed'; readonly error: EncodedError | undefined }
  | { readonly kind: 'warning'; readonly message: string; readonly type: string; readonly code: string | undefined };
