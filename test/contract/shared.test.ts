/** The promises of the design, held by every strategy, each in a file of its own: they run side by side. `STRATEGIES=shared` narrows it. */
import { strategiesNamed } from '../support/strategies.ts';
import { contractOf } from './laws.ts';

for (const strategy of strategiesNamed('shared')) contractOf(strategy);
