import { type Database, type OpenOptions, type Registry } from '../../src/index.ts';
import { createLedger, emptyLedger } from './ledger.ts';
import { type StrategyUnderTest } from './strategies.ts';
import { type TempDir } from './temp-dir.ts';

/**
 * Databases for many examples: a new one for each where that costs little, and otherwise one for each kind of options, which
 * is empty again for each example.
 */
export class ExampleDatabases<G extends Registry> {
  readonly #dir: TempDir;
  readonly #strategy: StrategyUnderTest;
  readonly #repositories: G;
  readonly #kept = new Map<string, { readonly file: string; readonly db: Database<G> }>();
  #made = 0;

  constructor(dir: TempDir, strategy: StrategyUnderTest, repositories: G) {
    this.#dir = dir;
    this.#strategy = strategy;
    this.#repositories = repositories;
  }

  async get(
    options: Omit<Partial<OpenOptions<G>>, 'repositories' | 'strategy'>,
    prepare?: (file: string) => void,
  ): Promise<{ readonly file: string; readonly db: Database<G> }> {
    const kind = JSON.stringify(options);
    const kept = this.#kept.get(kind);
    if (kept !== undefined) {
      emptyLedger(kept.file);
      return kept;
    }
    const file = this.#dir.file(`example-${this.#made++}.db`);
    createLedger(file);
    prepare?.(file);
    const db = await this.#strategy.open<G>({ ...options, file, repositories: this.#repositories });
    this.#dir.atEnd(() => db.close({ drain: 2000 }));
    if (!this.#strategy.inThread) this.#kept.set(kind, { file, db });
    return { file, db };
  }

  /** The example is over. */
  async end(db: Database<G>): Promise<void> {
    if (this.#strategy.inThread) await db.close();
  }
}
