/** The sides of the durable writes, each on a fresh file of its own. */
import { drizzle } from 'drizzle-orm/better-sqlite3';
import { type Side } from '../measure/race.ts';
import { batchLoop } from './batch-loop.ts';
import { preparedInsert } from './drizzle.ts';
import { openRaw, rawInsert, rawTransfer, transferSteps } from './raw.ts';
import { entry, key } from './schema.ts';
import { type Measured, openSluice } from './sluice.ts';
import { type Workspace } from './workspace.ts';

type Job = 'insert' | 'transfer';

/** Transfers go between this many accounts: a busy ledger, not one where every transfer touches pages of its own. */
export const BUSY_ACCOUNTS = 1000;

/** Raw better-sqlite3, one transaction a call. */
export function raw(workspace: Workspace, job: Job): Side {
  return () => {
    const file = workspace.fresh();
    const handle = openRaw(file, 'full');
    return {
      call: job === 'insert' ? rawInsert(handle) : numbered(rawTransfer(handle)),
      close: () => {
        handle.close();
        workspace.discard(file);
      },
    };
  };
}

/** The hand-written batch loop with the same prepared Drizzle statement: the limit. */
export function limit(workspace: Workspace): Side {
  return () => {
    const file = workspace.fresh();
    const handle = openRaw(file, 'full');
    const insert = preparedInsert(drizzle(handle));
    const submit = batchLoop(handle);
    let calls = 0;
    return {
      call: () => {
        const row = entry(calls++);
        return submit(() => insert.run(row));
      },
      close: () => {
        handle.close();
        workspace.discard(file);
      },
    };
  };
}

/** The hand-written batch loop with raw statements: the limit for transfers. */
export function transferLimit(workspace: Workspace): Side {
  return () => {
    const file = workspace.fresh();
    const handle = openRaw(file, 'full');
    const send = transferSteps(handle);
    const submit = batchLoop(handle);
    return {
      call: numbered((from, to) => submit(() => send(from, to, 1))),
      close: () => {
        handle.close();
        workspace.discard(file);
      },
    };
  };
}

/** The api. */
export function sluice(workspace: Workspace, strategy: Measured, job: Job): Side {
  return async () => {
    const file = workspace.fresh();
    const db = await openSluice(file, strategy, 'full');
    const { entries, transfers } = db.api;
    let calls = 0;
    return {
      call:
        job === 'insert' ? () => entries.append(entry(calls++)) : numbered((from, to) => transfers.send(from, to, 1)),
      close: async () => {
        await db.close();
        workspace.discard(file);
      },
    };
  };
}

/** Pairs of accounts, other ones each time. */
function numbered(send: (from: number, to: number) => Promise<unknown>): () => Promise<unknown> {
  let calls = 0;
  return () => {
    calls += 2;
    return send(key(calls, BUSY_ACCOUNTS), key(calls + 1, BUSY_ACCOUNTS));
  };
}
