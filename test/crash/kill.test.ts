/**
 * A process is killed under load, at random moments, again and again on the same file. Whatever it had acknowledged is
 * there, no call is half there, and the file is whole.
 *
 * SIGKILL loses nothing that the system has been given: it tests atomicity and the order of COMMIT and acknowledgement,
 * not the disk. `KILLS=…` sets how many, `SEED=…` repeats the moments.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { createLedger } from '../support/ledger.ts';
import { openLedger } from '../support/open-ledger.ts';
import { strategiesNamed } from '../support/strategies.ts';
import { TempDir } from '../support/temp-dir.ts';

const main = fileURLToPath(new URL('./writer-main.ts', import.meta.url));
const KILLS = Number(process.env.KILLS ?? 60);
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);

/** Through a port it is `per-context` that is killed, and threads that only read have no part in it. */
const KILLED = strategiesNamed('shared', 'per-context', 'executor');

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** When to kill: after so many acknowledgements, and then so many milliseconds. */
interface Moment {
  readonly acknowledged: number;
  readonly ms: number;
}

/** A writer that has begun to load. */
function startWriter(file: string, strategy: string, run: number): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, ['--conditions=sluice-source', main, file, strategy, String(run)]);
}

/** Lets a writer write, kills it at the moment, and gives what it had acknowledged. */
async function killedAt(moment: Moment, child: ChildProcessWithoutNullStreams): Promise<string[]> {
  let output = '';
  let errors = '';
  const ended = once(child, 'close');
  const come = new Promise<void>((resolve) => {
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (output.split('\n').length > moment.acknowledged + 1) resolve();
    });
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  child.stdin.write('go');
  await Promise.race([come, ended]);
  await sleep(moment.ms);
  child.kill('SIGKILL');
  const [, signal] = (await ended) as [number | null, string | null];
  expect({ signal, errors }).toEqual({ signal: 'SIGKILL', errors: '' });
  // What follows the last line break was not written to its end.
  const lines = output.split('\n').slice(0, -1);
  expect(lines.shift()).toBe('ready');
  return lines;
}

describe(`killed at random moments (SEED=${SEED})`, () => {
  test.concurrent.for(KILLED)(
    '$title: everything acknowledged is there, and nothing is half there',
    { timeout: 300_000 },
    async (strategy, { onTestFinished }) => {
      const dir = new TempDir();
      onTestFinished(() => dir.end());
      const file = dir.file();
      createLedger(file);
      const random = randomNumbers(SEED + strategy.title.length);
      const acknowledged: string[] = [];
      const kills = Math.ceil(KILLS / KILLED.length);
      let next = startWriter(file, strategy.title, 0);
      dir.atEnd(() => next.kill('SIGKILL'));
      for (let run = 0; run < kills; run++) {
        const child = next;
        next = startWriter(file, strategy.title, run + 1);
        // Every fourth is killed soon after its start, whether or not it had acknowledged anything.
        const moment = { acknowledged: run % 4 === 0 ? 0 : Math.ceil(random() * 60), ms: random() * 100 };
        acknowledged.push(...(await killedAt(moment, child)));

        const db = await openLedger(dir, strategy);
        const rows = await db.api.entries.find();
        const parts = new Map<string, number[]>();
        for (const { call, part } of rows) parts.set(call, [...(parts.get(call) ?? []), part]);
        const half = [...parts].filter(([, found]) => String(found) !== '1,2');
        expect(half, `kill ${run}: calls that are half there`).toEqual([]);
        const lost = acknowledged.filter((call) => !parts.has(call));
        expect(lost, `kill ${run}: acknowledged calls that are lost`).toEqual([]);
        expect(await db.api.entries.ask('PRAGMA integrity_check')).toEqual([{ integrity_check: 'ok' }]);
        expect(await db.api.entries.run(`after-${run}`)).toBe(2);
        await db.close();
      }
      expect(acknowledged.length, 'acknowledged calls').toBeGreaterThan(kills * 10);
    },
  );
});
