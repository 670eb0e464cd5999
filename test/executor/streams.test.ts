/** Streams whose rows another thread reads. */
import { setTimeout as wait } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { TimeoutError } from '../../src/index.ts';
import { collectGarbage } from '../support/garbage.ts';
import { openHostile, type HostileDatabase } from '../support/open-hostile.ts';
import { iterate } from '../support/streaming.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection } from '../support/waiting.ts';

for (const readers of [undefined, 1]) {
  describe(`a stream from another thread, ${readers === undefined ? 'the one that writes' : 'a reader'}`, () => {
    const dir = useTempDir();

    async function openFull(): Promise<HostileDatabase> {
      const db = await openHostile(dir, readers === undefined ? {} : { readers });
      const rows = Array.from({ length: 250 }, (_, at) => ({ call: String(at), part: 1 }));
      await db.api.hostile.insertMany(rows);
      return db;
    }

    test('gives every row once, in order, a batch at a time', async () => {
      const db = await openFull();
      const seen: string[] = [];
      for await (const { call } of db.api.hostile.stream({}, { batch: 40 })) seen.push(call);
      expect(seen).toEqual(Array.from({ length: 250 }, (_, at) => String(at)));
    });

    test('that is consistent gives the rows of one moment, and lets its own loop write', async () => {
      const db = await openFull();
      let seen = 0;
      for await (const { call } of db.api.hostile.stream({}, { batch: 40, consistent: true })) {
        if (seen++ % 50 === 0) await db.api.hostile.add(`${call} again`);
      }
      expect(seen).toBe(250);
      expect(await db.api.hostile.count()).toBe(255);
    });

    test('of a handler that yields gives what it yields, then its error, and ends with a break', async () => {
      const db = await openFull();
      const seen: string[] = [];
      await expect(async () => {
        for await (const row of db.api.hostile.walked(120)) seen.push(row);
      }).rejects.toThrow(new RangeError('far enough'));
      expect(seen).toHaveLength(120);
      for await (const row of db.api.hostile.walked(-1)) {
        expect(row).toBe('0/1');
        break;
      }
      expect(await db.api.hostile.count()).toBe(250);
    });

    test('of a handler leaves nothing in the thread: ended, broken off with its transaction, or forgotten', async () => {
      const db = await openFull();
      const walk = async (ends: (at: number) => Promise<boolean>): Promise<void> => {
        for await (const at of db.api.hostile.weighed()) if (await ends(at)) break;
      };
      const begin = (): Promise<unknown> => iterate(db.api.hostile.weighed()).next();
      for (let round = 0; round < 10; round++) {
        await walk((at) => Promise.resolve(at === 150));
        await rejection(
          db.context({ timeout: 20 }, () => db.transaction(() => walk(() => wait(40, false)))),
          TimeoutError,
        );
        await db.snapshot(begin);
        await begin();
      }
      const left = async (): Promise<number> => {
        collectGarbage();
        await wait(10);
        const threads = Array.from({ length: 4 }, () => db.api.hostile.walks());
        return Math.max(...(await Promise.all(threads)));
      };
      await expect.poll(left, { timeout: 10_000 }).toBe(0);
    });

    test('inside a transaction sees what that has written', async () => {
      const db = await openFull();
      const seen = await db.transaction(async (api) => {
        await api.hostile.add('mine');
        const rows: string[] = [];
        for await (const row of api.hostile.walked(-1)) rows.push(row);
        return rows;
      });
      expect(seen.at(-1)).toBe('mine/1');
    });
  });
}
