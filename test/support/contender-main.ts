/**
 * Another process that writes to the same ledger as fast as it can until it is told to stop, and then says how many rows it
 * has committed, and how long its calls took: through raw better-sqlite3, or through the library itself.
 */
import { setImmediate as turn } from 'node:timers/promises';
import Sqlite from 'better-sqlite3';
import { open } from '../../src/index.ts';
import { ledger } from './ledger.ts';

const [, , file = '', how = 'raw', name = ''] = process.argv;
const fight = { over: false };
process.once('message', () => {
  fight.over = true;
});

let rows = 0;
const waits: number[] = [];
if (how === 'raw') {
  const handle = new Sqlite(file, { timeout: 20_000 });
  handle.pragma('synchronous = NORMAL');
  const insert = handle.prepare('INSERT INTO entries (call, part) VALUES (?, ?)');
  // Holds the lock for some rows, as a program does that does not know of the others.
  const commit = handle.transaction((call: string) => {
    for (let part = 1; part <= 20; part++) insert.run(call, part);
  });
  process.send?.('ready');
  for (let call = 0; !fight.over; call++) {
    commit.immediate(`${name}-${call}`);
    rows += 20;
    await turn();
  }
  handle.close();
} else {
  const db = await open({ file, repositories: ledger, durability: 'normal', timeout: 20_000 });
  process.send?.('ready');
  const caller = async (_: unknown, at: number): Promise<void> => {
    for (let call = 0; !fight.over; call++) {
      const since = performance.now();
      await db.api.entries.run(`${name}-${at}-${call}`, ['row', 'row']);
      waits.push(performance.now() - since);
      rows += 2;
    }
  };
  await Promise.all(Array.from({ length: 8 }, caller));
  await db.close();
}
process.send?.({ rows, waits }, () => {
  process.disconnect();
});
