/** Threads that only read, beside the one that writes. */
import { describe, expect, test } from 'vitest';
import { ExecutorError } from '../../src/index.ts';
import { openHostile } from '../support/open-hostile.ts';
import { committed } from '../support/open-ledger.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection } from '../support/waiting.ts';

describe('reader threads', () => {
  const dir = useTempDir();

  test('see every write that was acknowledged, on whichever of them a read lands', async () => {
    const db = await openHostile(dir, { readers: 2 });
    for (let at = 1; at <= 50; at++) {
      await db.api.hostile.add(String(at));
      const seen = await Promise.all([1, 2, 3, 4].map(() => db.api.hostile.listed()));
      expect(seen.map(({ length }) => length)).toEqual([at, at, at, at]);
    }
  });

  test('answer short reads while a long one runs, once it is known to be long', async () => {
    const db = await openHostile(dir, { readers: 2 });
    await db.api.hostile.stuck(1_000_000);
    let over = false;
    const long = db.api.hostile.stuck(6_000_000).then(() => (over = true));
    for (let at = 0; at < 20; at++) await db.api.hostile.listed();
    expect(over, 'the short ones came first').toBe(false);
    await long;
  });

  test('do not keep the writer from writing while they read', async () => {
    const db = await openHostile(dir, { readers: 1 });
    let over = false;
    const long = db.api.hostile.stuck(6_000_000).then(() => (over = true));
    await db.api.hostile.add('a');
    expect(over).toBe(false);
    await long;
    expect(committed(dir)).toEqual(['a/1']);
  });

  test('of which one dies are replaced, and the reads that had not begun are answered', async () => {
    const db = await openHostile(dir, { readers: 1 });
    const fatal = rejection(db.api.hostile.readAndExit(), ExecutorError);
    const queued = [db.api.hostile.listed(), db.api.hostile.listed()];
    const write = db.api.hostile.add('a');
    await fatal;
    await write;
    for (const rows of await Promise.all(queued)) expect(rows.length).toBeLessThanOrEqual(1);
    expect(await db.api.hostile.listed()).toEqual(['a/1']);
  });
});
