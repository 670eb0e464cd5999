/** Cuts the power of a recording at many moments and judges what is left each time. */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Chance } from './chance.ts';
import { Disk } from './disk.ts';
import { type Scenario } from './record.ts';
import { type DiskEvent } from './trace.ts';
import { judge, putDown, type Verdict } from './verdict.ts';

/** One cut, and what it left. */
export interface Cut extends Verdict {
  /** When it came, and what is wrong: for whoever reads a failed test. */
  readonly report: string;
}

/** Half of the cuts come right after an acknowledgement, when there is most to lose; the others anywhere. */
export async function cutPower(events: readonly DiskEvent[], scenario: Scenario, count: number): Promise<Cut[]> {
  const chance = new Chance(scenario.seed);
  const afterAcks = events.flatMap((event, at) => (event.kind === 'ack' ? [at + 1] : []));
  const moments = Array.from({ length: count }, (_, at) =>
    at % 2 === 0 ? (afterAcks[chance.below(afterAcks.length)] ?? 0) : chance.below(events.length + 1),
  ).sort((a, b) => a - b);

  // In memory, where the recoveries of many images sync for nothing.
  const root = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'sluice-power-cut-'));
  try {
    const disk = new Disk();
    const acknowledged = new Set<string>();
    const cuts: Cut[] = [];
    let happened = 0;
    for (const moment of moments) {
      for (const event of events.slice(happened, moment)) {
        disk.apply(event);
        if (event.kind === 'ack') acknowledged.add(event.id);
      }
      happened = moment;
      const folder = join(root, String(cuts.length));
      mkdirSync(folder);
      putDown(disk.afterPowerCut(chance), folder, chance);
      const verdict = await judge(folder, scenario, acknowledged);
      cuts.push({ ...verdict, report: report(events.slice(0, happened), verdict) });
      rmSync(folder, { recursive: true });
    }
    return cuts;
  } finally {
    rmSync(root, { recursive: true });
  }
}

function report(happened: readonly DiskEvent[], { lost, half, damage }: Verdict): string {
  const last = happened.slice(-6).map(inWords).join(', ');
  const wrong = Object.entries({ lost, half, damage }).filter(([, found]) => found.length > 0);
  return [
    `after ${happened.length} events (${last})`,
    ...wrong.map(([kind, found]) => `${kind}: ${found.join(' ')}`),
  ].join('; ');
}

function inWords(event: DiskEvent): string {
  switch (event.kind) {
    case 'ack':
      return `ack ${event.id}`;
    case 'write':
      return `write ${event.name} ${event.at}+${event.bytes.length}`;
    case 'sync-names':
      return event.kind;
    default:
      return `${event.kind} ${event.name}`;
  }
}
