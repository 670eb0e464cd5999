/**
 * Who holds which lane across ticks, and which lanes its calls wait for: the wait-for graph between databases, and between
 * what takes turns inside one transaction.
 *
 * 1. A transaction, a snapshot or an asynchronous handler is a tenant of the lane that it holds. Each transaction and snapshot
 *    is a lane itself, whose tenant is what has its turn inside: a nested one, or an asynchronous handler.
 * 2. A call that is made inside it and has to wait for another lane makes all tenants around it wait for that lane.
 * 3. A lane moves on when one of its tenants can leave, or when its holder is no tenant. A tenant can leave when it waits for
 *    no lane, or only for lanes that move on. What remains, starting from nobody but the waiting tenants being held up, is
 *    stuck: found lane by lane until nothing changes, so that the search ends whatever circles there are.
 * 4. The graph is looked at whenever a wait begins. A wait for a lane that would be stuck is refused, so that no stuck lane
 *    ever stands. A call that nobody awaits is a wait all the same: what is to run later belongs into `db.detached`.
 *
 * Only what is held by callbacks of this thread is in it (of lanes of other threads too, executor/far-lanes.ts); what another
 * process or thread waits for is not known here.
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

/** What can be held: the write lane of a file, the readers of a database, or the turns inside a transaction or snapshot. */
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
  const circle = stuck(lane, new Set(tenants));
  if (circle !== undefined) {
    const cycle = [`${circle.closedBy.label} waits for ${lane.name}`, ...circle.path];
    throw new DeadlockError(
      `${label}: would wait for ever: ${cycle.join(', ')}; take the databases in the same order everywhere, or make the ` +
        'call before the transaction or after it; if nobody in there awaits it, make it in db.detached',
      { cycle },
    );
  }
  const ends = tenants.map((tenant) => tenant.waitFor(lane));
  return () => {
    for (const end of ends) end();
  };
}

/**
 * Lets these tenants wait for several lanes, all of which must become free. The returned function ends the waits.
 *
 * @throws {DeadlockError} at once, when one of the waits would close a cycle
 */
export function waitTogether(tenants: readonly Tenant[], lanes: readonly Tenancy[], label: string): () => void {
  const ends: (() => void)[] = [];
  const end = (): void => {
    for (const each of ends) each();
  };
  try {
    for (const lane of lanes) ends.push(waitInside(tenants, lane, label));
  } catch (error) {
    end();
    throw error;
  }
  return end;
}

/** A way back to one of the tenants that are about to wait. */
interface Circle {
  readonly closedBy: Tenant;
  /** In words. */
  readonly path: string[];
}

/** The circle that they would close; `undefined` where the lane will be free without them. */
function stuck(lane: Tenancy, waiting: ReadonlySet<Tenant>): Circle | undefined {
  const held = new Set<Tenancy>();
  const reach = [lane];
  for (let at = reach.pop(); at !== undefined; at = reach.pop()) {
    if (held.has(at)) continue;
    held.add(at);
    for (const tenant of at.tenants) if (tenant !== undefined && !waiting.has(tenant)) reach.push(...tenant.waitsFor);
  }
  const leaves = (tenant: Tenant | undefined): boolean =>
    tenant === undefined || (!waiting.has(tenant) && ![...tenant.waitsFor].some((next) => held.has(next)));
  for (let before = -1; before !== held.size;) {
    before = held.size;
    for (const each of held) if (each.tenants.length === 0 || each.tenants.some(leaves)) held.delete(each);
  }
  return held.has(lane) ? pathBack(lane, waiting, held, new Set()) : undefined;
}

/** One of the circles through a stuck lane. Of two stuck lanes that wait for each other only, there is none. */
function pathBack(
  lane: Tenancy,
  waiting: ReadonlySet<Tenant>,
  held: ReadonlySet<Tenancy>,
  seen: Set<Tenancy>,
): Circle | undefined {
  seen.add(lane);
  for (const tenant of lane.tenants) {
    if (tenant === undefined) continue;
    const holds = `which ${tenant.label} holds`;
    if (waiting.has(tenant)) return { closedBy: tenant, path: [holds] };
    for (const next of tenant.waitsFor) {
      if (seen.has(next) || !held.has(next)) continue;
      const rest = pathBack(next, waiting, held, seen);
      if (rest !== undefined) return { ...rest, path: [`${holds} and waits for ${next.name}`, ...rest.path] };
    }
  }
  return undefined;
}
