/**
 * Calls that `db.detached` took out of the transactions and snapshots around them.
 *
 * Such a call belongs to nothing, and whether it is awaited inside nobody can know: awaited, it waits for what waits for it;
 * not awaited, its turn simply comes when the transaction has ended. So it is no wait in the graph of holders.ts, and it is
 * its own deadline that ends it.
 */
import { TimeoutError } from '../errors.ts';
import { type Ambient, leftOpen } from './context.ts';

/** Has a wait that ran out while what the call was taken out of is open say so. */
export async function explainWait<T>(call: Promise<T>, context: Ambient): Promise<T> {
  try {
    return await call;
  } catch (error) {
    const [scope] = leftOpen(context);
    if (error instanceof TimeoutError && scope !== undefined) {
      const { message } = error;
      error.message =
        `${message}; it was called in db.detached inside a ${scope.label} that is open still: awaited in there it waits for ` +
        'what waits for it, so await it afterwards';
      if (error.stack !== undefined) error.stack = error.stack.replace(message, () => error.message);
    }
    throw error;
  }
}
