/** Opens what the disk held after a power cut as the service would, and says what is wrong with it. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { open } from '../../../src/index.ts';
import { type Chance } from './chance.ts';
import { type Image } from './disk.ts';
import { bodyOf, migrations, pairs } from './pairs.ts';
import { DATABASE, type Scenario } from './record.ts';

/** What was found. Sound and complete: every list is empty. */
export interface Verdict {
  /** Acknowledged, and not there. */
  readonly lost: readonly string[];
  /** There with one row of two, with a row that is not its own, or although it was refused. */
  readonly half: readonly string[];
  /** It could not be opened or read, or its integrity is gone. */
  readonly damage: readonly string[];
}

/** Puts an image down in an empty folder. `-shm` may hold anything or be missing: SQLite makes it anew. */
export function putDown(image: Image, folder: string, chance: Chance): void {
  for (const [name, content] of image) writeFileSync(join(folder, name), content);
  if (chance.happens(0.5)) writeFileSync(join(folder, `${DATABASE}-shm`), Buffer.alloc(32_768, chance.bytes(509)));
}

export async function judge(
  folder: string,
  { strategy }: Scenario,
  acknowledged: ReadonlySet<string>,
): Promise<Verdict> {
  const file = join(folder, DATABASE);
  let lefts: readonly Row[];
  let rights: readonly Row[];
  try {
    await using db = await open({ file, repositories: pairs, strategy, migrations });
    [lefts, rights] = await Promise.all([db.api.lefts.find({}), db.api.rights.find({})]);
  } catch (error) {
    return { lost: [], half: [], damage: [String(error)] };
  }
  const there = new Set(lefts.map(({ id }) => id));
  const onBothSides = new Set(rights.flatMap(({ id }) => (there.has(id) ? [id] : [])));
  const wrong = [...lefts, ...rights].filter(
    ({ id, body }) => !onBothSides.has(id) || body !== bodyOf(String(id)) || String(id).startsWith('refused'),
  );
  return {
    lost: [...acknowledged].filter((id) => !there.has(id)),
    half: wrong.map(({ id }) => String(id)),
    damage: integrity(file),
  };
}

/** A damaged file may hold anything. */
interface Row {
  readonly id: unknown;
  readonly body: unknown;
}

function integrity(file: string): string[] {
  const handle = new Sqlite(file);
  try {
    const found: unknown = handle.pragma('integrity_check', { simple: true });
    return found === 'ok' ? [] : [String(found)];
  } catch (error) {
    return [String(error)];
  } finally {
    handle.close();
  }
}
