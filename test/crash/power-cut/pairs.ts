/** What is written under a power cut: calls that leave a row in each of two tables, which must agree. */
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { defineRepositories, defineRepository } from '../../../src/index.ts';

const lefts = sqliteTable('lefts', { id: text().primaryKey(), body: text().notNull() });
const rights = sqliteTable('rights', { id: text().primaryKey(), body: text().notNull() });

/** What a handler throws between its two rows. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
}

const leftRepository = defineRepository(lefts, {
  writes: (db, { use }) => ({
    /** Inserts both rows, or fails between them. */
    pair(id: string, refused: boolean) {
      db.insert(lefts)
        .values({ id, body: bodyOf(id) })
        .run();
      if (refused) throw new Refusal(id);
      use(rightRepository).add(id);
    },
  }),
});

const rightRepository = defineRepository(rights, {
  writes: (db) => ({
    add: (id: string) =>
      db
        .insert(rights)
        .values({ id, body: bodyOf(id) })
        .run().changes,
  }),
});

export const pairs = defineRepositories(import.meta.url, { lefts: leftRepository, rights: rightRepository });

export const migrations = fileURLToPath(new URL('migrations', import.meta.url));

/** A row is told by its body, so that one that was put together from two states is found out. */
export function bodyOf(id: string): string {
  return createHash('sha256').update(id).digest('hex').repeat(4);
}
