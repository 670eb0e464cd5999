/** The other thread of `through-port.ts`: opens databases and gives their ports away. */
import { parentPort } from 'node:worker_threads';
import { type Database, open, type OpenOptions, type Registry } from '../../src/index.ts';
import { encodeError } from '../../src/executor/error-codec.ts';
import { type Reply, type Request } from './through-port.ts';

const databases = new Map<number, Database>();

async function answer(request: Request): Promise<void> {
  const { id } = request;
  try {
    if (request.kind === 'close') {
      await databases.get(id)?.close(request.options);
      reply({ kind: 'closed', id });
      return;
    }
    const repositories = await registry(request);
    const given: object = { ...request.options, repositories };
    const db = await open(given as OpenOptions);
    databases.set(id, db);
    const port = db.port();
    parentPort?.postMessage({ kind: 'opened', id, port } satisfies Reply, [port]);
  } catch (error) {
    reply({ kind: 'failed', id, error: encodeError(error) });
  }
}

/** The registry of these names; without a url none, which is what an open without one is given. */
async function registry({ url, names }: Extract<Request, { kind: 'open' }>): Promise<Registry | undefined> {
  if (url === '') return undefined;
  const exports = Object.values((await import(url)) as Record<string, Partial<Registry> | undefined>);
  return exports.find((each) => String(Object.keys(each?.repositories ?? {})) === String(names)) as
    Registry | undefined;
}

function reply(message: Reply): void {
  parentPort?.postMessage(message);
}

parentPort?.on('message', (request: Request) => {
  void answer(request);
});
