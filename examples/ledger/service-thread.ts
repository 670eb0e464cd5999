/** A thread that answers requests: the same service, over a port instead of a database of its own. */
import { type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { connect } from 'sluice';
import { closeServer } from './http.ts';
import { ledger } from './repositories.ts';
import { createService } from './service.ts';

const { database, port } = workerData as { database: MessagePort; port: number };

const db = connect(database, ledger);
const service = createService({ api: db.api, decision: db.decision, onFailure: console.error });
service.listen(port, '127.0.0.1');
await once(service, 'listening');
parentPort?.postMessage(`http://127.0.0.1:${(service.address() as AddressInfo).port}`);

parentPort?.once('message', () => {
  void (async () => {
    await closeServer(service, 5000);
    await db.close();
    // Without a listener nothing keeps the thread.
    parentPort?.unref();
  })();
});
