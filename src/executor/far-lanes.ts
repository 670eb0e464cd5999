/**
 * What calls through a port wait for, as far as this thread holds it: the lanes of the thread that owns the database, and the
 * turns inside a transaction or snapshot, seen from where their callbacks run.
 *
 * A circle of waits whose callbacks all run in this thread is closed here, wherever the lanes are, so it is found here, at
 * once. What other threads hold is not known: where they are part of a circle its deadline ends it.
 */
import { type Tenancy, type Tenant } from '../context/holders.ts';

/** What of its server a request needs: a `step` is one of a handler that yields. */
export type Needs = 'read' | 'write' | 'step';

/** How the server's connections are held. */
export interface FarConnections {
  /** For messages. */
  readonly file: string;
  /** `one handle`: reads and snapshots stand in the write lane. Else that many snapshots at once, each on a reader of its own. */
  readonly readers: number | 'one handle';
}

/** A transaction or snapshot whose callback runs here, from when its beginning was asked for until the callback has settled. */
export interface Guest {
  readonly tenant: Tenant;
  /** It has the lane; before, it is on its way. */
  begun: boolean;
}

/** The lanes of one server. */
export class FarLanes {
  readonly #writing: FarLane;
  readonly #reading: FarLane;
  readonly #oneHandle: boolean;

  constructor({ file, readers }: FarConnections) {
    this.#oneHandle = readers === 'one handle';
    this.#writing = new FarLane(`the write lane of ${file}`, 1);
    this.#reading = readers === 'one handle' ? this.#writing : new FarLane(`a reader of ${file}`, readers);
  }

  /** What a request waits for; `undefined` where it waits for nobody. */
  of(needs: 'read' | 'write'): FarLane;
  of(needs: Needs): FarLane | undefined;
  of(needs: Needs): FarLane | undefined {
    if (needs === 'step') return this.#oneHandle ? this.#writing : undefined;
    return needs === 'write' ? this.#writing : this.#reading;
  }

  /** What a close waits for. */
  taken(): readonly Tenancy[] {
    return this.#oneHandle ? [this.#writing] : [this.#writing, ...this.#reading.each()];
  }
}

/** One lane at the other end, as it is held by this thread. */
export class FarLane implements Tenancy {
  readonly name: string;
  /** Who may be inside at once. */
  readonly #room: number;
  readonly #guests = new Set<Guest>();

  constructor(name: string, room: number) {
    this.name = name;
    this.#room = room;
  }

  /** Nobody while there is room: whoever waits then waits for no callback of this thread. */
  get tenants(): readonly Tenant[] {
    const inside = this.#inside();
    return inside.length < this.#room ? [] : inside.map(({ tenant }) => tenant);
  }

  /** Whether whoever comes now waits for no callback of this thread, not even for one that is still to run. */
  get isFree(): boolean {
    return this.#guests.size < this.#room;
  }

  /** Its beginning is asked for. The returned function is called when its callback has settled, or will not run. */
  enter(guest: Guest): () => void {
    this.#guests.add(guest);
    return () => {
      this.#guests.delete(guest);
    };
  }

  each(): readonly Tenancy[] {
    return this.#inside().map(({ tenant }) => ({ name: this.name, tenants: [tenant] }));
  }

  #inside(): readonly Guest[] {
    return [...this.#guests].filter(({ begun }) => begun);
  }
}
