import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { afterEach, describe, expect, test } from 'vitest';
import { defineRepositories, defineRepository, open, SluiceError } from '../../src/index.ts';

const notes = sqliteTable('notes', { id: integer().primaryKey(), text: text().notNull() });

/** What the handler does, by name: arguments of the api are plain data. */
const acts: Record<string, () => void> = {
  frozen: () => {
    const error = new SluiceError('SLUICE_OPTION', 'frozen');
    Object.freeze(error);
    throw error;
  },
  effectWithoutPrototype: () => {
    throw Object.create(null) as Error;
  },
};

const announced: string[] = [];
const noteRepository = defineRepository(notes, {
  writes: (db, { afterCommit }) => ({
    add(text: string, act: string) {
      db.insert(notes).values({ text }).run();
      afterCommit(() => {
        announced.push(text);
        if (act === 'effectWithoutPrototype') acts[act]?.();
        if (act === 'effectRejects') return Promise.reject(new Error('later')) as never;
      });
      if (act === 'frozen') acts[act]?.();
      if (act === 'nested') {
        try {
          db.transaction((tx) => {
            tx.insert(notes).values({ text: 'inner' }).run();
            afterCommit(() => {
              announced.push('inner');
            });
            throw new Error('undone');
          });
        } catch {
          // What it asked for must be undone with it.
        }
      }
      return text;
    },
  }),
});
const registry = defineRepositories(import.meta.url, { notes: noteRepository });

let folder: string | undefined;
afterEach(() => {
  announced.length = 0;
  if (folder !== undefined) rmSync(folder, { recursive: true });
});

async function openNotes() {
  folder = mkdtempSync(join(tmpdir(), 'sluice-effects-'));
  const schema = join(folder, 'notes.db');
  const { default: Sqlite } = await import('better-sqlite3');
  const raw = new Sqlite(schema);
  raw.exec('CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)');
  raw.close();
  return open({ file: schema, repositories: registry });
}

describe('errors that cannot be written on, and effects that fail', () => {
  test('a frozen error of one call leaves nobody in its batch waiting', async () => {
    await using db = await openNotes();
    const settled = await Promise.allSettled([db.api.notes.add('a', 'frozen'), db.api.notes.add('b', '')]);
    expect(settled.map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
    expect(await db.api.notes.count()).toBe(1);
  });

  test('an effect that throws what cannot be shown, or whose promise rejects, fails nobody', async () => {
    await using db = await openNotes();
    const calls = ['effectWithoutPrototype', 'effectRejects', ''].map((act) => db.api.notes.add(act, act));
    expect(await Promise.all(calls)).toEqual(['effectWithoutPrototype', 'effectRejects', '']);
    expect(await db.transaction((api) => api.notes.add('x', 'effectWithoutPrototype'))).toBe('x');
    expect(await db.api.notes.count()).toBe(4);
  });

  test('an effect that undone work had asked for does not run', async () => {
    await using db = await openNotes();
    await db.api.notes.add('outer', 'nested');
    expect(announced).toEqual(['outer']);
    expect(await db.api.notes.find()).toEqual([{ id: 1, text: 'outer' }]);
  });
});
