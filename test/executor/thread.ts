/** Another thread that has a port to the database. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { decodeError, type EncodedError } from '../../src/executor/error-codec.ts';
import { type HostileDatabase } from '../support/open-hostile.ts';
import { type TempDir } from '../support/temp-dir.ts';

/** What it can be told. */
export type HostileOrder = Errand & {
  /** A file that says that what it calls has been sent. */
  readonly sent?: string;
};

type Errand =
  | { readonly kind: 'until-given-up' | 'add' | 'transact' | 'transact-and-occupy'; readonly call: string }
  | {
      readonly kind:
        | 'blocking-add'
        | 'blocking-error'
        | 'blocking-in-transaction'
        | 'blocking-beside-transaction'
        | 'blocking-before-transaction'
        | 'blocking-beside-nested'
        | 'blocking-beside-snapshots'
        | 'blocking-after-settled'
        | 'blocking-in-stream'
        | 'blocking-given-up';
      readonly call: string;
    }
  | {
      readonly kind: 'add-until-given-up';
      readonly call: string;
      readonly noticed: string;
      readonly atMost?: number;
    }
  | { readonly kind: 'requests'; readonly call: string; readonly count: number }
  | { readonly kind: 'snapshot' | 'hold-snapshot' | 'close' };

type Reply =
  | { readonly kind: 'inside' }
  | { readonly kind: 'done'; readonly value: unknown }
  | { readonly kind: 'failed'; readonly error: EncodedError };

export interface OtherThread {
  readonly worker: Worker;
  /** Resolves with what it answers; the answer `inside` comes before the end of a transaction or snapshot that never ends. */
  tell(order: HostileOrder): Promise<unknown>;
}

/** Starts a thread with a port of this database; ended after the test. */
export function startThread(dir: TempDir, db: HostileDatabase): OtherThread {
  const port = db.port();
  const worker = new Worker(new URL('./thread-main.ts', import.meta.url), {
    workerData: { port },
    transferList: [port],
    execArgv: ['--conditions=sluice-source'],
  });
  dir.atEnd(() => worker.terminate());
  return {
    worker,
    async tell(order) {
      const answered = once(worker, 'message');
      worker.postMessage(order);
      const [reply] = (await answered) as [Reply];
      if (reply.kind === 'failed') throw decodeError(reply.error);
      return reply.kind === 'done' ? reply.value : reply.kind;
    },
  };
}
