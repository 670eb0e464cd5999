/** The law of a contended file, for every strategy: in a file of its own, so that only one fight at a time is measured. */
import { describe } from 'vitest';
import { STRATEGIES } from '../support/strategies.ts';
import { contendedFile } from './contended-file.ts';

for (const strategy of STRATEGIES) {
  describe(strategy.title, () => {
    contendedFile(strategy);
  });
}
