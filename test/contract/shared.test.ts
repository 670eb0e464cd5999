/** The promises of the design, held by every strategy. `STRATEGIES=shared` narrows it. */
import { STRATEGIES } from '../support/strategies.ts';
import { contractOf } from './laws.ts';

for (const strategy of STRATEGIES) contractOf(strategy);
