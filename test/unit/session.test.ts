/** The Drizzle database of handlers gives what Drizzle's own driver gives. */
import Sqlite from 'better-sqlite3';
import { and, asc, count, eq, gt, inArray, sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/better-sqlite3';
import { alias, blob, integer, numeric, real, sqliteTable, sqliteView, text, union } from 'drizzle-orm/sqlite-core';
import { describe, expect, test } from 'vitest';
import { ConstraintError, defineRepository, HandlerError, type WriteDatabase } from '../../src/index.ts';
import { openTables } from '../support/open-tables.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection } from '../support/waiting.ts';

const people = sqliteTable('people', {
  id: integer().primaryKey(),
  fullName: text('full_name').notNull(),
  nickname: text(),
  tags: text({ mode: 'json' }).$type<string[]>(),
  born: integer({ mode: 'timestamp_ms' }),
  active: integer({ mode: 'boolean' }).notNull().default(true),
  photo: blob({ mode: 'buffer' }),
  big: blob({ mode: 'bigint' }),
  score: real(),
  price: numeric(),
  boss: integer(),
});
const pets = sqliteTable('pets', {
  id: integer().primaryKey(),
  owner: integer().references(() => people.id),
  /** The same name as in `people`, and nullable: what an outer join leaves out is told from what holds NULL. */
  nickname: text(),
});
const grownUps = sqliteView('grown_ups').as((qb) => qb.select().from(people).where(gt(people.score, 1)));
const boss = alias(people, 'boss');

const DDL = `
  CREATE TABLE people (id INTEGER PRIMARY KEY, full_name TEXT NOT NULL UNIQUE, nickname TEXT, tags TEXT, born INTEGER,
    active INTEGER NOT NULL DEFAULT 1, photo BLOB, big BLOB, score REAL, price NUMERIC, boss INTEGER);
  CREATE TABLE pets (id INTEGER PRIMARY KEY, owner INTEGER REFERENCES people (id), nickname TEXT);
  CREATE VIEW grown_ups AS SELECT * FROM people WHERE score > 1;
  INSERT INTO people VALUES
    (1, 'Ann', 'An', '["a","b"]', 1790000000000, 1, x'0102', x'313233', 1.5, 10.25, NULL),
    (2, 'Bob', NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, 1),
    (3, 'Cat', 'Kitty', '[]', 0, 1, x'', x'2d31', 2, 3, 1);
  INSERT INTO pets VALUES (1, 1, NULL), (2, 1, 'Rex'), (3, NULL, 'Stray');
`;

type Query = (db: WriteDatabase) => unknown;

/** Each runs on our database and on Drizzle's, over the same rows. */
const QUERIES: Record<string, Query> = {
  'all columns': (db) => db.select().from(people).all(),
  'the first row': (db) => db.select().from(people).orderBy(asc(people.id)).get(),
  'no row': (db) => db.select().from(people).where(eq(people.id, 99)).get(),
  'no rows': (db) => db.select().from(people).where(eq(people.id, 99)).all(),
  'rows as arrays': (db) => db.select().from(people).values(),
  'columns under other names': (db) => db.select({ who: people.fullName, labels: people.tags }).from(people).all(),
  'columns under each other’s names': (db) =>
    db.select({ nickname: people.fullName, fullName: people.nickname }).from(people).all(),
  'one column twice': (db) => db.select({ one: people.born, other: people.born }).from(people).all(),
  'a property that objects inherit': (db) =>
    db.select({ constructor: people.id, toString: people.tags }).from(people).all(),
  'an expression': (db) =>
    db
      .select({ n: count(), most: sql<number>`max(${people.score})` })
      .from(people)
      .get(),
  'an expression with a name': (db) =>
    db
      .select({ n: sql<number>`count(*)`.as('n') })
      .from(people)
      .all(),
  'an expression with a decoder': (db) =>
    db
      .select({ born: sql`${people.born}`.mapWith(people.born), id: sql`${people.id}`.mapWith(String) })
      .from(people)
      .all(),
  'nested objects': (db) =>
    db
      .select({ id: people.id, name: { full: people.fullName, nick: people.nickname } })
      .from(people)
      .all(),
  'an inner join': (db) => db.select().from(people).innerJoin(pets, eq(pets.owner, people.id)).all(),
  'a left join': (db) =>
    db.select().from(people).leftJoin(pets, eq(pets.owner, people.id)).orderBy(people.id, pets.id).all(),
  'a right join': (db) => db.select().from(people).rightJoin(pets, eq(pets.owner, people.id)).orderBy(pets.id).all(),
  'a full join': (db) =>
    db.select().from(people).fullJoin(pets, eq(pets.owner, people.id)).orderBy(people.id, pets.id).all(),
  'a join with itself': (db) =>
    db
      .select({ who: people.fullName, boss: boss.fullName })
      .from(people)
      .leftJoin(boss, eq(boss.id, people.boss))
      .all(),
  'an aliased table with all columns': (db) =>
    db.select().from(people).leftJoin(boss, eq(boss.id, people.boss)).orderBy(people.id).all(),
  'fields of a left join in objects of one’s own': (db) =>
    db
      .select({ person: people.fullName, pet: { id: pets.id, name: pets.nickname } })
      .from(people)
      .leftJoin(pets, eq(pets.owner, people.id))
      .orderBy(people.id, pets.id)
      .all(),
  'an expression in the object of a left join': (db) =>
    db
      .select({ person: people.id, pet: { id: pets.id, twice: sql<number>`${pets.id} * 2` } })
      .from(people)
      .leftJoin(pets, eq(pets.owner, people.id))
      .orderBy(people.id, pets.id)
      .all(),
  'objects of two tables’ columns': (db) =>
    db
      .select({ both: { pet: pets.id, person: people.id } })
      .from(people)
      .leftJoin(pets, eq(pets.owner, people.id))
      .orderBy(people.id, pets.id)
      .all(),
  'a subquery': (db) => {
    const named = db
      .select({ id: people.id, label: sql<string>`upper(${people.fullName})`.as('label') })
      .from(people)
      .as('named');
    return db.select().from(named).where(gt(named.id, 1)).all();
  },
  'a common table expression': (db) => {
    const some = db.$with('some').as(db.select().from(people).where(gt(people.id, 1)));
    return db.with(some).select({ id: some.id, tags: some.tags }).from(some).all();
  },
  'a view': (db) => db.select().from(grownUps).all(),
  'a union': (db) =>
    union(db.select({ id: people.id }).from(people), db.select({ id: pets.id }).from(pets))
      .orderBy(sql`id`)
      .all(),
  'distinct values': (db) => db.selectDistinct({ active: people.active }).from(people).orderBy(people.active).all(),
  placeholders: (db) => {
    const query = db
      .select()
      .from(people)
      .where(and(gt(people.id, sql.placeholder('id')), eq(people.fullName, sql.placeholder('name'))))
      .limit(sql.placeholder('limit'))
      .prepare();
    return [
      query.all({ id: 0, name: 'Bob', limit: 5 }),
      query.get({ id: 0, name: 'Ann', limit: 1 }),
      query.all({ id: 1, name: 'Ann', limit: 5 }),
    ];
  },
  'values beside placeholders': (db) => {
    const query = db
      .select({ id: people.id })
      .from(people)
      .where(and(inArray(people.id, [1, 2]), eq(people.fullName, sql.placeholder('name'))))
      .prepare();
    return [query.all({ name: 'Ann' }), query.all({ name: 'Cat' }), query.values({ name: 'Bob' })];
  },
  'a placeholder without a value': (db) => {
    const query = db
      .select()
      .from(people)
      .where(eq(people.id, sql.placeholder('id')))
      .prepare();
    try {
      return query.get({});
    } catch (error) {
      return String(error);
    }
  },
  'the result of execute': (db) => db.select().from(pets).prepare().execute().sync(),
  'SQL of one’s own': (db) => [
    db.all(sql`SELECT full_name, tags FROM people WHERE id = ${1}`),
    db.get(sql`SELECT count(*) AS n FROM people`),
    db.get(sql`SELECT 1 WHERE 0`),
    db.values(sql`SELECT id, id FROM pets`),
  ],
  'an insert': (db) => {
    const { changes, lastInsertRowid } = db
      .insert(pets)
      .values([{ owner: 1 }, { owner: 2, nickname: 'Tom' }])
      .run();
    return [changes, lastInsertRowid, db.select().from(pets).all()];
  },
  'an insert with RETURNING': (db) =>
    db
      .insert(people)
      .values({ fullName: 'Dan', tags: ['x'], born: new Date(5), big: 7n, photo: Buffer.from('p') })
      .returning()
      .all(),
  'an insert that returns some columns': (db) =>
    db
      .insert(people)
      .values({ fullName: 'Eve', tags: ['x'] })
      .returning({ id: people.id, labels: people.tags })
      .get(),
  'an insert with placeholders': (db) => {
    const insert = db
      .insert(people)
      .values({
        fullName: sql.placeholder('name'),
        tags: sql.placeholder('tags'),
        born: sql.placeholder('born'),
        active: sql.placeholder('active'),
      })
      .returning()
      .prepare();
    return [
      insert.get({ name: 'Fay', tags: ['f'], born: new Date(9), active: false }),
      insert.all({ name: 'Gus', tags: [], born: new Date(0), active: true }),
    ];
  },
  'an insert that conflicts': (db) => [
    db.insert(people).values({ id: 1, fullName: 'Ann' }).onConflictDoNothing().returning().all(),
    db
      .insert(people)
      .values({ id: 1, fullName: 'Ann' })
      .onConflictDoUpdate({ target: people.id, set: { nickname: 'Annie' } })
      .returning()
      .get(),
  ],
  'an update': (db) => [
    db
      .update(people)
      .set({ tags: ['u'], active: false })
      .where(eq(people.id, 2))
      .run().changes,
    db
      .update(people)
      .set({ score: sql`coalesce(${people.score}, 0) + 1` })
      .returning({ id: people.id, score: people.score })
      .all(),
  ],
  'a delete': (db) => [db.delete(pets).where(eq(pets.id, 3)).returning().get(), db.delete(pets).run().changes],
  'a nested transaction': (db) => {
    db.transaction((tx) => {
      tx.insert(pets).values({ nickname: 'kept' }).run();
      try {
        tx.transaction((inner) => {
          inner.insert(pets).values({ nickname: 'undone' }).run();
          inner.rollback();
        });
      } catch {
        tx.insert(pets).values({ nickname: 'after' }).run();
      }
    });
    return db.select().from(pets).all();
  },
};

const dir = useTempDir();

async function openPeople() {
  const repository = defineRepository(people, {
    writes: (db) => ({
      query: (name: string): unknown => QUERIES[name]?.(db),
      insertTaken(): string {
        try {
          db.run(sql`INSERT INTO people (full_name) VALUES ('Ann')`);
          return 'inserted';
        } catch (error) {
          return error instanceof ConstraintError ? `${error.kind}: ${String(error.columns)}` : String(error);
        }
      },
      unrun: (): unknown => db.select().from(people).prepare(),
      savepoint: () => db.run(sql.raw('savepoint sp0')).changes,
      petsByName: () =>
        db
          .select({ person: people.id, pet: { name: pets.nickname, id: pets.id } })
          .from(people)
          .leftJoin(pets, eq(pets.owner, people.id))
          .orderBy(people.id, pets.id)
          .all(),
    }),
  });
  return openTables(dir, DDL, { people: repository });
}

describe('a handler’s database', () => {
  for (const [name, query] of Object.entries(QUERIES)) {
    test(`gives for ${name} what Drizzle’s own gives`, async () => {
      const handle = new Sqlite(':memory:');
      handle.exec(DDL);
      const expected = query(drizzle(handle));
      handle.close();
      const { api } = await openPeople();
      expect(await api.people.query(name)).toEqual(expected);
    });
  }

  test('keeps the object of an outer join whose row is there although its first column is NULL', async () => {
    const { api } = await openPeople();
    expect(await api.people.petsByName()).toEqual([
      { person: 1, pet: { name: null, id: 1 } },
      { person: 1, pet: { name: 'Rex', id: 2 } },
      { person: 2, pet: null },
      { person: 3, pet: null },
    ]);
  });

  test('throws what went wrong bare, also from run', async () => {
    const { api } = await openPeople();
    expect(await api.people.insertTaken()).toBe('unique: full_name');
  });

  test('refuses a savepoint of one’s own, whatever its name', async () => {
    const { api } = await openPeople();
    await rejection(api.people.savepoint(), HandlerError);
  });

  test('is seen to have a query that was not run', async () => {
    const { api } = await openPeople();
    await rejection(api.people.unrun(), HandlerError);
  });
});
