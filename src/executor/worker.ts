/**
 * The thread that owns a database: imports the registry's module, opens the database with an ordinary strategy of one
 * thread, and serves calls until it is told to close.
 */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import '../runtime.ts';
import { arrived } from './arrived.ts';
import { encodeError } from './error-codec.ts';
import { importRegistry } from './importing.ts';
import { importQuickly } from './quick-imports.ts';
// Erased as a whole: what is left of an import of single types would still import the module, and Drizzle with it.
import type { Order, Report, ThreadStart } from './thread-messages.ts';

if (parentPort !== null) await start(parentPort, workerData as ThreadStart);

async function start(keeper: MessagePort, started: ThreadStart): Promise<void> {
  const report = (message: Report): void => {
    keeper.postMessage(message);
  };
  // Warnings are the process's affair, and the keeper's thread is where somebody listens.
  process.removeAllListeners('warning');
  process.on('warning', (warning: Error & { code?: unknown }) => {
    const code = typeof warning.code === 'string' ? warning.code : undefined;
    report({ kind: 'warning', message: warning.message, type: warning.name, code });
  });
  // Kept until somebody listens; without a listener the thread would end when its imports are done.
  const orders: Order[] = [];
  let open!: () => void;
  const opening = new Promise<void>((resolve) => {
    open = resolve;
  });
  let obey = (order: Order): void => {
    if (order.kind === 'open') open();
    else orders.push(order);
  };
  const later: Order[] = [];
  const obeyLater = (): void => {
    for (const order of later.splice(0)) obey(order);
  };
  keeper.on('message', (order: Order) => {
    obeyLater();
    obey(order);
  });
  /** In the midst of a call: all but to give up, and to give up no more, can wait until that has ended. */
  const heed = (): void => {
    for (const order of arrived<Order>(keeper)) {
      if (order.kind === 'abandon' || order.kind === 'resume') obey(order);
      else if (later.push(order) === 1) setImmediate(obeyLater);
    }
  };
  try {
    importQuickly();
    const module = await importRegistry(started.registry);
    // Imported now and not at the head, so that Drizzle is imported quickly.
    const { ownDatabase } = await import('./own-database.ts');
    report({ kind: 'imported' });
    await opening;
    obey = await ownDatabase(module, started, heed, report);
    for (const order of orders) obey(order);
  } catch (error) {
    report({ kind: 'failed', error: encodeError(error) });
    keeper.close();
  }
}
