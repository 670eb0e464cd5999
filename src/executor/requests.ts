/** Requests as they are put together, and as they are put into the outbox. */
import { type Ambient } from '../context/context.ts';
import { cannotCross } from './client-errors.ts';
import { type Outbox } from './outbox.ts';
import { type Outgoing } from './pending.ts';
import { type Request, type SentContext, toShared } from './protocol.ts';
import { type Buffers, CannotCross, pack } from './values.ts';

/** Puts a request into the outbox: a call in the short form, where that says all of it. */
export function put(outbox: Outbox<Request>, { id, word, scope, what }: Outgoing): void {
  if (!('kind' in what)) {
    outbox.push(what);
    return;
  }
  const { method, args, buffers, sent } = what;
  const short = scope === 0 && buffers === undefined && sent === undefined;
  if (short && outbox.call(method, id, word, args)) return;
  outbox.push(['call', id, word, scope, method.repository, method.name, args, buffers, sent]);
}

export function isBegin(what: Outgoing['what']): boolean {
  return !('kind' in what) && what[0] === 'begin';
}

export interface PackedArguments {
  readonly value: readonly unknown[];
  readonly buffers: Buffers;
}

/** @throws {OptionError} one of them cannot cross */
export function packArguments(label: string, args: readonly unknown[]): PackedArguments {
  try {
    const { value, buffers } = pack(args, 'argument');
    return { value: value as readonly unknown[], buffers };
  } catch (error) {
    throw error instanceof CannotCross ? cannotCross(label, error) : error;
  }
}

export function sentContext(context: Ambient | undefined): SentContext | undefined {
  if (context === undefined) return undefined;
  const { deadline, label, signal } = context;
  if (deadline === undefined && label === undefined && signal === undefined) return undefined;
  const shared = deadline === undefined ? undefined : toShared(deadline);
  return { deadline: shared, label, abortable: signal !== undefined };
}
