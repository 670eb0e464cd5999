/** The same promises with a connection for each context. */
import { strategiesNamed } from '../support/strategies.ts';
import { contractOf } from './laws.ts';

for (const strategy of strategiesNamed('per-context')) contractOf(strategy);
