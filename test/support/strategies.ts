import { type Database, open, type OpenOptions, type Registry, type StrategyName } from '../../src/index.ts';
import { openThroughPort } from './through-port.ts';

/** One strategy under test, with what the laws must know about it. A further strategy is one more entry below. */
export interface StrategyUnderTest {
  /** As its tests are called, and as `STRATEGIES` names it. */
  readonly title: string;
  /** The option of `open`. */
  readonly name: StrategyName;
  /** Opens a database under it. */
  readonly open: <G extends Registry>(options: OpenOptions<G>) => Promise<Database<G>>;
  /** Whether the writes of others go on while a snapshot is open. Where they do not, they wait for its end. */
  readonly writesDuringSnapshot: boolean;
  /** Whether the reads of others go on while a transaction is open. Where they do not, they wait for its end. */
  readonly readsDuringTransaction: boolean;
  /**
   * Whether handlers run in the caller's thread, where a callback may reach them in an argument, and where the class of what
   * they throw is known.
   */
  readonly inThread: boolean;
  /** Whether several databases on one file stand in one line. Those of several threads have SQLite's lock only. */
  readonly oneLine: boolean;
}

/** A strategy of the calling thread. */
function here(name: StrategyName): Pick<StrategyUnderTest, 'title' | 'name' | 'open' | 'inThread' | 'oneLine'> {
  return {
    title: name,
    name,
    open: (options) => open({ ...options, strategy: name }),
    inThread: true,
    oneLine: true,
  };
}

const ALL: readonly StrategyUnderTest[] = [
  { ...here('shared'), writesDuringSnapshot: false, readsDuringTransaction: false },
  { ...here('per-context'), writesDuringSnapshot: true, readsDuringTransaction: true },
  {
    ...here('executor'),
    writesDuringSnapshot: true,
    readsDuringTransaction: true,
    inThread: false,
    oneLine: false,
  },
  {
    title: 'executor-readers',
    name: 'executor',
    open: (options) => open({ readers: 2, ...options, strategy: 'executor' }),
    writesDuringSnapshot: true,
    readsDuringTransaction: true,
    inThread: false,
    oneLine: false,
  },
  {
    title: 'port',
    name: 'per-context',
    open: (options) => openThroughPort({ ...options, strategy: 'per-context' }),
    writesDuringSnapshot: true,
    readsDuringTransaction: true,
    inThread: false,
    // Each has its own port, and ports are served in no particular order.
    oneLine: false,
  },
];

/** What is tested against: all of them, or those that `STRATEGIES=shared,per-context` names. */
export const STRATEGIES: readonly StrategyUnderTest[] = select(process.env.STRATEGIES);

/** Those whose handlers run in the caller's thread, for what looks inside. */
export const IN_THREAD: readonly StrategyUnderTest[] = STRATEGIES.filter(({ inThread }) => inThread);

/** Those of these names, without what `STRATEGIES` leaves out: each contract has a file of its own, and these run side by side. */
export function strategiesNamed(...titles: readonly string[]): readonly StrategyUnderTest[] {
  return STRATEGIES.filter(({ title }) => titles.includes(title));
}

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
