import { describe, expect, test } from 'vitest';
import { openHostile } from '../support/open-hostile.ts';
import { useTempDir } from '../support/temp-dir.ts';

describe('a read that is known to be short', () => {
  const dir = useTempDir();

  // A machine that others load as well may hold up a short one for once, which then is not known to be short.
  test('goes to the writer while every reader runs a long one', { retry: 2 }, async () => {
    const db = await openHostile(dir, { readers: 1, timeout: 60_000 });
    // The first one prepares its statement, and may be long.
    for (let at = 0; at < 3; at++) await db.api.hostile.listed();
    await db.api.hostile.stuck(1_000_000);
    let over = false;
    const long = db.api.hostile.stuck(6_000_000).then(() => (over = true));
    await db.api.hostile.add('a');
    for (let at = 0; at < 20; at++) expect(await db.api.hostile.listed()).toEqual(['a/1']);
    expect(over, 'the short ones came first').toBe(false);
    await long;
  });

  test('is one also when it was held up for once', async () => {
    const db = await openHostile(dir, { readers: 1, timeout: 60_000 });
    for (const ms of [0, 0, 0, 20]) await db.api.hostile.untilGivenUp(ms);
    await db.api.hostile.stuck(1_000_000);
    let over = false;
    const long = db.api.hostile.stuck(6_000_000).then(() => (over = true));
    await db.api.hostile.untilGivenUp(0);
    expect(over, 'the short one came first').toBe(false);
    await long;
  });

  test('stays on the readers while they have nothing long to do', async () => {
    const db = await openHostile(dir, { readers: 1, timeout: 60_000 });
    for (let at = 0; at < 20; at++) await db.api.hostile.listed();
    let over = false;
    // Nothing is known of it yet: whatever comes in the same turn is sent behind it.
    const long = db.api.hostile.stuck(3_000_000).then(() => (over = true));
    await db.api.hostile.listed();
    expect(over, 'the long one came first').toBe(true);
    await long;
  });
});
