import { pages, reads, writes } from './cases/calls.ts';
import { contexts } from './cases/contexts.ts';
import { durable } from './cases/durable.ts';
import { executor } from './cases/executor.ts';
import { importing } from './cases/importing.ts';
import { latency } from './cases/latency.ts';
import { cycles, opening } from './cases/opening.ts';
import { processes } from './cases/processes.ts';
import { queue } from './cases/queue.ts';
import { transfers } from './cases/transfers.ts';
import { type Case } from './report/case.ts';

/** Every case, in the order in which they run. */
export const cases: readonly Case[] = [
  reads,
  pages,
  writes,
  opening,
  importing,
  cycles,
  durable,
  latency,
  transfers,
  queue,
  executor,
  contexts,
  processes,
];
