/** A registry whose module opens its database when it is imported, as an application in one file would. */
import { defineRepositories, defineRepository, open } from '../../src/index.ts';
import { isExecutorThread } from '../../src/executor/importing.ts';
import { entries } from './ledger.ts';

export const selfish = defineRepositories(import.meta.url, { entries: defineRepository(entries) });

// Only where it does harm: the test imports this module, too.
if (isExecutorThread()) await open({ file: ':memory:', repositories: selfish, strategy: 'executor' });
