/**
 * The process whose power is cut. It opens the database, lets many callers write at once, closes it, opens it again, writes
 * on and is killed without closing. It says `ack ID` when, and only when, the promise of a call has resolved.
 */
import { realpathSync, writeSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import Sqlite from 'better-sqlite3';
import { type Database, open } from '../../../src/index.ts';
import { enterFile } from '../../../src/lanes/open-files.ts';
import { Chance } from './chance.ts';
import { migrations, pairs, Refusal } from './pairs.ts';
import { type Scenario } from './record.ts';

const CALLERS = 24;
const CALLS = 6;

const [, , file = '', json = ''] = process.argv;
const scenario = JSON.parse(json) as Scenario;
const chance = new Chance(scenario.seed);

if (scenario.journal === 'rollback') await keepRollbackJournal();
const first = await openPairs();
await work(first, 'a');
await first.close();
// Whether the journal is kept depends on who else has the file open, and that was settled before the first opening.
await work(await openPairs(), 'b');
process.kill(process.pid, 'SIGKILL');

/**
 * A file that another writer of this process has open keeps its journal mode: the way to a rollback journal on a local disk,
 * where WAL is never refused. The other writer is only entered in the registry of open files.
 */
async function keepRollbackJournal(): Promise<void> {
  await (await open({ file, repositories: pairs, migrations })).close();
  const handle = new Sqlite(file);
  handle.pragma('journal_mode = DELETE');
  handle.close();
  enterFile(realpathSync(file), 'write', false);
}

async function openPairs(): Promise<Database<typeof pairs>> {
  const { strategy, durability, journal } = scenario;
  const db = await open({
    file,
    repositories: pairs,
    strategy,
    durability,
    migrations,
    // Checkpoints, and with them a WAL that begins anew, come many times within a few hundred calls.
    pragmas: { wal_autocheckpoint: 24 },
  });
  if (db.decision.strategy !== strategy) throw new Error(`asked for ${strategy}, got ${db.decision.strategy}`);
  if (db.decision.journal !== journal) throw new Error(`meant for ${journal}, got ${db.decision.journal}`);
  return db;
}

async function work(db: Database<typeof pairs>, session: string): Promise<void> {
  await Promise.all(
    Array.from({ length: CALLERS }, async (_, caller) => {
      for (let call = 0; call < CALLS; call++) {
        const id = `${session}-${caller}-${call}`;
        // Callers that do not march in step: batches of every size.
        for (let wait = chance.below(4); wait > 0; wait--) await turn();
        if (chance.happens(0.1)) await refused(db, `refused-${id}`);
        await (chance.happens(0.1) ? inTransaction(db, id) : db.api.lefts.pair(id, false));
        writeSync(1, `ack ${id}\n`);
      }
    }),
  );
}

async function inTransaction(db: Database<typeof pairs>, id: string): Promise<void> {
  await db.transaction(async (api) => {
    await api.lefts.pair(id, false);
    await turn();
  });
}

async function refused(db: Database<typeof pairs>, id: string): Promise<void> {
  const [result] = await Promise.allSettled([db.api.lefts.pair(id, true)]);
  if (result.status === 'rejected' && result.reason instanceof Refusal) return;
  throw new Error(`${id}: the call should have been refused`);
}
