/** Promises 7 and 10 where of two databases one is of this thread and one of another, and all callbacks run here. */
import { describe, expect, test } from 'vitest';
import { DeadlockError } from '../../src/index.ts';
import { type LedgerDatabase } from '../support/ledger.ts';
import { committed, openLedger } from '../support/open-ledger.ts';
import { type StrategyUnderTest, strategiesNamed } from '../support/strategies.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { expectBlocked, gate, rejection } from '../support/waiting.ts';

const far = strategiesNamed('executor');
const near = strategiesNamed('per-context');

describe.runIf(far.length + near.length === 2)('a circle through a thread', () => {
  const dir = useTempDir();

  async function openBoth(): Promise<{ here: LedgerDatabase; there: LedgerDatabase }> {
    const [executor, perContext] = [...far, ...near] as [StrategyUnderTest, StrategyUnderTest];
    const there = await openLedger(dir, executor, { file: dir.file('there.db'), timeout: 60_000, readers: 1 });
    const here = await openLedger(dir, perContext, { file: dir.file('here.db'), timeout: 60_000, readers: 1 });
    return { here, there };
  }

  test.for(['here', 'there'] as const)('is refused at once to whoever closes it: %s', async (last) => {
    const { here, there } = await openBoth();
    const [first, second] = last === 'here' ? [there, here] : [here, there];
    const [inFirst, inSecond] = [gate(), gate()];
    const one = first.transaction(async (api) => {
      await api.entries.run('one', ['row']);
      inFirst.open();
      await inSecond.passed;
      await second.api.entries.run('one', ['row']);
    });
    const two = second.transaction(async (api) => {
      await inFirst.passed;
      await api.entries.run('two', ['row']);
      inSecond.open();
      await expectBlocked(one);
      const error = await rejection(first.api.entries.run('two', ['row']), DeadlockError);
      expect(error).toMatchObject({ outcome: 'not-started' });
      expect(error.cycle).toHaveLength(3);
    });
    await Promise.all([one, two]);
    const [kept, other] = last === 'here' ? ['there.db', 'here.db'] : ['here.db', 'there.db'];
    expect(committed(dir, dir.file(kept))).toEqual(['one/1']);
    expect(committed(dir, dir.file(other))).toEqual(['two/1', 'one/1']);
  });

  test('is none while somebody in it waits for nobody, and calls in flight leave nothing behind', async () => {
    const { here, there } = await openBoth();
    for (let round = 0; round < 3; round++) {
      await here.transaction(async (api) => {
        await api.entries.run(`here-${round}`, ['row']);
        await Promise.all([
          there.api.entries.run(`there-${round}`, ['row']),
          there.api.entries.count(),
          there.snapshot((reading) => reading.entries.count()),
        ]);
        await there.transaction((writing) => writing.entries.run(`again-${round}`, ['row']));
      });
      await there.transaction(() => here.api.entries.run(`back-${round}`, ['row']));
    }
    expect(committed(dir, dir.file('there.db'))).toHaveLength(6);
    expect(committed(dir, dir.file('here.db'))).toHaveLength(6);
  });

  test('of closes is refused as one of calls is', async () => {
    const { here, there } = await openBoth();
    const begun = gate();
    const one = here.transaction(async () => {
      await begun.passed;
      return there.close();
    });
    await there.transaction(async () => {
      begun.open();
      await expectBlocked(one);
      await rejection(here.close(), DeadlockError);
    });
    expect(await one).toEqual({ abandoned: [] });
  });
});
