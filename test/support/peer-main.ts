/** The other process of `peer.ts`. */
import Sqlite from 'better-sqlite3';
import { type Order } from './peer.ts';

const [, , file = ''] = process.argv;
const handle = new Sqlite(file, { timeout: 5000 });

function obey(order: Order): unknown {
  switch (order.kind) {
    case 'lock':
      handle.exec('BEGIN IMMEDIATE');
      return 'locked';
    case 'unlock':
      handle.exec('COMMIT');
      return 'unlocked';
    case 'pin':
      handle.exec('BEGIN; SELECT 1 FROM sqlite_schema');
      return 'pinned';
    case 'unpin':
      handle.exec('ROLLBACK');
      return 'unpinned';
    case 'insert':
      handle.prepare('INSERT INTO entries (call, part) VALUES (?, 1)').run(order.call);
      return 'inserted';
    case 'list':
      return handle.prepare("SELECT call || '/' || part FROM entries ORDER BY id").pluck().all();
  }
}

process.on('message', (order: Order) => {
  process.send?.(obey(order));
});
process.send?.('ready');
