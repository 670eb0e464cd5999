/** One side's figure in one round, or several figures that were taken together. */
export type Sample<F = number> = () => Promise<F>;

/** Every side's figures, one a round. */
export type Samples<S extends string, F = number> = Readonly<Record<S, readonly F[]>>;

/**
 * Takes one figure of every side in each round, so that a slow moment of the machine hits all of them and ratios hold.
 * The order rotates, so that nobody always runs after the same neighbour. A round before the first warms up and is
 * thrown away.
 */
export async function inRounds<S extends string, F = number>(
  rounds: number,
  sides: Readonly<Record<S, Sample<F>>>,
): Promise<Samples<S, F>> {
  const names = Object.keys(sides) as S[];
  const samples = Object.fromEntries(names.map((name) => [name, [] as F[]])) as Record<S, F[]>;
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
