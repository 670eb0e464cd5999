/**
 * A process in which nothing runs but calls: first of the thread that owns the database, which dies of one, then of another
 * thread that has a port to it, while a read of its own ends in between.
 */
import { isMainThread, Worker, workerData, type MessagePort } from 'node:worker_threads';
import { connect, open } from '../../src/index.ts';
import { hostile } from './hostile.ts';

if (isMainThread) {
  const [, , file = ''] = process.argv;
  const db = await open({ file, repositories: hostile, strategy: 'executor', readers: 1 });
  await db.api.hostile.addAndExit('a').catch((error: unknown) => {
    console.log((error as { outcome?: string }).outcome);
  });
  await db.api.hostile.add('b');
  console.log('next');
  const port = db.port();
  new Worker(new URL(import.meta.url), { workerData: port, transferList: [port] }).on('exit', () => void db.close());
} else {
  const db = connect(workerData as MessagePort, hostile);
  const fatal = db.api.hostile.addAndExit('c').catch(() => undefined);
  const next = db.api.hostile.add('d');
  // Its end must not let go of what the write needs.
  void db.api.hostile.listed();
  await fatal;
  await next;
  console.log('here: next');
  await db.close();
}
