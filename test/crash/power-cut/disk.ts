/**
 * What a disk may hold after the power went, given what was written and synced before.
 *
 * 1. A write or a truncation changes the file as processes see it. What the disk holds of it is not known.
 * 2. When fsync or fdatasync of a file has returned, its content and length are certain as they are then. That says nothing
 *    about its name.
 * 3. When fsync of the folder has returned, the names are certain as they are then. That says nothing about contents.
 * 4. At the cut each 512-byte sector of a file holds, whatever its neighbours do, one of the states that it has been in since
 *    (2). The kernel may write any page back at any time and in any order, so a long write is torn, and a later write
 *    survives an earlier one.
 * 5. The length is one of those since (2). A sector within it that never reached the disk reads as zeros, and in some cuts
 *    as whatever the disk held there before.
 * 6. Truncations of one file reach the disk in order, each whole: of what one cut off, sectors from before it and from
 *    after it do not mix.
 * 7. Each name, whatever the others do, stands for one of the files (or none) that it has stood for since (3). A creation
 *    may be missing, and a removal may be undone.
 *
 * This is the least that POSIX promises. What ext4 may leave behind (names in order, a new file's name with its first fsync,
 * no foreign data) is among these images, and so is what XFS may.
 *
 * Assumed: a sector is written whole or not at all; bytes that nobody wrote to do not change (SQLite assumes it too, as
 * SQLITE_POWERSAFE_OVERWRITE); the device does not lie about a sync; what was synced does not rot.
 */
import { type Chance } from './chance.ts';
import { type DiskEvent } from './trace.ts';

/** Files by name. */
export type Image = ReadonlyMap<string, Buffer>;

const SECTOR = 512;

/** How much of what is uncertain reached the disk: the probability of the newest state; the others share the rest. */
const MOODS = [0, 0.1, 0.5, 0.9, 1];

interface Mood {
  readonly newest: number;
  /** What unwritten sectors hold. */
  readonly unwritten: 'zeros' | 'foreign';
}

/** A folder on that disk. */
export class Disk {
  /** What each name has stood for since the last sync of the names; the last is what processes see. */
  readonly #names = new Map<string, (DiskFile | undefined)[]>();

  apply(event: DiskEvent): void {
    switch (event.kind) {
      case 'create':
        this.#statesOf(event.name).push(new DiskFile());
        break;
      case 'remove':
        this.#statesOf(event.name).push(undefined);
        break;
      case 'sync-names':
        for (const states of this.#names.values()) states.splice(0, states.length - 1);
        break;
      case 'write':
        this.#file(event.name).write(event.at, event.bytes);
        break;
      case 'truncate':
        this.#file(event.name).truncate(event.length);
        break;
      case 'sync':
        this.#file(event.name).sync();
        break;
      case 'ack':
        break;
    }
  }

  /** What processes see. */
  seen(): Image {
    return image([...this.#names].map(([name, states]) => [name, states.at(-1)?.seen]));
  }

  /** What may be there when the power comes back: one of very many. */
  afterPowerCut(chance: Chance): Image {
    const mood: Mood = {
      newest: MOODS[chance.below(MOODS.length)] ?? 1,
      unwritten: chance.happens(0.3) ? 'foreign' : 'zeros',
    };
    return image(
      [...this.#names].map(([name, states]) => {
        const file = states[choose(states.length, mood, chance)];
        return [name, file?.afterPowerCut(mood, chance)];
      }),
    );
  }

  #statesOf(name: string): (DiskFile | undefined)[] {
    let states = this.#names.get(name);
    if (states === undefined) this.#names.set(name, (states = [undefined]));
    return states;
  }

  #file(name: string): DiskFile {
    const file = this.#names.get(name)?.at(-1);
    if (file === undefined) throw new Error(`${name} was changed, but it was never created`);
    return file;
  }
}

/** A sector's content after a change; `undefined` where it lay beyond the end, and after a truncation cut it off whole. */
interface SectorState {
  readonly bytes: Buffer | undefined;
  /** How many truncations there had been since the last sync, this one included. */
  readonly truncations: number;
  /** A truncation made it. */
  readonly cut: boolean;
}

/**
 * One file, with or without a name.
 *
 * Invariant: `#sectors` has an entry for every sector that differs from its state at the last sync, or did in between.
 */
class DiskFile {
  #seen = Buffer.alloc(0);
  #synced = Buffer.alloc(0);
  readonly #sectors = new Map<number, SectorState[]>();
  /** The lengths since the last sync, between one truncation and the next. */
  #lengths: number[][] = [[0]];

  get seen(): Buffer {
    return this.#seen;
  }

  write(at: number, bytes: Buffer): void {
    const end = at + bytes.length;
    if (end > this.#seen.length) {
      this.#seen = Buffer.concat([this.#seen, Buffer.alloc(end - this.#seen.length)]);
      this.#lengths.at(-1)?.push(end);
    }
    bytes.copy(this.#seen, at);
    for (let sector = Math.floor(at / SECTOR); sector * SECTOR < end; sector++) this.#note(sector, false);
  }

  truncate(length: number): void {
    const before = this.#seen.length;
    this.#seen = Buffer.concat([this.#seen.subarray(0, length), Buffer.alloc(Math.max(0, length - before))]);
    if (length >= before) {
      this.#lengths.at(-1)?.push(length);
      return;
    }
    this.#lengths.push([length]);
    for (let sector = Math.floor(length / SECTOR); sector * SECTOR < before; sector++) this.#note(sector, true);
  }

  sync(): void {
    this.#synced = Buffer.from(this.#seen);
    this.#sectors.clear();
    this.#lengths = [[this.#seen.length]];
  }

  afterPowerCut(mood: Mood, chance: Chance): Buffer {
    const truncations = choose(this.#lengths.length, mood, chance);
    const lengths = this.#lengths[truncations] ?? [];
    const length = lengths[choose(lengths.length, mood, chance)] ?? 0;
    const result = Buffer.alloc(length);
    this.#synced.copy(result);
    for (const [sector, states] of this.#sectors) {
      if (sector * SECTOR >= length) continue;
      const possible = unmixed(states, truncations);
      const { bytes } = possible[choose(possible.length, mood, chance)] ?? { bytes: undefined };
      const content = bytes ?? (mood.unwritten === 'foreign' ? chance.bytes(SECTOR) : Buffer.alloc(SECTOR));
      content.copy(result, sector * SECTOR);
    }
    return result;
  }

  #note(sector: number, cut: boolean): void {
    let states = this.#sectors.get(sector);
    if (states === undefined) {
      const bytes = sectorOf(this.#synced, sector);
      this.#sectors.set(sector, (states = [{ bytes, truncations: 0, cut: false }]));
    }
    states.push({ bytes: sectorOf(this.#seen, sector), truncations: this.#lengths.length - 1, cut });
  }
}

/** (6): the states between the last truncation of the sector that happened and the first one that did not. */
function unmixed(states: readonly SectorState[], truncations: number): readonly SectorState[] {
  const from = states.findLastIndex((state) => state.cut && state.truncations <= truncations);
  const to = states.findIndex((state) => state.cut && state.truncations > truncations);
  return states.slice(Math.max(from, 0), to === -1 ? states.length : to);
}

/** A whole sector, with zeros behind the end of the file; `undefined` for one that lies behind it. */
function sectorOf(file: Buffer, sector: number): Buffer | undefined {
  const start = sector * SECTOR;
  if (start >= file.length) return undefined;
  const bytes = Buffer.alloc(SECTOR);
  file.copy(bytes, 0, start, start + SECTOR);
  return bytes;
}

function choose(count: number, mood: Mood, chance: Chance): number {
  if (chance.happens(mood.newest)) return count - 1;
  return mood.newest === 0 ? 0 : chance.below(count);
}

function image(files: readonly (readonly [string, Buffer | undefined])[]): Image {
  return new Map(files.filter((entry): entry is [string, Buffer] => entry[1] !== undefined));
}
