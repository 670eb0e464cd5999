/** The same promises, where each test starts a thread. */
import { strategiesNamed } from '../support/strategies.ts';
import { contractOf } from './laws.ts';

for (const strategy of strategiesNamed('executor')) contractOf(strategy);
