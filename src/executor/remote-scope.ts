import { type Ambient, labelOf } from '../context/context.ts';
import { type Tenant } from '../context/holders.ts';
import { type Cursor, type Pulled } from '../connection/cursor.ts';
import { type Scope } from '../context/scope.ts';
import { type Method } from '../repository/methods.ts';
import { TransactionEndedError } from '../errors.ts';
import { type PortClient } from './client.ts';
import { FarLane } from './far-lanes.ts';

/** A transaction or snapshot whose connection another thread holds, while its callback runs here. */
export class RemoteScope implements Scope {
  readonly id: number;
  readonly label: string;
  readonly tenant: Tenant;
  readonly client: PortClient;
  readonly enclosing: RemoteScope | undefined;
  /** What is nested in it, whose callbacks run here, too. */
  readonly turns: FarLane;
  #open = true;
  #abandoned = false;
  #left = false;

  /** @param tenant what others of this thread wait for while it runs; the lane itself is not of this thread */
  constructor(client: PortClient, id: number, tenant: Tenant, parent: RemoteScope | undefined) {
    this.client = client;
    this.id = id;
    this.label = tenant.label;
    this.enclosing = parent;
    this.turns = new FarLane(`a turn inside ${tenant.label}`, 1);
    this.tenant = tenant;
  }

  get entered(): boolean {
    return this.#open || (this.#abandoned && !this.#left);
  }

  isWithin(other: Scope): boolean {
    return this === other || this.enclosing?.isWithin(other) === true;
  }

  call(method: Method, args: readonly unknown[], context: Ambient | undefined): Promise<unknown> {
    return this.#refuse(method.label, method.access, context) ?? this.client.call(method, args, context, this);
  }

  advance(cursor: Cursor, how: 'pull' | 'end', context: Ambient | undefined): Promise<Pulled> {
    return this.#refuse(cursor.method.label, 'read', context) ?? this.client.advance(cursor, how, context, this);
  }

  transaction<T>(run: (scope: Scope) => Promise<T>, context: Ambient | undefined): Promise<T> {
    return this.#refuse('transaction', 'write', context) ?? this.client.hold('transaction', run, context, this);
  }

  snapshot<T>(run: (scope: Scope) => Promise<T>, context: Ambient | undefined): Promise<T> {
    return this.#refuse('snapshot', 'read', context) ?? this.client.hold('snapshot', run, context, this);
  }

  leave(): void {
    this.#left = true;
  }

  /** Its callback has settled: a call that comes later is refused. */
  end(): void {
    this.#open = false;
  }

  /** It ended under its callback: the deadline, a close, or the death of its thread. */
  abandon(): void {
    if (this.#open) this.#abandoned = true;
    this.#open = false;
  }

  get abandoned(): boolean {
    return this.#abandoned;
  }

  /** Why nothing more can be called in it; `undefined` while it can. */
  refusal(label: string, access: 'read' | 'write', context: Ambient | undefined): TransactionEndedError | undefined {
    if (this.#open) return undefined;
    const error = new TransactionEndedError(
      `${labelOf(context, label)}: its ${this.label} has ended; await every call inside the callback`,
    );
    if (access === 'write') error.outcome = 'not-started';
    return error;
  }

  #refuse(label: string, access: 'read' | 'write', context: Ambient | undefined): Promise<never> | undefined {
    const error = this.refusal(label, access, context);
    return error && Promise.reject(error);
  }
}
