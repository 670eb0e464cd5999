/** A database that another thread has open, reached from here through its port. */
import { type MessagePort, Worker } from 'node:worker_threads';
import {
  type CloseOptions,
  type CloseReport,
  connect,
  type Database,
  type OpenOptions,
  type Registry,
} from '../../src/index.ts';
import { decodeError, type EncodedError } from '../../src/executor/error-codec.ts';

/** What the other thread is asked for. */
export type Request =
  | {
      readonly kind: 'open';
      readonly id: number;
      readonly url: string;
      readonly names: readonly string[];
      readonly options: Omit<OpenOptions, 'repositories'>;
    }
  | { readonly kind: 'close'; readonly id: number; readonly options: CloseOptions };

/** What it answers. */
export type Reply = { readonly id: number } & (
  | { readonly kind: 'opened'; readonly port: MessagePort }
  | { readonly kind: 'closed' }
  | { readonly kind: 'failed'; readonly error: EncodedError }
);

let owner: Worker | undefined;
let last = 0;
const waiting = new Map<number, (reply: Reply) => void>();

function ask(request: Request): Promise<Reply> {
  if (owner === undefined) {
    owner = new Worker(new URL('./through-port-main.ts', import.meta.url), {
      execArgv: ['--conditions=sluice-source'],
    });
    owner.on('message', (reply: Reply) => waiting.get(reply.id)?.(reply));
    owner.unref();
  }
  owner.ref();
  const replied = new Promise<Reply>((resolve) => {
    waiting.set(request.id, resolve);
  });
  owner.postMessage(request);
  return replied.finally(() => {
    waiting.delete(request.id);
    if (waiting.size === 0) owner?.unref();
  });
}

/** Has the other thread open a database, and connects to it. Closing it closes both ends. */
export async function openThroughPort<G extends Registry>(options: OpenOptions<G>): Promise<Database<G>> {
  const { repositories, ...rest } = options;
  const id = ++last;
  // A URL object does not cross a thread.
  const file = rest.file instanceof URL ? decodeURIComponent(rest.file.pathname) : rest.file;
  const names = Object.keys((repositories as Registry | undefined)?.repositories ?? {});
  const url = (repositories as Registry | undefined)?.url ?? '';
  const reply = await ask({ kind: 'open', id, url, names, options: { ...rest, file } });
  if (reply.kind !== 'opened') throw reply.kind === 'failed' ? decodeError(reply.error) : new Error('not opened');
  const db = connect(reply.port, repositories);
  let closed: Promise<CloseReport> | undefined;
  async function close(closing: CloseOptions = {}): Promise<CloseReport> {
    const report = await db.close(closing);
    await ask({ kind: 'close', id, options: closing });
    return report;
  }
  return new Proxy(db, {
    get(target, name) {
      if (name === 'close') {
        return async (closing?: CloseOptions) => {
          // Inside a scope it is refused, and nothing is closed.
          await db.close(closing);
          return (closed ??= close(closing));
        };
      }
      if (name === Symbol.asyncDispose) return () => (closed ??= close());
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
