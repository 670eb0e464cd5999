/** A worker thread that commits a row on a handle of its own for each message. */
import { parentPort, workerData } from 'node:worker_threads';
import Sqlite from 'better-sqlite3';

const handle = new Sqlite(workerData as string, { timeout: 5000 });
const insert = handle.prepare("INSERT INTO entries (call, part) VALUES ('thread-' || hex(randomblob(8)), 1)");

parentPort?.on('message', () => {
  insert.run();
  parentPort?.postMessage('committed');
});
parentPort?.postMessage('ready');
