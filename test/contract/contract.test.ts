/** The promises of the design, chapter by chapter, held by every strategy. `STRATEGIES=shared` narrows it. */
import { describe } from 'vitest';
import { STRATEGIES } from '../support/strategies.ts';
import { acknowledgedMeansCommitted } from './acknowledged.ts';
import { atomicCalls } from './atomic-calls.ts';
import { isolatedFailures } from './isolated-failures.ts';
import { writesNeverHide } from './no-hidden-writes.ts';
import { readYourWrites } from './read-your-writes.ts';
import { serialisedWrites } from './serialised-writes.ts';
import { stableReads } from './stable-reads.ts';

for (const strategy of STRATEGIES) {
  describe(strategy.name, () => {
    serialisedWrites(strategy);
    atomicCalls(strategy);
    acknowledgedMeansCommitted(strategy);
    isolatedFailures(strategy);
    stableReads(strategy);
    readYourWrites(strategy);
    writesNeverHide(strategy);
  });
}
