/** The model of the disk under the power cuts: what it keeps, and all that it may do to the rest. */
import { describe, expect, test } from 'vitest';
import { Chance } from './power-cut/chance.ts';
import { Disk } from './power-cut/disk.ts';
import { type DiskEvent } from './power-cut/trace.ts';

const create: DiskEvent = { kind: 'create', name: 'f' };
const remove: DiskEvent = { kind: 'remove', name: 'f' };
const sync: DiskEvent = { kind: 'sync', name: 'f' };
const syncNames: DiskEvent = { kind: 'sync-names' };

/** Writes whole sectors from the given one on, each filled with a letter of the text. */
function write(sector: number, letters: string): DiskEvent {
  const bytes = Buffer.concat(Array.from(letters, (letter) => Buffer.alloc(512, letter)));
  return { kind: 'write', name: 'f', at: sector * 512, bytes };
}

function truncate(sectors: number): DiskEvent {
  return { kind: 'truncate', name: 'f', length: sectors * 512 };
}

describe('after a power cut', () => {
  test('what was synced with its name is there, and nothing else', () => {
    expect(outcomes([create, write(0, 'ab'), sync, syncNames])).toEqual(['ab']);
  });

  test('a file whose name was not synced may be missing, with all that was synced of it', () => {
    expect(outcomes([create, write(0, 'ab'), sync])).toEqual(['ab', 'missing']);
  });

  test('a removal that was not synced may be undone', () => {
    expect(outcomes([create, write(0, 'ab'), sync, syncNames, remove])).toEqual(['ab', 'missing']);
    expect(outcomes([create, write(0, 'ab'), sync, syncNames, remove, syncNames])).toEqual(['missing']);
  });

  test('a name stands for the file before or the file after, each with its own content', () => {
    const events = [create, write(0, 'ab'), sync, syncNames, remove, create, write(0, 'cd'), sync];
    expect(outcomes(events)).toEqual(['ab', 'cd', 'missing']);
  });

  test('a write that was not synced is there, or not, or torn between sectors', () => {
    expect(outcomes([create, write(0, 'ab'), sync, syncNames, write(0, 'cd')])).toEqual(['ab', 'ad', 'cb', 'cd']);
  });

  test('a later write may survive an earlier one, and an older state a newer one', () => {
    const events = [create, write(0, 'ab'), sync, syncNames, write(0, 'c'), write(1, 'd'), write(0, 'e')];
    expect(outcomes(events)).toEqual(['ab', 'ad', 'cb', 'cd', 'eb', 'ed']);
  });

  test('a file that grew may be as long and hold zeros, or what was there before', () => {
    expect(outcomes([create, write(0, 'a'), sync, syncNames, write(1, 'b')])).toEqual(['a', 'a0', 'a?', 'ab']);
  });

  test('what a truncation cut off is from before it or from after it', () => {
    const before = [create, write(0, 'abc'), sync, syncNames];
    expect(outcomes([...before, truncate(1)])).toEqual(['a', 'abc']);
    expect(outcomes([...before, truncate(1), write(1, 'de')])).toEqual([
      ...['a', 'a00', 'a0e', 'a??', 'a?e', 'abc', 'ad0', 'ad?', 'ade'],
    ]);
  });

  test('a sector that was written in part keeps the bytes beside it', () => {
    const part: DiskEvent = { kind: 'write', name: 'f', at: 100, bytes: Buffer.from('x') };
    const disk = new Disk();
    for (const event of [create, write(0, 'a'), sync, syncNames, part, sync]) disk.apply(event);
    const expected = Buffer.alloc(512, 'a');
    expected.write('x', 100);
    expect(disk.afterPowerCut(new Chance(1)).get('f')).toEqual(expected);
  });
});

/** Everything that a great many cuts leave of the file: a letter for each sector, 0 for zeros and ? for foreign data. */
function outcomes(events: readonly DiskEvent[]): string[] {
  const disk = new Disk();
  for (const event of events) disk.apply(event);
  const chance = new Chance(7);
  const seen = new Set<string>();
  for (let cut = 0; cut < 3000; cut++) seen.add(inLetters(disk.afterPowerCut(chance).get('f')));
  return [...seen].sort();
}

function inLetters(content: Buffer | undefined): string {
  if (content === undefined) return 'missing';
  expect(content.length % 512).toBe(0);
  const sectors = Array.from({ length: content.length / 512 }, (_, at) => content.subarray(at * 512, (at + 1) * 512));
  return sectors.map((sector) => letterOf(sector)).join('');
}

function letterOf(sector: Buffer): string {
  const [first = 0] = sector;
  if (sector.some((byte) => byte !== first)) return '?';
  return first === 0 ? '0' : String.fromCharCode(first);
}
