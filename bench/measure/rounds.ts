/** One side's figure in one round. */
export type Sample = () => Promise<number>;

/** Every side's figures, one a round. */
export type Samples<S extends string> = Readonly<Record<S, readonly number[]>>;

/**
 * Takes one figure of every side in each round, so that a slow moment of the machine hits all of them and ratios hold.
 * The order rotates, so that nobody always runs after the same neighbour. A round before the first warms up and is
 * thrown away.
 */
export async function inRounds<S extends string>(
  rounds: number,
  sides: Readonly<Record<S, Sample>>,
): Promise<Samples<S>> {
  const names = Object.keys(sides) as S[];
  const samples = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<S, number[]>;
  for (let round = -1; round < rounds; round++) {
    for (let turn = 0; turn < names.length; turn++) {
      const name = names[(turn + round + 1) % names.length];
      if (name === undefined) continue;
      globalThis.gc?.();
      const figure = await sides[name]();
      if (round >= 0) samples[name].push(figure);
    }
  }
  return samples;
}
