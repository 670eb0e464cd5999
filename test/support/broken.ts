/** Registries whose factories are not what the types allow. Exported, so that another thread finds them by their names. */
import { defineRepositories, defineRepository, type Registry, type WriteDatabase } from '../../src/index.ts';
import { audit } from '../../schema/index.ts';
import { entries } from './ledger.ts';

function broken(name: string, writes: (db: WriteDatabase) => unknown): Registry {
  // The second repository is there for its name: registries of one module are told apart by the names in them.
  return defineRepositories(import.meta.url, {
    entries: defineRepository(entries, { writes: writes as never }),
    [name]: defineRepository(audit),
  });
}

export const asyncHandler = broken('asyncHandler', () => ({
  async go() {
    await Promise.resolve();
  },
}));

export const noFunction = broken('noFunction', () => ({ go: 42 }));

export const asyncFactory = broken('asyncFactory', () => Promise.resolve({}));

export const runningFactory = broken('runningFactory', (db) => {
  db.insert(entries).values({ call: 'factory', part: 1 }).run();
  return {};
});

export const throwingFactory = broken('throwingFactory', () => {
  throw new TypeError('of its own');
});
