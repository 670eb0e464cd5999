/** The same promises through a port from another thread. */
import { strategiesNamed } from '../support/strategies.ts';
import { contractOf } from './laws.ts';

for (const strategy of strategiesNamed('port')) contractOf(strategy);
