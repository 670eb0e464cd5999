/**
 * Promise 3 against a power cut: what real processes wrote and synced is recorded with strace, and the power of a modelled
 * disk (`power-cut/disk.ts` has the model) is cut at many moments. Where strace is missing or may not trace, all of it is
 * skipped. `POWER_CUTS=5000` cuts more often, `POWER_CUT_SEED` repeats what chance chose.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { STRATEGIES } from '../support/strategies.ts';
import { type Cut, cutPower } from './power-cut/cuts.ts';
import { obstacleToRecording, record, type Scenario } from './power-cut/record.ts';
import { type DiskEvent } from './power-cut/trace.ts';

const CUTS = Number(process.env.POWER_CUTS ?? 150);
const SEED = Number(process.env.POWER_CUT_SEED ?? Math.floor(Math.random() * 2 ** 32));
const TIMEOUT = 60_000 + 50 * CUTS;

const obstacle = obstacleToRecording();
if (obstacle !== undefined) console.warn(`The power-cut tests are skipped: ${obstacle}.`);

const strategies = (['shared', 'per-context'] as const).filter((name) => STRATEGIES.some((each) => each.name === name));

describe.skipIf(obstacle !== undefined)(`a power cut (POWER_CUT_SEED=${SEED})`, { timeout: TIMEOUT }, () => {
  describe.for(strategies)('%s', (strategy) => {
    const full: Scenario = { strategy, durability: 'full', journal: 'wal', seed: SEED };
    let recorded: DiskEvent[];
    let recordedNormal: DiskEvent[];

    beforeAll(async () => {
      [recorded, recordedNormal] = await Promise.all([record(full), record({ ...full, durability: 'normal' })]);
    }, TIMEOUT);

    test('durability full loses nothing that was acknowledged, and leaves nothing half done', async () => {
      const cuts = await cutPower(recorded, full, CUTS);
      expect(reports(cuts, isUnsound)).toEqual([]);
      expect(reports(cuts, hasLost)).toEqual([]);
    });

    test('durability normal loses acknowledged writes, and leaves nothing half done', async () => {
      const cuts = await cutPower(recordedNormal, { ...full, durability: 'normal' }, CUTS);
      expect(reports(cuts, isUnsound)).toEqual([]);
      expect(reports(cuts, hasLost)).not.toEqual([]);
    });

    test('a disk that syncs nothing is seen to lose and to break', async () => {
      const withoutSyncs = recorded.filter(({ kind }) => kind !== 'sync' && kind !== 'sync-names');
      const cuts = await cutPower(withoutSyncs, full, CUTS);
      expect(reports(cuts, hasLost)).not.toEqual([]);
      expect(reports(cuts, isUnsound)).not.toEqual([]);
    });
  });

  describe('a rollback journal', () => {
    const rollback: Scenario = { strategy: 'shared', durability: 'full', journal: 'rollback', seed: SEED };
    let cuts: Cut[];

    beforeAll(async () => {
      cuts = await cutPower(await record(rollback), rollback, CUTS);
    }, TIMEOUT);

    test('durability full leaves nothing half done', () => {
      expect(reports(cuts, isUnsound)).toEqual([]);
    });

    // SQLite removes the journal to commit, and only synchronous=EXTRA, which the profile then sets, syncs the folder after
    // it; under FULL the journal could come back and undo the commit (https://www.sqlite.org/pragma.html#pragma_synchronous).
    test('durability full loses nothing that was acknowledged', () => {
      expect(reports(cuts, hasLost)).toEqual([]);
    });
  });
});

function reports(cuts: readonly Cut[], filter: (cut: Cut) => boolean): string[] {
  return cuts.filter(filter).map(({ report }) => report);
}

function isUnsound({ half, damage }: Cut): boolean {
  return half.length > 0 || damage.length > 0;
}

function hasLost({ lost }: Cut): boolean {
  return lost.length > 0;
}
