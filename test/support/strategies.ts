import { type StrategyName } from '../../src/index.ts';

/** One strategy under test, with what the laws must know about it. A further strategy is one more entry below. */
export interface StrategyUnderTest {
  readonly name: StrategyName;
  /** Whether the writes of others go on while a snapshot is open. Where they do not, they wait for its end. */
  readonly writesDuringSnapshot: boolean;
  /** Whether the reads of others go on while a transaction is open. Where they do not, they wait for its end. */
  readonly readsDuringTransaction: boolean;
  /** Whether handlers run in the caller's thread, where a callback may reach them in an argument. */
  readonly inThread: boolean;
}

const ALL: readonly StrategyUnderTest[] = [
  { name: 'shared', writesDuringSnapshot: false, readsDuringTransaction: false, inThread: true },
  { name: 'per-context', writesDuringSnapshot: true, readsDuringTransaction: true, inThread: true },
];

/** What the contract runs against: all of them, or those that `STRATEGIES=shared,per-context` names. */
export const STRATEGIES: readonly StrategyUnderTest[] = select(process.env.STRATEGIES);

function select(names: string | undefined): readonly StrategyUnderTest[] {
  if (names === undefined || names === '') return ALL;
  return names.split(',').map((name) => {
    const found = ALL.find((strategy) => strategy.name === name.trim());
    if (found === undefined) {
      throw new Error(`STRATEGIES: "${name}" is not under test; there are ${ALL.map((each) => each.name).join(', ')}`);
    }
    return found;
  });
}
