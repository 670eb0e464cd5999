/** The promises of the design, chapter by chapter, held by every strategy. `STRATEGIES=shared` narrows it. */
import { describe } from 'vitest';
import { STRATEGIES } from '../support/strategies.ts';
import { acknowledgedMeansCommitted } from './acknowledged.ts';
import { asyncHandlers } from './async-handlers.ts';
import { atomicCalls } from './atomic-calls.ts';
import { boundedWal } from './bounded-wal.ts';
import { cancellation } from './cancellation.ts';
import { closing } from './closing.ts';
import { contendedFile } from './contended-file.ts';
import { deadlocks } from './deadlocks.ts';
import { isolatedFailures } from './isolated-failures.ts';
import { joinedContexts } from './joined-contexts.ts';
import { longQueues } from './long-queues.ts';
import { misuse } from './misuse.ts';
import { writesNeverHide } from './no-hidden-writes.ts';
import { noZombies } from './no-zombies.ts';
import { readYourWrites } from './read-your-writes.ts';
import { serialisedWrites } from './serialised-writes.ts';
import { stableReads } from './stable-reads.ts';
import { twoDatabases } from './two-databases.ts';
import { waitingCalls } from './waiting-calls.ts';

for (const strategy of STRATEGIES) {
  describe(strategy.name, () => {
    serialisedWrites(strategy);
    atomicCalls(strategy);
    acknowledgedMeansCommitted(strategy);
    isolatedFailures(strategy);
    stableReads(strategy);
    readYourWrites(strategy);
    joinedContexts(strategy);
    deadlocks(strategy);
    writesNeverHide(strategy);
    waitingCalls(strategy);
    longQueues(strategy);
    contendedFile(strategy);
    cancellation(strategy);
    twoDatabases(strategy);
    noZombies(strategy);
    misuse(strategy);
    closing(strategy);
    asyncHandlers(strategy);
    boundedWal(strategy);
  });
}
