/** The sides of the durable writes: each on a fresh file of its own, opened, warmed up, driven and closed. */
import { drizzle } from 'drizzle-orm/better-sqlite3';
import { drive, type Drive, type DriveOptions } from '../measure/callers.ts';
import { batchLoop } from './batch-loop.ts';
import { preparedInsert } from './drizzle.ts';
import { openRaw, rawInsert, rawTransfer } from './raw.ts';
import { entry, key } from './schema.ts';
import { type InThread, openSluice } from './sluice.ts';
import { type Workspace } from './workspace.ts';

/** Milliseconds of the same load before the clock starts, so that nobody is measured while it is being compiled. */
const WARM_UP = 60;

/** One side's way to make the calls. */
export type Side = (workspace: Workspace, options: DriveOptions) => Promise<Drive>;

type Job = 'insert' | 'transfer';

/** Raw better-sqlite3, one transaction a call. */
export function raw(job: Job): Side {
  return async (workspace, options) => {
    const file = workspace.fresh();
    const handle = openRaw(file, 'full');
    const transfer = rawTransfer(handle);
    const drove = await warmAndDrive(options, job === 'insert' ? rawInsert(handle) : numbered(transfer));
    handle.close();
    workspace.discard(file);
    return drove;
  };
}

/** The hand-written batch loop with the same prepared Drizzle statement: the limit. */
export const limit: Side = async (workspace, options) => {
  const file = workspace.fresh();
  const handle = openRaw(file, 'full');
  const insert = preparedInsert(drizzle(handle));
  const submit = batchLoop(handle);
  let calls = 0;
  const drove = await warmAndDrive(options, () => {
    const row = entry(calls++);
    return submit(() => insert.run(row));
  });
  handle.close();
  workspace.discard(file);
  return drove;
};

/** The api. */
export function sluice(strategy: InThread, job: Job): Side {
  return async (workspace, options) => {
    const file = workspace.fresh();
    const db = await openSluice(file, strategy, 'full');
    const { entries, transfers } = db.api;
    let calls = 0;
    const drove = await warmAndDrive(
      options,
      job === 'insert' ? () => entries.append(entry(calls++)) : numbered((from, to) => transfers.send(from, to, 1)),
    );
    await db.close();
    workspace.discard(file);
    return drove;
  };
}

async function warmAndDrive(options: DriveOptions, call: () => Promise<unknown>): Promise<Drive> {
  await drive({ callers: options.callers, duration: WARM_UP }, call);
  return drive(options, call);
}

/** Pairs of accounts, other ones each time. */
function numbered(send: (from: number, to: number) => Promise<unknown>): () => Promise<unknown> {
  let calls = 0;
  return () => {
    calls += 2;
    return send(key(calls), key(calls + 1));
  };
}
