/** Raw better-sqlite3: prepared statements, one transaction a call, the pragmas that Sluice sets. */
import Sqlite from 'better-sqlite3';
import { entry } from './schema.ts';

export type Durability = 'full' | 'normal';

/** Opens a handle with the pragma profile of `src/connection/pragmas.ts`. */
export function openRaw(file: string, durability: Durability): Sqlite.Database {
  const handle = new Sqlite(file, { timeout: 5000 });
  handle.pragma('journal_mode = WAL');
  handle.pragma(`synchronous = ${durability === 'full' ? 2 : 1}`);
  handle.pragma('foreign_keys = 1');
  handle.pragma('temp_store = 2');
  handle.pragma('cache_size = -16000');
  handle.pragma('trusted_schema = 0');
  handle.pragma('journal_size_limit = 67108864');
  handle.pragma('query_only = 0');
  handle.pragma('busy_timeout = 0');
  assertSynchronous(handle.pragma('synchronous', { simple: true }), durability, 'raw');
  return handle;
}

/** @throws where a side is not as durable as it should be: its figures would be no comparison. */
export function assertSynchronous(actual: unknown, durability: Durability, side: string): void {
  if (actual !== (durability === 'full' ? 2 : 1)) {
    throw new Error(`${side}: synchronous reads back ${String(actual)}, which is not ${durability}`);
  }
}

/** One single-row insert a call, in a transaction of its own. */
export function rawInsert(handle: Sqlite.Database): () => Promise<unknown> {
  const statement = handle.prepare('INSERT INTO entries (account, kind, cents, at) VALUES (?, ?, ?, ?)');
  let calls = 0;
  return () => {
    const { account, kind, cents, at } = entry(calls++);
    return Promise.resolve(statement.run(account, kind, cents, at).changes);
  };
}

/** A point read. */
export function rawRead(handle: Sqlite.Database): (id: number) => unknown {
  const statement = handle.prepare('SELECT id, owner, cents, version FROM accounts WHERE id = ?');
  return (id) => statement.get(id);
}

/** Two reads, two updates, two inserts, in a transaction of their own. */
export function rawTransfer(handle: Sqlite.Database): (from: number, to: number) => Promise<number> {
  const send = handle.transaction(transferSteps(handle));
  return (from, to) => Promise.resolve(send.immediate(from, to, 1));
}

/** Two reads, two updates, two inserts. */
export function transferSteps(handle: Sqlite.Database): (from: number, to: number, cents: number) => number {
  const get = handle.prepare<[number], { cents: number }>(
    'SELECT id, owner, cents, version FROM accounts WHERE id = ?',
  );
  const credit = handle.prepare('UPDATE accounts SET cents = cents + ?, version = version + 1 WHERE id = ?');
  const transfer = handle.prepare('INSERT INTO transfers (source, destination, cents) VALUES (?, ?, ?)');
  const step = handle.prepare('INSERT INTO audit (transfer, balance) VALUES (?, ?)');
  return (from, to, cents) => {
    const source = get.get(from);
    const target = get.get(to);
    if (source === undefined || target === undefined) throw new Error('no such account');
    credit.run(-cents, from);
    credit.run(cents, to);
    const id = Number(transfer.run(from, to, cents).lastInsertRowid);
    step.run(id, source.cents - cents);
    return id;
  };
}
