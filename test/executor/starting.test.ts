/** Promise 10 for a thread that is started: it is waited for, and not for ever. */
import { describe, expect, test } from 'vitest';
import { ExecutorError } from '../../src/index.ts';
import { OwningThread } from '../../src/executor/thread.ts';
import { openHostile } from '../support/open-hostile.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection } from '../support/waiting.ts';

const dir = useTempDir();

test('a registry whose import never ends is ended, and explained', async () => {
  const registry = new URL('../support/endless.ts', import.meta.url).href;
  const thread = new OwningThread({
    start: { registry, names: ['entries'], behind: false, options: { file: dir.file() } },
    name: 'endless',
    resourceLimits: undefined,
    restart: 'always',
    importWithin: 300,
  });
  const error = await rejection(thread.start(), ExecutorError);
  expect(error.message).toMatch(/died while it was importing .*endless\.ts.*had not ended after 300 ms/);
  await thread.close();
});

describe('threads of which one cannot open', () => {
  test('are all ended, and the error is that of the one', async () => {
    const opening = openHostile(dir, { readers: 2, pragmas: { no_such_pragma: 1 } });
    expect((await rejection(opening, Error)).message).toMatch(/no_such_pragma/);
    expect(dir.descriptors()).toEqual([]);
  });

  test('a database whose file has no WAL has no threads that read', async () => {
    const db = await openHostile(dir, { readers: 2, file: ':memory:' });
    expect(db.decision.strategy).toBe('executor');
    expect(await db.close()).toEqual({ abandoned: [] });
  });
});
