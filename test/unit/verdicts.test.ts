import { sql } from 'drizzle-orm';
import { expect, test } from 'vitest';
import { AbortError, ConstraintError, defineRepositories, defineRepository, TimeoutError } from '../../src/index.ts';
import { createLedger, entries } from '../support/ledger.ts';
import { committed } from '../support/open-ledger.ts';
import { IN_THREAD } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection } from '../support/waiting.ts';

/** What happens while the second handler runs, as it would from another thread. */
let meanwhile: () => void;

const repositories = defineRepositories(import.meta.url, {
  entries: defineRepository(entries, {
    writes: (db) => ({
      clear: () => {
        db.delete(entries).run();
      },
      /** Inserts its row, and then ends the whole transaction. */
      poison: (call: string) => {
        meanwhile();
        db.insert(entries).values({ call, part: 1 }).run();
        db.run(sql`INSERT INTO traps (kind) VALUES ('rollback')`);
      },
    }),
  }),
});

const dir = useTempDir();

// | first caller     | second caller                                    |
// |------------------|--------------------------------------------------|
// | deletes the row  |                                                  |
// |                  | finds its name free, and ends their transaction  |
// | is aborted       |                                                  |
// |                  | must be told that its name is taken: it still is |
test.each(IN_THREAD)(
  'under $title a call that ends everybody’s transaction fails with what is committed, not with what others gave up',
  async (strategy) => {
    createLedger(dir.file());
    const db = await strategy.open({ file: dir.file(), repositories, batch: { slice: 10_000 } });
    dir.atEnd(() => db.close());
    await db.api.entries.insert({ call: 'a', part: 1 });
    const controller = new AbortController();
    meanwhile = () => {
      controller.abort();
    };
    const cleared = db.context({ signal: controller.signal }, () => db.api.entries.clear());
    const poisoned = rejection(db.api.entries.poison('a'), ConstraintError);
    expect(await rejection(cleared, AbortError)).toMatchObject({ outcome: 'rolled-back' });
    expect(await poisoned).toMatchObject({ kind: 'unique', outcome: 'rolled-back' });
    expect(committed(dir)).toEqual(['a/1']);
  },
);

// | first caller       | second caller                                                |
// |--------------------|--------------------------------------------------------------|
// | inserts a row      |                                                              |
// |                    | passes its own deadline, and ends their transaction          |
// | runs again, is kept|                                                              |
// |                    | has no time to run again: it says that it ran, and what came |
test.each(IN_THREAD)(
  'under $title a call whose time is over before it can run again says that it had run',
  async (strategy) => {
    createLedger(dir.file());
    const db = await strategy.open({ file: dir.file(), repositories, batch: { slice: 10_000 } });
    dir.atEnd(() => db.close());
    meanwhile = () => {
      const end = performance.now() + 60;
      while (performance.now() < end);
    };
    const inserted = db.api.entries.insert({ call: 'a', part: 1 });
    const poisoned = db.context({ timeout: 30 }, () => rejection(db.api.entries.poison('b'), TimeoutError));
    await inserted;
    const error = await poisoned;
    expect(error).toMatchObject({ outcome: 'rolled-back' });
    expect(error.message).toMatch(/^entries\.poison: had run, was undone with the transaction that it shared/);
    expect(error.cause).toBeInstanceOf(ConstraintError);
    expect(committed(dir)).toEqual(['a/1']);
  },
);
