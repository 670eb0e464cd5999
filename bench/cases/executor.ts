/** What the executor costs and saves: writes and reads through it, long queries beside short ones, readers, and its start. */
import { setImmediate as turn } from 'node:timers/promises';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { drive } from '../measure/callers.ts';
import { watchLoopDelay } from '../measure/loop-delay.ts';
import { race, type Side } from '../measure/race.ts';
import { inRounds } from '../measure/rounds.ts';
import { difference, quantile, ratio, summarize } from '../measure/summary.ts';
import { atLeast, atMost, row } from '../report/build.ts';
import { type Case } from '../report/case.ts';
import { raw, sluice } from '../sides/durable.ts';
import { key } from '../sides/schema.ts';
import { type BenchDatabase, type Measured, openSluice, registry } from '../sides/sluice.ts';
import { type Workspace } from '../sides/workspace.ts';

export const executor: Case = {
  name: 'executor',
  about: 'the executor: durable inserts, point reads, reads beside long queries, reader threads, start to first answer',
  async run({ workspace, quick }) {
    const rounds = quick ? 3 : 9;
    const duration = quick ? 300 : 800;
    // A thread compiles for itself, and each round starts a new one.
    const warmUp = quick ? 100 : 1000;

    const inserts = await race(
      rounds,
      { callers: 256, duration, warmUp },
      {
        raw: raw(workspace, 'insert'),
        'per-context': sluice(workspace, 'per-context', 'insert'),
        executor: sluice(workspace, 'executor', 'insert'),
      },
    );
    const reads = await race(
      rounds,
      { callers: 64, duration, warmUp },
      { 'per-context': pointReads(workspace, 'per-context'), executor: pointReads(workspace, 'executor') },
    );
    const beside = { 'per-context': [] as Beside[], executor: [] as Beside[] };
    for (let round = 0; round < rounds; round++) {
      beside['per-context'].push(await readsBesideReports(workspace, 'per-context', duration));
      beside.executor.push(await readsBesideReports(workspace, 'executor', duration));
    }
    const waits = { 'per-context': beside['per-context'].map(p99), executor: beside.executor.map(p99) };
    const loop = { 'per-context': beside['per-context'].map(delay), executor: beside.executor.map(delay) };
    const scans = await race(
      rounds,
      { callers: 8, duration: duration * 2 },
      { one: reports(workspace, 1), two: reports(workspace, 2) },
    );
    const starts = await inRounds(rounds, {
      'import of the registry': importInThread,
      'first answer': () => firstAnswer(workspace),
    });
    return {
      settings: { rounds, milliseconds: duration, fileSystem: workspace.fileSystem },
      tables: [
        { title: 'Durable inserts, 256 callers', unit: 'calls a second', rows: [row('insert', inserts, 'raw')] },
        { title: 'Point reads, 64 callers', unit: 'calls a second', rows: [row('get', reads, 'per-context')] },
        {
          title: 'Point reads from 32 callers beside two long aggregates at a time, p99; and the event loop, p99',
          unit: 'ms',
          rows: [row('read', waits, 'per-context'), row('delay', loop, 'per-context')],
        },
        { title: 'Long aggregates, reader threads', unit: 'calls a second', rows: [row('report', scans, 'one')] },
        { title: 'Start', unit: 'ms', rows: [row('start', starts, 'import of the registry')] },
      ],
      requirements: [
        atLeast('durable inserts, 256 callers, beside raw', ratio(inserts.executor, inserts.raw), 15),
        atLeast('durable inserts beside the in-process lane', ratio(inserts.executor, inserts['per-context']), 0.6),
        atMost('point reads beside long queries, p99', summarize(waits.executor), 10, ' ms'),
        atMost('event-loop delay beside long queries, p99', summarize(loop.executor), 5, ' ms'),
        atLeast('the same in-thread: point reads, p99', summarize(waits['per-context']), 30, ' ms'),
        atLeast('the same in-thread: event-loop delay, p99', summarize(loop['per-context']), 30, ' ms'),
        atLeast('two reader threads beside one', ratio(scans.two, scans.one), 1.6),
        atLeast('point reads beside in-thread', ratio(reads.executor, reads['per-context']), 0.35),
        atMost(
          'start to first answer beyond importing the registry',
          difference(starts['first answer'], starts['import of the registry']),
          150,
          ' ms',
        ),
      ],
    };
  },
};

interface Beside {
  readonly p99: number;
  readonly delay: number;
}
const p99 = (found: Beside): number => found.p99;
const delay = (found: Beside): number => found.delay;

function pointReads(workspace: Workspace, strategy: Measured): Side {
  return async () => {
    const file = workspace.fresh();
    const db = await openSluice(file, strategy, 'full');
    let calls = 0;
    return { call: () => db.api.accounts.get(key(calls++)), close: () => closeAndDiscard(workspace, file, db) };
  };
}

function reports(workspace: Workspace, readers: number): Side {
  return async () => {
    const file = workspace.fresh();
    const db = await openSluice(file, 'executor', 'full', readers);
    return { call: () => db.api.accounts.report(), close: () => closeAndDiscard(workspace, file, db) };
  };
}

/** Two callers run the long aggregate one after the other; 32 others read points meanwhile. */
async function readsBesideReports(workspace: Workspace, strategy: Measured, duration: number): Promise<Beside> {
  const file = workspace.fresh();
  const db = await openSluice(file, strategy, 'full', strategy === 'executor' ? 3 : undefined);
  let calls = 0;
  // Each after a turn of the event loop, as requests come: what keeps the loop keeps them.
  const read = async (): Promise<unknown> => {
    await turn();
    return db.api.accounts.get(key(calls++));
  };
  await drive({ callers: 32, duration: 100 }, read);
  let over = false;
  const reporter = async (): Promise<void> => {
    while (!over) {
      await turn();
      await db.api.accounts.report();
    }
  };
  const reporters = [reporter(), reporter()];
  const loopDelay = watchLoopDelay();
  const { latencies } = await drive({ callers: 32, duration, latencies: true }, read);
  const delay = loopDelay();
  over = true;
  await Promise.all(reporters);
  await closeAndDiscard(workspace, file, db);
  return { p99: quantile(latencies, 0.99), delay };
}

/** Milliseconds that a thread takes from its start until it has imported the registry's own module, in the way of Node. */
async function importInThread(): Promise<number> {
  const start = performance.now();
  const done = "require('node:worker_threads').parentPort.postMessage('imported')";
  const worker = new Worker(`import(${JSON.stringify(registry.url)}).then(() => ${done})`, { eval: true });
  await once(worker, 'message');
  const took = performance.now() - start;
  await worker.terminate();
  return took;
}

async function firstAnswer(workspace: Workspace): Promise<number> {
  const file = workspace.fresh();
  const start = performance.now();
  const db = await openSluice(file, 'executor', 'full');
  await db.api.accounts.get(1);
  const took = performance.now() - start;
  await closeAndDiscard(workspace, file, db);
  return took;
}

async function closeAndDiscard(workspace: Workspace, file: string, db: BenchDatabase): Promise<void> {
  await db.close();
  workspace.discard(file);
}
