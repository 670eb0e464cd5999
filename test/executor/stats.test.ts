/** What a database of another thread says of itself. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { openHostile } from '../support/open-hostile.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { until } from '../support/waiting.ts';

const dir = useTempDir();

test('figures follow the end of a call as they follow its beginning', async () => {
  const db = await openHostile(dir);
  await db.transaction(async (api) => {
    await api.hostile.add('a');
    // Longer than the figures wait for, so that those of the beginning are here.
    await sleep(100);
  });
  const since = performance.now();
  await until('the commit to be counted', () => db.stats().writes?.commits === 1);
  expect(performance.now() - since, 'ms').toBeLessThan(1000);
});
