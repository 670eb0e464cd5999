import { type OpenOptions, type StrategyName } from '../../src/index.ts';

/** One strategy under test, with what the laws must know about it. A further strategy is one more entry below. */
export interface StrategyUnderTest {
  /** As the tests are called, and `STRATEGIES` names it. */
  readonly title: string;
  readonly name: StrategyName;
  /** Options of `open` that make it what it is. */
  readonly options: Pick<OpenOptions, 'readers'>;
  /** Whether the writes of others go on while a snapshot is open. Where they do not, they wait for its end. */
  readonly writesDuringSnapshot: boolean;
  /** Whether the reads of others go on while a transaction is open. Where they do not, they wait for its end. */
  readonly readsDuringTransaction: boolean;
  /** Whether handlers run in the caller's thread, where a callback may reach them in an argument. */
  readonly inThread: boolean;
  /** Whether several databases on one file, in one thread, stand in one line. */
  readonly oneLine: boolean;
}

const ALL: readonly StrategyUnderTest[] = [
  {
    title: 'shared',
    name: 'shared',
    options: {},
    writesDuringSnapshot: false,
    readsDuringTransaction: false,
    inThread: true,
    oneLine: true,
  },
  {
    title: 'per-context',
    name: 'per-context',
    options: {},
    writesDuringSnapshot: true,
    readsDuringTransaction: true,
    inThread: true,
    oneLine: true,
  },
  {
    title: 'executor',
    name: 'executor',
    options: {},
    writesDuringSnapshot: true,
    readsDuringTransaction: true,
    inThread: false,
    oneLine: false,
  },
];

/** What the contract runs against: all of them, or those that `STRATEGIES=shared,per-context` names. */
export const STRATEGIES: readonly StrategyUnderTest[] = select(process.env.STRATEGIES);

function select(names: string | undefined): readonly StrategyUnderTest[] {
  if (names === undefined || names === '') return ALL;
  return names.split(',').map((name) => {
    const found = ALL.find((strategy) => strategy.title === name.trim());
    if (found === undefined) {
      throw new Error(`STRATEGIES: "${name}" is not under test; there are ${ALL.map((each) => each.title).join(', ')}`);
    }
    return found;
  });
}
