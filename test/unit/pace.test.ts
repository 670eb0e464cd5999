import { describe, expect, it } from 'vitest';
import { Pace } from '../../src/executor/pace.ts';

/** A pace that has seen turns of so many requests each. */
function used(requests: number): Pace {
  const pace = new Pace();
  for (let turn = 0; turn < 100; turn++) {
    pace.began(performance.now());
    pace.left(requests, 'end of the turn');
  }
  return pace;
}

describe('the requests of a crowd', () => {
  it('go ahead of their turn when a quarter of those that usually come is there', () => {
    const pace = used(64);
    expect(pace.isDue(15, 0)).toBe(false);
    expect(pace.isDue(16, 0)).toBe(true);
  });

  it('wait for the end of the turn while no crowd was seen', () => {
    expect(new Pace().isDue(100, 0)).toBe(false);
    expect(used(4).isDue(4, 0)).toBe(false);
  });

  it('wait where a second commit takes longer than the thread would be idle', () => {
    expect(used(64).isDue(16, 100)).toBe(false);
  });

  it('count as one turn with those that went ahead of them', () => {
    const pace = used(64);
    for (let turn = 0; turn < 100; turn++) {
      pace.began(performance.now());
      pace.left(16, 'ahead');
      pace.left(48, 'end of the turn');
    }
    expect(pace.isDue(15, 0)).toBe(false);
    expect(pace.isDue(16, 0)).toBe(true);
  });
});
