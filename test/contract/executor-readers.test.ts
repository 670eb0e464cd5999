/** The same promises, where each test starts three threads. */
import { strategiesNamed } from '../support/strategies.ts';
import { contractOf } from './laws.ts';

for (const strategy of strategiesNamed('executor-readers')) contractOf(strategy);
