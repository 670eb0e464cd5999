/** What it costs to be inside something: a context around a call, and a transaction that a call joins. */
import { drizzle } from 'drizzle-orm/better-sqlite3';
import { costOf } from '../measure/callers.ts';
import { inRounds, type Sample } from '../measure/rounds.ts';
import { difference, ratio } from '../measure/summary.ts';
import { atMost, row } from '../report/build.ts';
import { type Case, type Requirement, type Row } from '../report/case.ts';
import { openRaw } from '../sides/raw.ts';
import { key } from '../sides/schema.ts';
import { type BenchDatabase, openSluice, registry } from '../sides/sluice.ts';

/** Updates go to so many rows, that pages do not pile up in the open transaction. */
const ROWS = 1000;

export const contexts: Case = {
  name: 'contexts',
  about: 'a read inside db.context beside outside; a call that joins a transaction beside its handler',
  async run({ workspace, quick }) {
    const rounds = quick ? 7 : 21;
    const calls = quick ? 5000 : 20_000;
    const contexts: Row[] = [];
    const joined: Row[] = [];
    const requirements: Requirement[] = [];
    for (const strategy of ['per-context', 'shared'] as const) {
      const files = [workspace.fresh(), workspace.fresh()] as const;
      const db = await openSluice(files[0], strategy, 'normal');
      const handle = openRaw(files[1], 'normal');
      const { signal } = new AbortController();

      const read = (): Promise<number> => costOf(calls, (at) => db.api.accounts.byId(key(at)));
      const around = await inRounds(rounds, {
        outside: read,
        label: () => db.context({ label: 'GET /accounts' }, read),
        'label, timeout, signal': () => db.context({ timeout: 60_000, signal, label: 'GET /accounts' }, read),
      });
      contexts.push(row(strategy, around, 'outside'));
      for (const side of ['label', 'label, timeout, signal'] as const) {
        const more = difference(around[side], around.outside);
        requirements.push(atMost(`a call inside a context (${side}) more than outside, ${strategy}`, more, 0.5, ' µs'));
      }

      const inside = (call: (api: BenchDatabase['api'], at: number) => Promise<unknown>): Sample => {
        return () => db.transaction((api) => costOf(calls, (at) => call(api, at)));
      };
      const { byId, credit, send } = handlersOn(handle);
      const directly = (call: (at: number) => unknown): Sample => {
        return async () => {
          handle.exec('BEGIN IMMEDIATE');
          const start = performance.now();
          for (let at = 0; at < calls; at++) await call(at);
          const cost = ((performance.now() - start) / calls) * 1000;
          handle.exec('COMMIT');
          return cost;
        };
      };
      const guarded = inSavepoint(handle);
      const reads = await inRounds(rounds, {
        handler: directly((at) => byId(key(at, ROWS))),
        'its api': inside((api, at) => api.accounts.byId(key(at, ROWS))),
        'db.api': inside((_, at) => db.api.accounts.byId(key(at, ROWS))),
      });
      const writes = await inRounds(rounds, {
        handler: directly((at) => credit(key(at, ROWS), 1)),
        'in a savepoint': directly((at) => guarded(() => credit(key(at, ROWS), 1))),
        'its api': inside((api, at) => api.accounts.credit(key(at, ROWS), 1)),
        'db.api': inside((_, at) => db.api.accounts.credit(key(at, ROWS), 1)),
      });
      const transfers = await inRounds(rounds, {
        handler: directly((at) => send(key(at, ROWS), key(at + 1, ROWS), 1)),
        'in a savepoint': directly((at) => guarded(() => send(key(at, ROWS), key(at + 1, ROWS), 1))),
        'its api': inside((api, at) => api.transfers.send(key(at, ROWS), key(at + 1, ROWS), 1)),
        'db.api': inside((_, at) => db.api.transfers.send(key(at, ROWS), key(at + 1, ROWS), 1)),
      });
      for (const [what, samples] of Object.entries({ read: reads, write: writes, transfer: transfers })) {
        joined.push(row(`${what}, ${strategy}`, samples, 'handler'));
        for (const side of ['its api', 'db.api'] as const) {
          const found = ratio(samples[side], samples.handler);
          requirements.push(atMost(`a joined ${what} through ${side} beside its handler, ${strategy}`, found, 1.5));
        }
      }
      handle.close();
      await db.close();
      for (const file of files) workspace.discard(file);
    }
    return {
      settings: { rounds, calls },
      tables: [
        { title: 'Point read, inside a context and outside', unit: 'µs a call', rows: contexts },
        { title: 'Inside a transaction', unit: 'µs a call', rows: joined },
      ],
      requirements,
    };
  },
};

/** The same repositories' handlers on a Drizzle database of one's own, without anything around them. */
function handlersOn(handle: ReturnType<typeof openRaw>) {
  const { accounts, transfers } = registry.repositories;
  const db = drizzle(handle);
  const unused = (): never => {
    throw new Error('the handlers of the bench have no effects');
  };
  if (accounts.reads === undefined || accounts.writes === undefined || transfers.writes === undefined) {
    throw new Error('the bench has lost its handlers');
  }
  const tools = { use: unused, signal: { aborted: false }, afterCommit: unused };
  const ofAccounts = { ...accounts.reads(db, tools), ...accounts.writes(db, tools) };
  return { ...ofAccounts, ...transfers.writes(db, { ...tools, use: () => ofAccounts as never }) };
}

/** A call that can be undone alone, as one writes it by hand. */
function inSavepoint(handle: ReturnType<typeof openRaw>): (run: () => unknown) => unknown {
  const savepoint = handle.prepare('SAVEPOINT call');
  const release = handle.prepare('RELEASE call');
  return (run) => {
    savepoint.run();
    const value = run();
    release.run();
    return value;
  };
}
