import { describe, expect, test } from 'vitest';
import { SlowCalls } from '../../src/observe/slow-calls.ts';

describe('advice', () => {
  test('is none for calls that are short, or long once', () => {
    const slow = new SlowCalls();
    for (let at = 0; at < 5000; at++) slow.note('accounts.get', 0.01);
    slow.note('accounts.report', 300);
    expect(slow.advice('event loop')).toEqual([]);
  });

  test('names a call that held up the event loop twice within a minute', () => {
    const slow = new SlowCalls();
    slow.note('accounts.report', 30);
    slow.note('accounts.get', 20);
    slow.note('accounts.report', 45.4);
    expect(slow.advice('event loop')).toEqual([
      expect.stringMatching(/^accounts\.report held up the event loop .* 2 times so far and 45 ms .*'heavy: true'/),
    ]);
  });

  test('of a thread of its own is to do without it, where it runs short queries only', () => {
    const slow = new SlowCalls();
    for (let at = 0; at < 999; at++) slow.note('accounts.get', 0.01);
    expect(slow.advice('thread of its own')).toEqual([]);
    slow.note('accounts.get', 0.01);
    expect(slow.advice('thread of its own')).toEqual([
      expect.stringMatching(/1000 calls, 0 of them for 1 ms or longer.*'per-context' is faster/),
    ]);
    // The first call of a thread runs cold.
    for (const took of [5, 1]) slow.note('accounts.get', took);
    expect(slow.advice('thread of its own')).toHaveLength(1);
    slow.note('accounts.report', 5);
    expect(slow.advice('thread of its own')).toEqual([]);
  });
});
