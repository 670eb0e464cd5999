import { type Connection } from '../connection/connection.ts';
import { retryBusy } from './retry.ts';
import { Scope } from './scope.ts';

/** Runs a callback whose reads all see the state of this moment. The caller owns the connection for as long. */
export async function runSnapshot<T>(
  connection: Connection,
  timeout: number,
  scopes: Set<Scope>,
  run: (scope: Scope) => Promise<T>,
): Promise<T> {
  const deadline = performance.now() + timeout;
  connection.control('begin');
  const scope = new Scope(connection, 'read', 'snapshot');
  scopes.add(scope);
  try {
    await retryBusy('snapshot', deadline, () => {
      connection.control('pin');
    });
    return await Promise.race([run(scope), scope.abandoned]);
  } finally {
    scope.end();
    scopes.delete(scope);
    connection.rollback();
  }
}
