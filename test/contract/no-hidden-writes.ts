import { describe, expect, test } from 'vitest';
import { HandlerError, ReadOnlyError } from '../../src/index.ts';
import { committed, openLedger } from '../support/open-ledger.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection } from '../support/waiting.ts';

const WRITES = [
  "INSERT INTO entries (call, part) VALUES ('hidden', 1)",
  "WITH made AS (SELECT 'hidden' AS call) INSERT INTO entries (call, part) SELECT call, 1 FROM made",
  "INSERT INTO entries (call, part) VALUES ('hidden', 1) RETURNING *",
  "/* SELECT */ REPLACE INTO entries (call, part) VALUES ('hidden', 1)",
  'DELETE FROM traps',
  'CREATE TABLE hidden (id)',
  'DROP TABLE traps',
];

const SWITCHES = [
  'PRAGMA query_only = 0',
  'PRAGMA query_only(0)',
  'pragma main.query_only=OFF',
  'PRAGMA/**/query_only/**/=/**/0',
  'PRAGMA -- a comment\n query_only = 0',
  'PRAGMA "query_only" = 0',
  'PRAGMA [query_only] = 0',
  'PRAGMA `main`."query_only" = 0',
  "PRAGMA 'query_only' = 0",
  'PRAGMA "foreign_keys" = 0',
  'PRAGMA "synchronous" = 0',
  ';PRAGMA "journal_mode" = DELETE',
];

/** Promise 8: a write in a read handler or a snapshot is an error. */
export function writesNeverHide(strategy: StrategyUnderTest): void {
  describe('8. Writes never hide in reads', () => {
    const dir = useTempDir();

    test.for(WRITES)('a read handler cannot write: %s', async (statement) => {
      const db = await openLedger(dir, strategy);
      await rejection(db.api.entries.ask(statement), ReadOnlyError);
      await rejection(
        db.snapshot((api) => api.entries.ask(statement)),
        ReadOnlyError,
      );
      await rejection(
        db.transaction((api) => api.entries.ask(statement)),
        ReadOnlyError,
      );
      await expectUntouched(db.api.entries.count());
    });

    test('a read handler cannot write through a cast', async () => {
      const db = await openLedger(dir, strategy);
      await rejection(db.api.entries.sneak('hidden'), ReadOnlyError);
      await rejection(
        db.snapshot((api) => api.entries.sneak('hidden')),
        ReadOnlyError,
      );
      await expectUntouched(db.api.entries.count());
    });

    test('a snapshot has no writes, whatever its type is cast to', async () => {
      const db = await openLedger(dir, strategy);
      await rejection(
        db.snapshot((api) => (api as typeof db.api).entries.run('hidden')),
        ReadOnlyError,
      );
      await rejection(
        db.snapshot((api) => (api as typeof db.api).entries.insert({ call: 'hidden', part: 1 })),
        ReadOnlyError,
      );
      await expectUntouched(db.api.entries.count());
    });

    test.for(SWITCHES)('a handler cannot change its connection: %s', async (statement) => {
      const db = await openLedger(dir, strategy);
      const pragmas = ['query_only', 'foreign_keys', 'synchronous'];
      const settings = async () => [
        ...(await Promise.all(pragmas.map((name) => db.api.entries.pragma(name)))),
        ...(await db.transaction((api) => Promise.all(pragmas.map((name) => api.entries.pragma(name))))),
        dir.raw().pragma('journal_mode', { simple: true }),
      ];
      const before = await settings();
      await rejection(db.api.entries.ask(statement), HandlerError);
      await rejection(
        db.snapshot((api) => api.entries.ask(statement)),
        HandlerError,
      );
      await rejection(db.api.entries.execute('hidden', statement), HandlerError);
      expect(await settings()).toEqual(before);
      await expectUntouched(db.api.entries.count());
    });

    test('a handler may ask what a pragma is, and about the schema', async () => {
      const db = await openLedger(dir, strategy);
      expect(await db.api.entries.pragma('foreign_keys')).toBe(1);
      expect(await db.api.entries.ask('PRAGMA table_info(entries)')).toHaveLength(3);
    });

    test('a database that is opened for reading only refuses every write and reads on', async () => {
      const writing = await openLedger(dir, strategy);
      await writing.api.entries.run('a');
      await writing.close();
      const db = await openLedger(dir, strategy, { readonly: true }).catch((error: unknown) => error);
      // A strategy that is one writing handle may refuse the option itself; then there is nothing to hide a write in.
      if (db instanceof Error) {
        expect(db).toMatchObject({ code: 'SLUICE_STRATEGY' });
        return;
      }
      const reading = db as typeof writing;
      const error = await rejection(reading.api.entries.run('hidden'), ReadOnlyError);
      expect(error.outcome).toBe('not-started');
      await rejection(
        reading.transaction((api) => api.entries.run('hidden')),
        ReadOnlyError,
      );
      expect(await reading.api.entries.count()).toBe(2);
      expect(await reading.snapshot((api) => api.entries.count())).toBe(2);
    });

    async function expectUntouched(count: Promise<number>): Promise<void> {
      expect(await count).toBe(0);
      expect(committed(dir)).toEqual([]);
      const other = dir.raw();
      expect(other.prepare('SELECT kind FROM traps').pluck().all()).toEqual(['taken']);
      expect(other.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'hidden'").all()).toEqual([]);
      other.close();
    }
  });
}
