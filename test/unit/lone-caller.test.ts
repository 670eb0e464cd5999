/** A caller that has been alone for a while: its call runs at once, and must keep every law that a batch keeps. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { getEventListeners } from 'node:events';
import { sql } from 'drizzle-orm';
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { describe, expect, test } from 'vitest';
import { defineRepositories, defineRepository, open, TimeoutError } from '../../src/index.ts';
import { type Step } from '../support/ledger.ts';
import { committed, expectNoTransaction, openLedger } from '../support/open-ledger.ts';
import { startPeer } from '../support/peer.ts';
import { IN_THREAD } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection, turns } from '../support/waiting.ts';

const caller = new AsyncLocalStorage<string>();
const heard: string[] = [];
let next: (() => void) | undefined;

const notes = sqliteTable('notes', { id: integer().primaryKey(), text: text().notNull() });
const noteRepository = defineRepository(notes, {
  reads: () => ({
    calling: () => {
      next?.();
      return 'called';
    },
  }),
  writes: (db, { afterCommit }) => {
    const insert = db
      .insert(notes)
      .values({ text: sql.placeholder('text') })
      .prepare();
    return {
      add(text: string) {
        insert.run({ text });
        heard.push(`handler of ${caller.getStore() ?? 'nobody'}`);
        afterCommit(() => {
          heard.push(`effect of ${caller.getStore() ?? 'nobody'}`);
          next?.();
        });
      },
    };
  },
});
const registry = defineRepositories(import.meta.url, { notes: noteRepository });

for (const strategy of IN_THREAD) {
  describe(`a caller that has been alone, ${strategy.name}`, () => {
    const dir = useTempDir();

    async function openNotes() {
      const file = dir.file('notes.db');
      const raw = dir.raw(file);
      raw.exec('CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)');
      raw.close();
      const db = await open({ file, repositories: registry, strategy: strategy.name, durability: 'normal' });
      dir.atEnd(() => db.close());
      next = undefined;
      for (let at = 0; at < 20; at++) await db.api.notes.add('before');
      heard.length = 0;
      return db;
    }

    async function openEntries() {
      const db = await openLedger(dir, strategy);
      for (let at = 0; at < 20; at++) await db.api.entries.run(`before-${at}`, ['row']);
      await db.api.entries.clear();
      // The lane may just be letting the event loop turn.
      await turns(2);
      return db;
    }

    test('finds its write on the disk when the call returns, before it awaits', async () => {
      const db = await openEntries();
      const call = db.api.entries.run('a', ['row']);
      expect(committed(dir)).toEqual(['a/1']);
      await call;
    });

    test('leaves no listener at its signal', async () => {
      const db = await openEntries();
      const { signal } = new AbortController();
      for (let at = 0; at < 50; at++) {
        await db.context({ signal }, () => db.api.entries.run(`signal-${at}`, ['row']));
      }
      expect(getEventListeners(signal, 'abort')).toEqual([]);
    });

    test('shares the second commit of a burst with all but the first of it', async () => {
      const db = await openEntries();
      const before = db.stats().writes?.commits ?? 0;
      await Promise.all(Array.from({ length: 50 }, (_, at) => db.api.entries.run(`c${at}`, ['row'])));
      expect(db.stats().writes?.commits).toBe(before + 2);
      expect(committed(dir)).toEqual(Array.from({ length: 50 }, (_, at) => `c${at}/1`));
    });

    test.for<Step>(['again', 'throw', 'abort', 'fail', 'rollback', 'or-rollback', 'orphan', 'caught rollback'])(
      'loses nothing but its own call when that fails (%s)',
      async (step) => {
        const db = await openEntries();
        await db.api.entries.run('a', ['row']);
        const error = await rejection(db.api.entries.run('bad', ['row', 'note', step], dir.file('log')), Error);
        expect(error).toHaveProperty('outcome', 'rolled-back');
        if (step === 'orphan') expect(error).toHaveProperty('kind', 'foreign-key');
        expectNoTransaction(dir);
        await db.api.entries.run('b', ['row']);
        expect(committed(dir)).toEqual(['a/1', 'b/1']);
      },
    );

    test('waits for another process, and for no longer than its deadline', async () => {
      const db = await openEntries();
      const peer = await startPeer(dir);
      await peer.ask({ kind: 'lock' });
      const late = await rejection(
        db.context({ timeout: 50 }, () => db.api.entries.run('late', ['row'])),
        TimeoutError,
      );
      expect(late.outcome).toBe('not-started');
      const waiting = db.api.entries.run('a', ['row']);
      await peer.ask({ kind: 'unlock' });
      await waiting;
      expect(committed(dir)).toEqual(['a/1']);
    });

    test('has its own async context in the handler and in the effect', async () => {
      const db = await openNotes();
      await caller.run('ann', () => db.api.notes.add('a'));
      await caller.run('bob', () => db.api.notes.add('b'));
      expect(heard).toEqual(['handler of ann', 'effect of ann', 'handler of bob', 'effect of bob']);
    });

    test('may write in an effect, over and over, without end and without the stack growing', async () => {
      const db = await openNotes();
      let left = 5000;
      const done = new Promise<void>((resolve, reject) => {
        next = () => {
          if (left-- === 0) resolve();
          else db.api.notes.add('chain').catch(reject);
        };
      });
      await db.api.notes.add('first');
      await done;
      expect(await db.api.notes.count({ text: 'chain' })).toBe(5000);
    });

    test('waits for the end of a read handler out of which the api was called', async () => {
      const db = await openNotes();
      let write: Promise<void> | undefined;
      next = () => {
        next = undefined;
        write = db.api.notes.add('from a read');
      };
      expect(await db.api.notes.calling()).toBe('called');
      await write;
      expect(await db.api.notes.count({ text: 'from a read' })).toBe(1);
    });

    test('lets timers run while it writes on and on', async () => {
      const db = await openEntries();
      let longest = 0;
      let last = performance.now();
      const timer = setInterval(() => {
        const now = performance.now();
        longest = Math.max(longest, now - last);
        last = now;
      }, 1);
      const until = performance.now() + 400;
      for (let at = 0; performance.now() < until; at++) await db.api.entries.run(`c${at}`, ['row']);
      clearInterval(timer);
      expect(longest).toBeLessThan(100);
      expect(last).toBeGreaterThan(until - 100);
    });
  });
}
