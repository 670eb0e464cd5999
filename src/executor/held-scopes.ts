import { type Scope } from '../context/scope.ts';

/** A transaction or snapshot whose callback runs at the other end. */
interface Held {
  readonly scope: Scope;
  readonly commit: () => void;
  readonly undo: (error: Error) => void;
}

/** Ends a scope whose callback failed at the other end, where its error is. */
export class Undone extends Error {}

/** The transactions and snapshots that one port holds, by the numbers of their `begin`s. */
export class HeldScopes {
  readonly #held = new Map<number, Held>();
  /** Scopes that ended before they had begun, because their caller gave up. */
  readonly #endedEarly = new Set<number>();
  #gone = false;

  get(id: number): Scope | undefined {
    return this.#held.get(id)?.scope;
  }

  /**
   * The callback of a scope, as this end has it: it settles when the other end says so, or is gone.
   *
   * @param refusal why it may not begin
   */
  hold(id: number, scope: Scope, refusal: () => Error | undefined, begun: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const refused = this.#gone || this.#endedEarly.delete(id) ? new Undone() : refusal();
      if (refused !== undefined) {
        reject(refused);
        return;
      }
      this.#held.set(id, { scope, commit: resolve, undo: reject });
      begun();
    });
  }

  end(id: number, how: 'commit' | 'undo'): void {
    const held = this.#held.get(id);
    if (held === undefined) {
      if (how === 'undo') this.#endedEarly.add(id);
      return;
    }
    this.#held.delete(id);
    if (how === 'commit') held.commit();
    else held.undo(new Undone());
  }

  /** A scope is over, however it ended. */
  left(id: number): void {
    this.#held.delete(id);
    this.#endedEarly.delete(id);
  }

  /** Undoes what is open, the innermost first, and whatever begins only now. */
  undoAll(): void {
    this.#gone = true;
    for (const { undo } of [...this.#held.values()].reverse()) undo(new Undone());
    this.#held.clear();
  }
}
