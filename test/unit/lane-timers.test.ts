import { expect, test } from 'vitest';
import { IN_THREAD } from '../support/strategies.ts';
import { openLedger } from '../support/open-ledger.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { gate, rejection } from '../support/waiting.ts';

const dir = useTempDir();

function timers(): number {
  return process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
}

// | a transaction  | another caller               |
// |----------------|------------------------------|
// | holds the lane |                              |
// |                | waits, with a deadline       |
// |                | is aborted: nobody waits now |
// | ends           |                              |
test.each(IN_THREAD)('under $title a lane for which nobody waits any more keeps no timer', async (strategy) => {
  const db = await openLedger(dir, strategy);
  await db.api.entries.run('first', ['row']);
  const [begun, held] = [gate(), gate()];
  const transaction = db.transaction(async () => {
    begun.open();
    await held.passed;
  });
  await begun.passed;
  const before = timers();
  const controller = new AbortController();
  const waiting = db.context({ signal: controller.signal }, () => db.api.entries.run('second', ['row']));
  expect(timers(), 'somebody watches its deadline').toBe(before + 1);
  controller.abort();
  await rejection(waiting, Error);
  expect(timers()).toBe(before);
  held.open();
  await transaction;
});
