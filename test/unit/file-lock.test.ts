import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { FileLock } from '../../src/lanes/file-lock.ts';

/** Refused for so long, with looks every few milliseconds, while nobody commits; the last delay. */
async function refusedFor(lock: FileLock, time: number, version: number): Promise<number> {
  const until = performance.now() + time;
  let delay = lock.refused(version);
  while (performance.now() < until) {
    await sleep(5);
    delay = lock.refused(version);
  }
  return delay;
}

describe("The share of SQLite's lock", () => {
  test('whom nobody refused gives way to nobody', async () => {
    const lock = new FileLock();
    lock.taken();
    await sleep(30);
    lock.released();
    expect(lock.pause).toBe(0);
  });

  test('who has waited gives way when it has had its part of a round, and not before', async () => {
    const lock = new FileLock();
    lock.refused(1);
    lock.taken();
    lock.released();
    expect(lock.pause).toBe(0);
    lock.taken();
    await sleep(30);
    lock.released();
    expect(lock.pause).toBeGreaterThan(0);
    await sleep(5);
    expect(lock.pause).toBe(0);
  });

  test('who gave way and was refused by nobody since soon gives way no more', async () => {
    const lock = new FileLock();
    lock.refused(1);
    lock.taken();
    await sleep(120);
    lock.released();
    expect(lock.pause).toBe(0);
  });

  test('looks become rare while nobody commits, and the first commit of another makes them frequent', async () => {
    const lock = new FileLock();
    expect(lock.refused(1)).toBe(1);
    expect(await refusedFor(lock, 100, 1)).toBeGreaterThan(5);
    expect(lock.refused(2)).toBe(1);
  });

  test('a wait that was given up is no part of the next one', async () => {
    const lock = new FileLock();
    await refusedFor(lock, 60, 1);
    await sleep(150);
    expect(lock.refused(1)).toBe(1);
  });

  test('who usually waits long sleeps through most of it', async () => {
    const lock = new FileLock();
    for (let turn = 1; turn <= 12; turn++) {
      lock.refused(turn);
      await sleep(15);
      lock.taken();
      lock.released();
    }
    const delay = lock.refused(100);
    expect(delay).toBeGreaterThan(4);
    expect(delay).toBeLessThan(25);
  });
});
