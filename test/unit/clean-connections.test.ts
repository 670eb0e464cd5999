/** A connection is clean when it goes to the next one, or it is discarded; and what a handler is lent cannot soil it. */
import { sql } from 'drizzle-orm';
import { describe, expect, test } from 'vitest';
import { CallSite } from '../../src/context/call-site.ts';
import { Tenant } from '../../src/context/holders.ts';
import { type Connection } from '../../src/connection/connection.ts';
import { Connector } from '../../src/connection/connector.ts';
import { defineRepository, type WriteDatabase } from '../../src/index.ts';
import { ReadLanes } from '../../src/lanes/read-lanes.ts';
import { WriteLane } from '../../src/lanes/write-lane.ts';
import { Writer } from '../../src/lanes/writer.ts';
import { methodTable } from '../../src/repository/methods.ts';
import { createLedger, entries, ledger } from '../support/ledger.ts';
import { openTables } from '../support/open-tables.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection } from '../support/waiting.ts';

const dir = useTempDir();

function connector(): Connector {
  const file = dir.file();
  createLedger(file);
  const { repositories } = ledger;
  return new Connector({
    file,
    repositories,
    durability: 'normal',
    pragmas: {},
    asyncDriver: undefined,
  });
}

describe('a reader that is given back', () => {
  function openLanes(): { lanes: ReadLanes; lend: () => Promise<Connection> } {
    const connections = connector();
    connections.writer('wal').connection.close();
    const lanes = new ReadLanes(
      () => connections.reader().connection,
      { file: 'test.db', max: 1, maxQueue: 10 },
      undefined,
      () => undefined,
    );
    dir.atEnd(() => {
      lanes.close();
    });
    const borrower = () => ({
      tenant: new Tenant('test'),
      site: new CallSite(),
      deadline: performance.now() + 1000,
      context: undefined,
    });
    return { lanes, lend: () => lanes.lease(borrower()) };
  }

  test('clean is lent again', async () => {
    const { lanes, lend } = openLanes();
    const reader = await lend();
    lanes.giveBack(reader);
    expect(await lend()).toBe(reader);
    lanes.giveBack(reader);
    expect(lanes.stats()).toMatchObject({ open: 1, leased: 0, repaired: 0, discarded: 0 });
  });

  test('inside a transaction is rolled back, counted, and lent again', async () => {
    const { lanes, lend } = openLanes();
    const reader = await lend();
    reader.handle.exec('BEGIN; SELECT 1 FROM entries');
    lanes.giveBack(reader);
    expect(reader.inTransaction).toBe(false);
    expect(await lend()).toBe(reader);
    lanes.giveBack(reader);
    expect(lanes.stats()).toMatchObject({ open: 1, repaired: 1, discarded: 0 });
  });

  test('without query_only has it again', async () => {
    const { lanes, lend } = openLanes();
    const reader = await lend();
    reader.handle.pragma('query_only = 0');
    lanes.giveBack(reader);
    expect(reader.handle.pragma('query_only', { simple: true })).toBe(1);
    expect(lanes.stats()).toMatchObject({ open: 1, repaired: 1, discarded: 0 });
  });

  test('with a statement under way is discarded, counted, and another one serves who waits', async () => {
    const { lanes, lend } = openLanes();
    const reader = await lend();
    const waiting = lend();
    const rows = reader.handle.prepare('SELECT 1 UNION SELECT 2').iterate();
    rows.next();
    lanes.giveBack(reader);
    const next = await waiting;
    expect(next).not.toBe(reader);
    expect(lanes.stats()).toMatchObject({ open: 1, leased: 1, discarded: 1 });
    lanes.giveBack(next);
    rows.return?.();
    reader.close();
  });
});

describe('a writer', () => {
  test('whose transaction cannot be rolled back is discarded, counted, and replaced', async () => {
    const connections = connector();
    const first = connections.writer('wal').connection;
    const limits = { owner: {}, batch: { calls: 10, slice: 5 }, maxQueue: 10, timeout: 5000 };
    const writer = new Writer(
      new WriteLane('test.db', 'no-wal'),
      first,
      limits,
      () => connections.writer('keep').connection,
    );
    dir.atEnd(() => {
      writer.connection.close();
    });
    const run = methodTable(ledger.repositories, first).get('entries')?.get('run');
    if (run === undefined) throw new Error('the ledger has no entries.run');

    let rows: Iterator<unknown> | undefined;
    const failed = writer.transaction(async (scope) => {
      await scope.call(run, ['lost', ['row']], undefined);
      rows = first.handle.prepare('SELECT 1 UNION SELECT 2').iterate();
      rows.next();
    }, undefined);
    expect(await rejection(failed, Error)).toMatchObject({ outcome: 'rolled-back' });
    expect(writer.connection).not.toBe(first);
    expect(writer.stats.read(0).discarded).toBe(1);
    // What the test did to it has to end before anybody can have the lock.
    rows?.return?.();
    first.close();
    await writer.write(run, ['kept', ['row']], undefined);
    expect(writer.connection.handle.prepare('SELECT call FROM entries').pluck().all()).toEqual(['kept']);
  });
});

describe('what a handler is lent', () => {
  test('has no client, and no iterator that it could leave open', async () => {
    const repository = defineRepository(entries, {
      writes: (db: WriteDatabase) => ({
        lent() {
          const names = ['$client', 'client', 'iterate', 'exec', 'pragma', 'handle', 'stmt'];
          const session = Reflect.get(db, 'session') as object;
          const given = [db, session, db.select().from(entries).prepare()];
          return given.map((each) => names.filter((name) => name in each));
        },
      }),
    });
    const { api } = await openTables(dir, 'CREATE TABLE entries (id INTEGER PRIMARY KEY, call TEXT, part INTEGER)', {
      entries: repository,
    });
    expect(await api.entries.lent()).toEqual([[], [], []]);
  });

  test('cannot set query_only, also not through the function of the same name', async () => {
    const repository = defineRepository(entries, {
      reads: (db) => ({ ask: (statement: string) => db.all(sql.raw(statement)) }),
    });
    const { api } = await openTables(dir, 'CREATE TABLE entries (id INTEGER PRIMARY KEY, call TEXT, part INTEGER)', {
      entries: repository,
    });
    for (const statement of [
      'PRAGMA query_only = 0',
      'PRAGMA query_only(0)',
      'SELECT * FROM pragma_query_only(0)',
      'SELECT * FROM pragma_query_only WHERE arg = 0',
    ]) {
      await rejection(api.entries.ask(statement), Error);
    }
    expect(await api.entries.ask('PRAGMA query_only')).toEqual([{ query_only: 1 }]);
  });
});
