import { isCancelled } from '../context/context.ts';
import { AbortError } from '../errors.ts';
import { type CallSignal } from '../repository/types.ts';
import { type Handle } from './handle.ts';

/** What handlers get as `signal`: it speaks of the call that is running when it is asked. */
export const callSignal: CallSignal = {
  get aborted() {
    return isCancelled();
  },
};

/**
 * Gives a connection the SQL function `sluice_cancelled()`: 0, or an error that ends the statement when the running call has
 * been given up. SQLite calls it where it stands in the query: in `WHERE` once for each row that gets there. A sort or an
 * aggregate that is being computed from rows without it is not interrupted.
 */
export function defineCancelled(handle: Handle): void {
  handle.function('sluice_cancelled', { deterministic: false }, () => {
    if (isCancelled()) throw new AbortError('sluice_cancelled(): the call was given up, and its statement is ended');
    return 0;
  });
}
