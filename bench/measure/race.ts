import { drive, type DriveOptions } from './callers.ts';
import { type Samples } from './rounds.ts';

/** A side while it is open. */
export interface Running {
  readonly call: () => Promise<unknown>;
  readonly close: () => Promise<void> | void;
}

/** Opens a side, on a fresh file of its own. */
export type Side = () => Promise<Running> | Running;

/** A side that is driven in a way of its own. */
export interface OtherSide {
  readonly side: Side;
  readonly options: DriveOptions;
}

/** How to drive, and for how many milliseconds at least before the clock starts. */
export interface RaceOptions extends DriveOptions {
  readonly warmUp?: number;
}

/**
 * The same load before the clock starts, so that nobody is measured while it is being compiled: V8 compiles after some
 * thousand calls, and throws much of it away with the database of the round before. In milliseconds; a side that has made so
 * many calls is warm enough.
 */
const WARM_UP = { least: 60, most: 1500, calls: 10_000 };
/** Parts of a round. The disk is slow and fast by turns of some tenths of a second; parts this short meet both. */
const PARTS = 6;

/**
 * Calls per second of every side in each round. All sides are open at once and take turns in short parts, so that a slow
 * moment of the disk hits all of them alike. The order rotates.
 */
export async function race<S extends string>(
  rounds: number,
  { warmUp = WARM_UP.least, ...options }: RaceOptions,
  sides: Readonly<Record<S, Side | OtherSide>>,
): Promise<Samples<S>> {
  const names = Object.keys(sides) as S[];
  const samples = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<S, number[]>;
  for (let round = 0; round < rounds; round++) {
    const running = [];
    for (const name of names) {
      const given = sides[name];
      const { side, options: load } = typeof given === 'function' ? { side: given, options } : given;
      running.push({ name, load, calls: 0, time: 0, ...(await side()) });
    }
    for (const { call, load } of running) {
      const until = performance.now() + WARM_UP.most;
      let { calls } = await drive({ ...load, duration: warmUp }, call);
      while (calls < WARM_UP.calls && performance.now() < until) {
        calls += (await drive({ ...load, duration: WARM_UP.least }, call)).calls;
      }
    }
    globalThis.gc?.();
    for (let part = 0; part < PARTS; part++) {
      for (let turn = 0; turn < running.length; turn++) {
        const side = running[(turn + part + round) % running.length];
        if (side === undefined) continue;
        const drove = await drive({ ...side.load, duration: side.load.duration / PARTS }, side.call);
        side.calls += drove.calls;
        side.time += drove.time;
      }
    }
    for (const { name, calls, time, close } of running) {
      await close();
      samples[name].push(calls / (time / 1000));
    }
  }
  return samples;
}
