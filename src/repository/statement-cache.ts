import { type BoundStatement } from './handlers.ts';

/** Longer texts are filters of thousands of conditions: kept for as long as they are the last one, not beside 200 others. */
const MAX_LENGTH = 100_000;

/** Statements of one connection by their SQL, the most recently used ones. */
export class StatementCache<S extends BoundStatement = BoundStatement> {
  readonly #prepare: (source: string) => S;
  readonly #limit: number;
  readonly #statements = new Map<string, S>();
  #last = '';
  #lastStatement: S | undefined;

  /** @param limit how many statements to keep; one that falls out is finalized when it is collected. */
  constructor(prepare: (source: string) => S, limit = 200) {
    this.#prepare = prepare;
    this.#limit = limit;
  }

  get size(): number {
    return this.#statements.size;
  }

  get(source: string): S {
    if (this.#lastStatement !== undefined && this.#last === source) return this.#lastStatement;
    let statement = this.#statements.get(source);
    if (statement === undefined) {
      statement = this.#prepare(source);
      if (source.length > MAX_LENGTH) return this.#remember(source, statement);
      if (this.#statements.size >= this.#limit) {
        // A Map iterates in order of insertion, so its first key is the least recently used one.
        for (const oldest of this.#statements.keys()) {
          this.#statements.delete(oldest);
          break;
        }
      }
    } else {
      this.#statements.delete(source);
    }
    this.#statements.set(source, statement);
    return this.#remember(source, statement);
  }

  #remember(source: string, statement: S): S {
    this.#last = source;
    this.#lastStatement = statement;
    return statement;
  }
}
