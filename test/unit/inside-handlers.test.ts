import { setImmediate as turn } from 'node:timers/promises';
import { sql } from 'drizzle-orm';
import { describe, expect, test } from 'vitest';
import {
  ContextError,
  type Database,
  defineAsyncRepository,
  defineRepositories,
  defineRepository,
  TransactionEndedError,
} from '../../src/index.ts';
import { createLedger, entries, Refusal } from '../support/ledger.ts';
import { committed, expectNoTransaction } from '../support/open-ledger.ts';
import { IN_THREAD, type StrategyUnderTest } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection } from '../support/waiting.ts';

/** What the handler `run` does after it has inserted its row. */
let inside: () => void = () => undefined;
const effects: string[] = [];

const repositories = defineRepositories(import.meta.url, {
  entries: defineRepository(entries, {
    writes: (db, { afterCommit }) => ({
      run: (call: string) => {
        db.insert(entries).values({ call, part: 1 }).run();
        afterCommit(() => {
          effects.push(call);
        });
        inside();
      },
      /** Catches what ended the whole transaction inside a savepoint of its own. */
      swallow: () => {
        db.transaction((tx) => {
          try {
            tx.run(sql`INSERT INTO traps (kind) VALUES ('rollback')`);
          } catch {
            // As a careless handler does.
          }
        });
      },
    }),
  }),
  awaiting: defineAsyncRepository(entries, {
    writes: (db) => ({
      run: async (call: string) => {
        await db.insert(entries).values({ call, part: 1 });
      },
    }),
  }),
});

const dir = useTempDir();

async function opened(strategy: StrategyUnderTest): Promise<Database<typeof repositories>> {
  createLedger(dir.file());
  effects.length = 0;
  inside = () => undefined;
  const db = await strategy.open({ file: dir.file(), repositories });
  dir.atEnd(() => db.close());
  return db;
}

describe.each(IN_THREAD)('under $title, a handler that a transaction has called', (strategy) => {
  const ways: Record<string, (db: Database<typeof repositories>) => Promise<unknown>> = {
    'a write': (db) => db.api.entries.run('inner'),
    'a read': (db) => db.api.entries.count(),
    'an asynchronous write': (db) => db.api.awaiting.run('inner'),
    'a nested transaction': (db) =>
      db.transaction(async (api) => {
        await turn();
        await api.awaiting.run('inner');
        throw new Refusal('no');
      }),
    'a snapshot': (db) => db.snapshot((api) => api.entries.count()),
  };

  /** Has the next handler call the api in this way, which must be refused, and then do `next`. */
  function callInside(db: Database<typeof repositories>, way: string, next: () => void): { refused: Promise<unknown> } {
    const seen = { refused: Promise.resolve() as Promise<unknown> };
    inside = () => {
      inside = () => undefined;
      seen.refused = rejection(ways[way]?.(db) ?? Promise.resolve(), ContextError);
      next();
    };
    return seen;
  }

  test.each(Object.keys(ways))('may not call the api: %s is refused, and nothing else is touched', async (way) => {
    const db = await opened(strategy);
    const seen = callInside(db, way, () => undefined);
    await db.transaction(async (api) => {
      await api.entries.run('a');
      await seen.refused;
      await api.entries.run('b');
    });
    expect(committed(dir)).toEqual(['a/1', 'b/1']);
    expect(effects).toEqual(['a', 'b']);
  });

  test.each(Object.keys(ways))('and fails after it has called %s is undone whole', async (way) => {
    const db = await opened(strategy);
    const seen = callInside(db, way, () => {
      throw new Refusal('no');
    });
    await db.transaction(async (api) => {
      expect(await rejection(api.entries.run('a'), Refusal)).toMatchObject({ outcome: 'rolled-back' });
      await seen.refused;
      await api.entries.run('b');
    });
    expect(committed(dir)).toEqual(['b/1']);
    expect(effects).toEqual(['b']);
    expectNoTransaction(dir);
  });
});

test.each(IN_THREAD)(
  'under $title a handler whose db.transaction swallows the end of the whole transaction is told so',
  async (strategy) => {
    const db = await opened(strategy);
    expect(await rejection(db.api.entries.swallow(), TransactionEndedError)).toMatchObject({ outcome: 'rolled-back' });
    await db.api.entries.run('a');
    expect(committed(dir)).toEqual(['a/1']);
  },
);
