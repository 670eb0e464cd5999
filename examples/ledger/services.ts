/** The service on one thread or several, with one database behind all of them. */
import { type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { type Database } from 'sluice';
import { closeServer } from './http.ts';
import { type ledger } from './repositories.ts';
import { createService } from './service.ts';

/** Services that listen. */
export interface Services {
  readonly origins: readonly string[];
  /** Stops taking connections, lets running requests finish, and ends the threads. */
  close(): Promise<void>;
}

/** Starts the service: in this thread, or in so many others that reach the database through ports. */
export async function startServices(db: Database<typeof ledger>, threads: number, port: number): Promise<Services> {
  if (threads === 0) {
    const service = createService({ api: db.api, decision: db.decision, onFailure: console.error });
    service.listen(port, '127.0.0.1');
    await once(service, 'listening');
    const origin = `http://127.0.0.1:${(service.address() as AddressInfo).port}`;
    return { origins: [origin], close: () => closeServer(service, 5000) };
  }
  const workers = Array.from({ length: threads }, (_, at) => {
    const database = db.port();
    const workerData = { database, port: port === 0 ? 0 : port + at };
    return new Worker(new URL('./service-thread.ts', import.meta.url), { workerData, transferList: [database] });
  });
  const origins = await Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0] as string));
  return {
    origins,
    async close() {
      const ended = workers.map((worker) => once(worker, 'exit'));
      for (const worker of workers) worker.postMessage('close');
      await Promise.all(ended);
    },
  };
}
