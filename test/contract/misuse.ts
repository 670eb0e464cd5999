import { existsSync, linkSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { sql } from 'drizzle-orm';
import { describe, expect, test } from 'vitest';
import {
  ClosedError,
  ContextError,
  CorruptError,
  defineAsyncRepository,
  defineRepositories,
  defineRepository,
  HandlerError,
  MigrationError,
  OptionError,
  type Registry,
  StorageError,
  UnknownMethodError,
  type WriteDatabase,
  type WriteTools,
} from '../../src/index.ts';
import { asyncFactory, asyncHandler, noFunction, runningFactory, throwingFactory } from '../support/broken.ts';
import { createLedger, entries, ledger } from '../support/ledger.ts';
import { committed, expectNoTransaction, openLedger } from '../support/open-ledger.ts';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection, until } from '../support/waiting.ts';

/** A registry of one repository whose factory is not what the types allow. */
function registryOf(writes: (db: WriteDatabase, tools: WriteTools) => unknown): Registry {
  return defineRepositories(import.meta.url, { entries: defineRepository(entries, { writes: writes as never }) });
}

/** Promise 13: misuse is an error with its own name, and leaves nothing behind. */
export function misuse(strategy: StrategyUnderTest): void {
  describe('13. Misuse is an error with its own name', () => {
    const dir = useTempDir();
    const lines = (file: string): string[] =>
      existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : [];

    describe('at open', () => {
      /** Refused, without a file, a descriptor or anything else in the folder. */
      async function expectRefused(
        options: object,
        kind: abstract new (...args: never[]) => Error,
        message: RegExp,
      ): Promise<void> {
        const before = readdirSync(dir.path);
        const opening = strategy.open({ repositories: ledger, ...options } as never);
        expect((await rejection(opening, kind)).message).toMatch(message);
        expect(readdirSync(dir.path)).toEqual(before);
        expect(dir.descriptors()).toEqual([]);
      }

      test('an unknown option is refused by name, with the one that was meant', async () => {
        await expectRefused(
          { file: dir.file(), durabilty: 'full' },
          OptionError,
          /"durabilty".*did you mean "durability"/,
        );
        await expectRefused({ file: dir.file(), colour: 'red' }, OptionError, /unknown option "colour"/);
        await expectRefused({ file: dir.file(), batch: { size: 1 } }, OptionError, /unknown option "size"/);
      });

      test('a value of the wrong kind is refused with its name', async () => {
        await expectRefused({ file: dir.file(), timeout: -1 }, OptionError, /"timeout" is -1/);
        await expectRefused({ file: dir.file(), timeout: '5s' }, OptionError, /"timeout" is "5s"/);
        await expectRefused({ file: dir.file(), durability: 'ful' }, OptionError, /did you mean "full"/);
        await expectRefused({ file: 42 }, OptionError, /"file" is 42/);
        await expectRefused({ file: dir.file(), repositories: undefined }, OptionError, /"repositories"/);
        await expectRefused({ file: dir.file(), pragmas: { synchronous: 0 } }, OptionError, /"durability"/);
      });

      test('a string that looks like a URI is refused, and no file of that name is made', async () => {
        for (const file of ['file:x?mode=memory', 'file:x?mode=memory&cache=shared', 'file::memory:']) {
          await expectRefused({ file }, OptionError, /URI/);
          expect(existsSync(file)).toBe(false);
        }
        await expectRefused({ file: 'https://example.org/db' }, OptionError, /URL of a server/);
      });

      test('a directory, and a path through a folder that does not exist, are refused', async () => {
        mkdirSync(dir.file('folder'));
        await expectRefused({ file: dir.file('folder') }, OptionError, /is a directory/);
        await expectRefused({ file: dir.file('nowhere/ledger.db') }, OptionError, /does not exist/);
      });

      test('a file that is not a database is refused, and stays as it is', async () => {
        const text = 'owner,cents\nann,100\n'.repeat(100);
        writeFileSync(dir.file('accounts.csv'), text);
        await expectRefused({ file: dir.file('accounts.csv') }, CorruptError, /not an SQLite database/);
        expect(readFileSync(dir.file('accounts.csv'), 'utf8')).toBe(text);
      });

      test('a folder of migrations that does not exist is refused before there is a file', async () => {
        await expectRefused(
          { file: dir.file(), migrations: dir.file('drizzle') },
          MigrationError,
          /there is no folder/,
        );
      });

      // No other thread can import a registry that is made in here.
      test.runIf(strategy.inThread)(
        'a migration, a pragma or a factory’s table that there is not is refused before there is a file',
        async () => {
          const folder = dir.file('drizzle');
          mkdirSync(join(folder, 'meta'), { recursive: true });
          const migration = { idx: 0, version: '6', when: 1, tag: '0000_entries', breakpoints: true };
          const journal = { version: '7', dialect: 'sqlite', entries: [migration] };
          writeFileSync(join(folder, 'meta/_journal.json'), JSON.stringify(journal));
          const sqlOf = (table: string) => `CREATE TABLE ${table} (id INTEGER PRIMARY KEY, call TEXT, part INTEGER)`;
          const prepared = registryOf((db) => {
            const all = db.select().from(entries).prepare();
            return { all: () => all.all().length };
          });
          const options = { file: dir.file(), repositories: prepared, migrations: folder };

          writeFileSync(join(folder, '0000_entries.sql'), sqlOf('"entries'));
          await expectRefused(options, MigrationError, /nothing was applied/);
          writeFileSync(join(folder, '0000_entries.sql'), sqlOf('others'));
          await expectRefused(options, Error, /no such table: entries/);
          writeFileSync(join(folder, '0000_entries.sql'), sqlOf('entries'));
          await expectRefused({ ...options, pragmas: { cache_sice: 1 } }, OptionError, /no pragma "cache_sice"/);

          const pragmas = { mmap_size: 1_000_000 };
          await using db = await strategy.open({ ...options, pragmas });
          expect(Object.keys(db.api.entries as object)).toContain('all');
        },
      );

      test('reading only what does not exist is refused', async () => {
        await expectRefused({ file: dir.file(), readonly: true }, StorageError, /no such file/);
      });

      test.for([['to be written', false] as const, ['to be read', true] as const])(
        'a second hard link of a file that is open is refused %s, and a second open by the same name is not',
        async ([, readonly]) => {
          const db = await openLedger(dir, strategy);
          linkSync(dir.file(), dir.file('second.db'));
          const before = { files: readdirSync(dir.path), descriptors: dir.descriptors() };
          const error = await rejection(
            openLedger(dir, strategy, { file: dir.file('second.db'), readonly }),
            OptionError,
          );
          expect(error.message).toContain(`open ${dir.file('second.db')}: `);
          expect(error.message).toContain(`open it as ${dir.file()}`);
          expect({ files: readdirSync(dir.path), descriptors: dir.descriptors() }).toEqual(before);

          await db.api.entries.run('a', ['row']);
          const again = await openLedger(dir, strategy, { readonly });
          expect(await again.api.entries.count()).toBe(1);
          await Promise.all([db.close(), again.close()]);
          const other = await openLedger(dir, strategy, { file: dir.file('second.db') });
          expect(await other.api.entries.count()).toBe(1);
          await rejection(openLedger(dir, strategy, { readonly }), OptionError);
        },
      );

      test('of two hard links that are opened at once one is refused, before it makes a journal of its own', async () => {
        // open(first):  looks up … opens, enters …              resolves
        // open(second):            looks up …     finds it entered, refused
        createLedger(dir.file());
        linkSync(dir.file(), dir.file('second.db'));
        const both = await Promise.allSettled([
          openLedger(dir, strategy),
          openLedger(dir, strategy, { file: dir.file('second.db') }),
        ]);
        expect(both.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
        expect(readdirSync(dir.path).filter((name) => name.startsWith('second.db'))).toEqual(['second.db']);
        expect(dir.descriptors().filter((name) => name.includes('second.db'))).toEqual([]);
      });

      test('a registry with one repository under two names, or two under one, is refused', () => {
        const repository = defineRepository(entries);
        const twin = () => defineRepositories(import.meta.url, { entries: repository, again: repository });
        expect(twin).toThrow(OptionError);
        expect(twin).toThrow(/"entries" and "again" are one repository/);
        expect(() =>
          defineRepositories(import.meta.url, { entries: repository, Entries: defineRepository(entries) }),
        ).toThrow(OptionError);
      });

      test.for([
        ['an async function as a handler', HandlerError, /entries\.writes\.go is an async function/, asyncHandler],
        ['a handler that is no function', HandlerError, /entries\.writes\.go is not a function/, noFunction],
        ['an async factory', HandlerError, /synchronous/, asyncFactory],
        ['a factory that runs a statement', ContextError, /run by a factory/, runningFactory],
        ['a factory that throws', TypeError, /of its own/, throwingFactory],
      ] as const)(
        '%s is refused: nothing is written and nothing stays open',
        async ([, kind, message, repositories]) => {
          // A file that does not exist yet is not created. It would have no tables for a factory to run a statement on.
          const orNoTable = new RegExp(`${message.source}|no such table`);
          await expectRefused({ file: dir.file(), repositories }, Error, orNoTable);
          createLedger(dir.file());
          for (const readonly of [false, true]) {
            const options = readonly && strategy.name !== 'shared' ? { readonly } : {};
            const opening = strategy.open({ file: dir.file(), repositories, ...options });
            expect((await rejection(opening, kind)).message).toMatch(message);
            expect(dir.descriptors(), 'descriptors').toEqual([]);
          }
          expect(committed(dir)).toEqual([]);
          const db = await openLedger(dir, strategy);
          await db.api.entries.run('after', ['row']);
        },
      );
    });

    describe('in a handler', () => {
      test('a promise from a synchronous handler is refused, and what it writes later is refused too', async () => {
        const db = await openLedger(dir, strategy);
        const log = dir.file('late.log');
        const error = await rejection(db.api.entries.promised('a', log), HandlerError);
        expect(error.message).toMatch(/entries\.run|entries\.promised returned a promise/);
        expect(error.outcome).toBe('rolled-back');
        await until('the promise to try its write', () => lines(log).length === 1);
        expect(lines(log)).toEqual(['ContextError']);
        expectNoTransaction(dir);
        expect(committed(dir)).toEqual([]);
      });

      test('its late write is refused while others write, and does not join their transaction', async () => {
        const db = await openLedger(dir, strategy);
        const log = dir.file('late.log');
        const settled = await Promise.allSettled([
          db.api.entries.run('before', ['row']),
          db.api.entries.promised('a', log),
          db.api.entries.run('after', ['row']),
        ]);
        expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
        await until('the promise to try its write', () => lines(log).length === 1);
        expect(lines(log)).toEqual(['ContextError']);
        expect(committed(dir)).toEqual(['before/1', 'after/1']);
      });

      test('an un-run query returned from a handler is refused, and undoes the call', async () => {
        const db = await openLedger(dir, strategy);
        const error = await rejection(db.api.entries.unrun('a'), HandlerError);
        expect(error.message).toMatch(/a query that was not run/);
        expect(committed(dir)).toEqual([]);
      });

      // Made in here, too.
      test.runIf(strategy.inThread)('an asynchronous repository in a synchronous handler is refused', async () => {
        const asynchronous = defineAsyncRepository(entries);
        createLedger(dir.file());
        await using db = await strategy.open({
          file: dir.file(),
          repositories: defineRepositories(import.meta.url, {
            entries: defineRepository(entries, {
              writes: (_, { use }) => ({ go: () => Object.keys(use(asynchronous as never)).length }),
            }),
          }),
        });
        const error = await rejection(db.api.entries.go(), HandlerError);
        expect(error.message).toMatch(/its handlers are asynchronous/);
        expect(error.outcome).toBe('rolled-back');
      });

      test.for([
        'BEGIN',
        'begin immediate',
        '/* quietly */ COMMIT',
        'END TRANSACTION',
        '-- now\nROLLBACK',
        'SAVEPOINT mine',
        'RELEASE sluice',
        'ROLLBACK TO sluice',
        ';commit',
        'PRAGMA query_only = 0',
        'PRAGMA foreign_keys = OFF',
        "ATTACH ':memory:' AS other",
        'VACUUM',
      ])('a raw %s in a handler is refused, and undoes the call alone', async (statement) => {
        const db = await openLedger(dir, strategy);
        await rejection(db.api.entries.execute('lone', statement), HandlerError);
        const settled = await Promise.allSettled([
          db.api.entries.run('before', ['row']),
          db.api.entries.execute('a', statement),
          db.api.entries.run('after', ['row']),
        ]);
        expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
        await rejection(
          db.transaction((api) => api.entries.execute('inside', statement)),
          HandlerError,
        );
        await rejection(db.api.entries.ask(statement), HandlerError);
        expectNoTransaction(dir);
        expect(committed(dir)).toEqual(['before/1', 'after/1']);
      });

      test('a handler’s database and statements are refused after its call', async () => {
        const db = await openLedger(dir, strategy);
        const log = dir.file('late.log');
        await db.api.entries.late('a', log);
        await until('the handler to try two writes', () => lines(log).length === 2);
        expect(lines(log)).toEqual(['ContextError', 'ContextError']);
        expect(committed(dir)).toEqual(['a/1']);
      });

      test('a handler’s database is refused inside somebody else’s open transaction', async () => {
        const db = await openLedger(dir, strategy);
        const log = dir.file('late.log');
        await db.transaction(async (api) => {
          await api.entries.late('a', log);
          await until('the handler to try two writes', () => lines(log).length === 2);
          await api.entries.run('b', ['row']);
        });
        expect(lines(log)).toEqual(['ContextError', 'ContextError']);
        expect(committed(dir)).toEqual(['a/1', 'b/1']);
      });

      // What another thread's factory keeps stays there.
      test.runIf(strategy.inThread)('a database kept by a factory is refused outside any call', async () => {
        let kept: WriteDatabase | undefined;
        let ask: WriteTools['afterCommit'] | undefined;
        createLedger(dir.file());
        const db = await strategy.open({
          file: dir.file(),
          repositories: registryOf((db, tools) => {
            kept = db;
            ask = tools.afterCommit;
            return {};
          }),
        });
        dir.atEnd(() => db.close());
        expect(() => kept?.run(sql`DELETE FROM traps`)).toThrow(ContextError);
        expect(() => kept?.insert(entries).values({ call: 'kept', part: 1 }).run()).toThrow(ContextError);
        expect(() => kept?.transaction(() => 1)).toThrow(ContextError);
        expect(() => ask?.(() => undefined)).toThrow(HandlerError);
        await db.close();
        expect(() => kept?.run(sql`DELETE FROM traps`)).toThrow(ContextError);
        expect(dir.raw().prepare('SELECT kind FROM traps').pluck().all()).toEqual(['taken']);
      });
    });

    describe('at a call', () => {
      test('an unknown method or repository says what there is', async () => {
        const db = await openLedger(dir, strategy);
        const api = db.api as object as Record<string, Record<string, () => Promise<unknown>>>;
        const method = await rejection(api.entries?.cuont?.() ?? Promise.resolve(), UnknownMethodError);
        expect(method.message).toMatch(/did you mean "count"/);
        const repository = await rejection(api.account?.get?.() ?? Promise.resolve(), UnknownMethodError);
        expect(repository.message).toMatch(/did you mean "accounts"/);
        await rejection(
          db.transaction(() => api.entries?.cuont?.() ?? 0),
          UnknownMethodError,
        );
        for (const name of ['then', 'constructor', '__proto__', 'toString']) {
          expect(Object.hasOwn(db.api.entries, name)).toBe(false);
        }
      });

      test('an argument that no method takes is refused, and nothing is written', async () => {
        const db = await openLedger(dir, strategy);
        await rejection(db.api.entries.insert({ call: 'a', part: 1, colour: 'red' } as never), OptionError);
        await rejection(db.api.entries.find({ colour: 'red' } as never), OptionError);
        await rejection(db.api.entries.removeMany({}), OptionError);
        await rejection(db.api.entries.updateMany({}, { part: 2 }), OptionError);
        expect(committed(dir)).toEqual([]);
      });

      test('every kind of call after close is refused', async () => {
        const db = await openLedger(dir, strategy);
        const { entries } = db.api;
        await db.close();
        for (const call of [
          () => entries.run('late'),
          () => db.api.entries.count(),
          () => db.transaction((api) => api.entries.run('late')),
          () => db.snapshot((api) => api.entries.count()),
        ]) {
          const error = await rejection(call(), ClosedError);
          expect(error.code).toBe('SLUICE_CLOSED');
          expect(error.message).toContain(dir.file());
        }
        expect((await rejection(entries.run('late'), ClosedError)).outcome).toBe('not-started');
        expect(committed(dir)).toEqual([]);
      });
    });

    test('a file: URL object and an unusual file name are not misuse', async () => {
      const name = dir.file('a ?#% 100%.db');
      createLedger(name);
      await using db = await openLedger(dir, strategy, { file: pathToFileURL(name) });
      await db.api.entries.run('a', ['row']);
      expect(committed(dir, name)).toEqual(['a/1']);
    });
  });
}
