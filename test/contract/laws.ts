import { describe } from 'vitest';
import { type StrategyUnderTest } from '../support/strategies.ts';
import { acknowledgedMeansCommitted } from './acknowledged.ts';
import { asyncHandlers } from './async-handlers.ts';
import { atomicCalls } from './atomic-calls.ts';
import { boundedWal } from './bounded-wal.ts';
import { cancellation } from './cancellation.ts';
import { closing } from './closing.ts';
import { closingInside } from './closing-inside.ts';
import { deadlocks } from './deadlocks.ts';
import { handlerStreams } from './handler-streams.ts';
import { isolatedFailures } from './isolated-failures.ts';
import { joinedContexts } from './joined-contexts.ts';
import { knownOutcomes } from './known-outcomes.ts';
import { largeStreams } from './large-streams.ts';
import { longQueues } from './long-queues.ts';
import { misuse } from './misuse.ts';
import { writesNeverHide } from './no-hidden-writes.ts';
import { noZombies } from './no-zombies.ts';
import { readYourWrites } from './read-your-writes.ts';
import { serialisedWrites } from './serialised-writes.ts';
import { stableReads } from './stable-reads.ts';
import { streams } from './streams.ts';
import { twoDatabases } from './two-databases.ts';
import { waitingCalls } from './waiting-calls.ts';

/** The promises of the design, chapter by chapter, as one strategy has to hold them. */
export function contractOf(strategy: StrategyUnderTest): void {
  describe(strategy.title, () => {
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
    knownOutcomes(strategy);
    noZombies(strategy);
    misuse(strategy);
    closing(strategy);
    closingInside(strategy);
    asyncHandlers(strategy);
    boundedWal(strategy);
    streams(strategy);
    handlerStreams(strategy);
    twoDatabases(strategy);
    // Two of these ask for one reader, whatever the strategy has, and the third tells nothing more with two than without.
    if (strategy.title === 'executor-readers') return;
    largeStreams(strategy);
    cancellation(strategy);
    longQueues(strategy);
  });
}
