/** One caller, one call after the other: what a call through the api costs beside the raw statement and bare Drizzle. */
import { costOf } from '../measure/callers.ts';
import { inRounds, type Samples } from '../measure/rounds.ts';
import { ratio } from '../measure/summary.ts';
import { atLeast, atMost, row } from '../report/build.ts';
import { type Case, type Row } from '../report/case.ts';
import { bareDrizzle } from '../sides/drizzle.ts';
import { openRaw, rawInsert, rawTransfer } from '../sides/raw.ts';
import { entry, key } from '../sides/schema.ts';
import { openSluice } from '../sides/sluice.ts';

export const reads: Case = {
  name: 'reads',
  about: 'point reads: api.get, a read handler, raw, bare Drizzle',
  async run({ workspace, quick }) {
    const rounds = quick ? 5 : 21;
    const [calls, slow] = quick ? [5000, 1000] : [20_000, 2000];
    const rows: Row[] = [];
    const requirements = [];
    for (const strategy of ['per-context', 'shared'] as const) {
      const file = workspace.fresh();
      const db = await openSluice(file, strategy, 'full');
      const handle = openRaw(file, 'full');
      const statement = handle.prepare('SELECT id, owner, cents, version FROM accounts WHERE id = ?');
      const drizzle = bareDrizzle(handle);
      const { accounts } = db.api;
      const samples = await inRounds(rounds, {
        // Awaited as it is: the cheapest way to call it from the same code.
        raw: () => loop(calls, (at) => statement.get(key(at))),
        'api.get': () => costOf(calls, (at) => accounts.get(key(at))),
        handler: () => costOf(calls, (at) => accounts.byId(key(at))),
        'bare Drizzle': () => costOf(slow, (at) => drizzle.get(key(at))),
      });
      rows.push(row(`plain row, ${strategy}`, samples, 'raw'), await decoded(strategy));
      for (const side of ['api.get', 'handler'] as const) {
        requirements.push(
          atMost(`${side} beside raw, ${strategy}`, ratio(samples[side], samples.raw), 1.7),
          atLeast(`bare Drizzle beside ${side}, ${strategy}`, ratio(samples['bare Drizzle'], samples[side]), 8),
        );
      }
      handle.close();
      await db.close();
      workspace.discard(file);
    }
    return {
      settings: { rounds, calls },
      tables: [{ title: 'Point read, one caller', unit: 'µs a call', rows }],
      requirements,
    };

    async function decoded(strategy: 'shared' | 'per-context'): Promise<Row> {
      const file = workspace.fresh();
      const db = await openSluice(file, strategy, 'full');
      const handle = openRaw(file, 'full');
      const statement = handle.prepare<[number], { details: string; active: number; at: number }>(
        'SELECT id, name, details, active, at FROM profiles WHERE id = ?',
      );
      const drizzle = bareDrizzle(handle);
      const samples = await inRounds(Math.ceil(rounds / 2), {
        raw: () =>
          loop(calls, (at) => {
            const found = statement.get(key(at));
            if (found === undefined) return found;
            return {
              ...found,
              details: JSON.parse(found.details) as unknown,
              active: found.active === 1,
              at: new Date(found.at),
            };
          }),
        'api.get': () => costOf(calls, (at) => db.api.profiles.get(key(at))),
        'bare Drizzle': () => costOf(slow, (at) => drizzle.getProfile(key(at))),
      });
      handle.close();
      await db.close();
      workspace.discard(file);
      return row(`JSON, date, boolean decoded, ${strategy}`, samples, 'raw');
    }
  },
};

/** {@link costOf} without a promise around the answer. */
async function loop(calls: number, call: (at: number) => unknown): Promise<number> {
  const start = performance.now();
  for (let at = 0; at < calls; at++) await call(at);
  return ((performance.now() - start) / calls) * 1000;
}

export const pages: Case = {
  name: 'pages',
  about: 'a page of 50 rows by key: api.page, raw, bare Drizzle',
  async run({ workspace, quick }) {
    const rounds = quick ? 5 : 15;
    const calls = quick ? 300 : 1000;
    const file = workspace.fresh();
    const db = await openSluice(file, 'per-context', 'full');
    const handle = openRaw(file, 'full');
    const statement = handle.prepare(
      'SELECT id, owner, cents, version FROM accounts WHERE id > ? ORDER BY id LIMIT 50',
    );
    const drizzle = bareDrizzle(handle);
    const samples = await inRounds(rounds, {
      raw: () => {
        let after = 0;
        return loop(calls, () => {
          const rows = statement.all(after) as { id: number }[];
          after = rows.length === 50 ? (rows.at(-1)?.id ?? 0) : 0;
          return rows;
        });
      },
      'api.page': () => {
        let after: string | undefined;
        return costOf(calls, async () => {
          const page = await db.api.accounts.page(after === undefined ? { limit: 50 } : { limit: 50, after });
          after = page.next;
        });
      },
      'bare Drizzle': () => costOf(calls, (at) => drizzle.page((at * 50) % 9950)),
    });
    handle.close();
    await db.close();
    workspace.discard(file);
    return {
      settings: { rounds, calls },
      tables: [{ title: 'Page of 50, one caller', unit: 'µs a call', rows: [row('by key', samples, 'raw')] }],
      requirements: [],
    };
  },
};

export const writes: Case = {
  name: 'writes',
  about: 'one caller: a single insert and a transfer, durability full and normal',
  async run({ workspace, quick }) {
    const rounds = quick ? 3 : 11;
    const rows: Row[] = [];
    for (const durability of ['full', 'normal'] as const) {
      const calls = (durability === 'full' ? 200 : 2000) / (quick ? 4 : 1);
      const files = { raw: workspace.fresh(), drizzle: workspace.fresh(), api: workspace.fresh() };
      const db = await openSluice(files.api, 'per-context', durability);
      const handle = openRaw(files.raw, durability);
      const other = openRaw(files.drizzle, durability);
      const drizzle = bareDrizzle(other);
      const insert = rawInsert(handle);
      const transfer = rawTransfer(handle);
      const pair = (at: number): [number, number] => [key(2 * at), key(2 * at + 1)];
      const inserts: Samples<string> = await inRounds(rounds, {
        raw: () => costOf(calls, insert),
        handler: () => costOf(calls, (at) => db.api.entries.append(entry(at))),
        'api.insert': () => costOf(calls, (at) => db.api.entries.insert(entry(at))),
        'bare Drizzle': () => costOf(calls, () => drizzle.insert()),
      });
      const transfers: Samples<string> = await inRounds(rounds, {
        raw: () => costOf(calls, (at) => transfer(...pair(at))),
        handler: () => costOf(calls, (at) => db.api.transfers.send(...pair(at), 1)),
        'bare Drizzle': () => costOf(calls, (at) => drizzle.transfer(...pair(at))),
      });
      rows.push(row(`insert, ${durability}`, inserts, 'raw'), row(`transfer, ${durability}`, transfers, 'raw'));
      handle.close();
      other.close();
      await db.close();
      for (const file of Object.values(files)) workspace.discard(file);
    }
    return {
      settings: { rounds },
      tables: [{ title: 'One write after the other, one caller', unit: 'µs a call', rows }],
      requirements: [],
    };
  },
};
