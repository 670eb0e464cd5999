/**
 * Who holds which lane across ticks, and which lanes its calls wait for: the wait-for graph between databases.
 *
 * 1. A transaction, a snapshot or an asynchronous handler is a tenant of the lane that it holds.
 * 2. A call that is made inside it and has to wait for another lane makes all tenants around it wait for that lane.
 * 3. A lane is stuck for these tenants when each of its tenants is one of them, or itself waits for a lane that is stuck.
 *    A lane whose holder is no tenant moves on by itself.
 * 4. The graph is looked at whenever a wait begins, and only then: a cycle comes about with its last wait, which is the one
 *    that is refused. So a cycle never stands, and the search ends.
 *
 * Only lanes of this thread are in it; what another process or thread waits for is not known here.
 */
import { DeadlockError } from '../errors.ts';

/** Something that holds a lane across ticks, and whose calls may wait for other lanes. */
export class Tenant {
  readonly label: string;
  /** How many of its calls wait for each lane. */
  readonly #waits = new Map<Tenancy, number>();

  constructor(label: string) {
    this.label = label;
  }

  get waitsFor(): Iterable<Tenancy> {
    return this.#waits.keys();
  }

  /** The returned function ends the wait. */
  waitFor(lane: Tenancy): () => void {
    this.#waits.set(lane, (this.#waits.get(lane) ?? 0) + 1);
    return () => {
      const left = (this.#waits.get(lane) ?? 1) - 1;
      if (left === 0) this.#waits.delete(lane);
      else this.#waits.set(lane, left);
    };
  }
}

/** What can be held: the write lane of a file, or the readers of a database. */
export interface Tenancy {
  /** `the write lane of ledger.db`. */
  readonly name: string;
  /** Who must leave before the next one may enter; `undefined` for a holder that is no tenant. Empty while it is free. */
  readonly tenants: readonly (Tenant | undefined)[];
}

/**
 * Lets these tenants wait for a lane. The returned function ends the wait.
 *
 * @throws {DeadlockError} at once, when the wait would close a cycle
 */
export function waitInside(tenants: readonly Tenant[], lane: Tenancy, label: string): () => void {
  const path = stuck(lane, new Set(tenants));
  if (path !== undefined) {
    const [first] = tenants;
    const cycle = [`${first?.label ?? label} waits for ${lane.name}`, ...path];
    throw new DeadlockError(
      `${label}: would wait for ever: ${cycle.join(', ')}; take the databases in the same order everywhere, or make the ` +
        'call before the transaction or after it',
      { cycle },
    );
  }
  const ends = tenants.map((tenant) => tenant.waitFor(lane));
  return () => {
    for (const end of ends) end();
  };
}

/** The way back to one of the waiting tenants, in words; `undefined` where the lane will be free without them. */
function stuck(lane: Tenancy, waiting: ReadonlySet<Tenant>): string[] | undefined {
  let path: string[] | undefined;
  for (const tenant of lane.tenants) {
    const found = tenant === undefined ? undefined : stuckTenant(tenant, lane, waiting);
    if (found === undefined) return undefined;
    path ??= found;
  }
  return path;
}

function stuckTenant(tenant: Tenant, lane: Tenancy, waiting: ReadonlySet<Tenant>): string[] | undefined {
  const holds = `which ${tenant.label} holds`;
  if (waiting.has(tenant)) return [holds];
  for (const next of tenant.waitsFor) {
    const found = next === lane ? undefined : stuck(next, waiting);
    if (found !== undefined) return [`${holds} and waits for ${next.name}`, ...found];
  }
  return undefined;
}
