import { type Site } from '../context/call-site.ts';
import { abandonWithContext, type Ambient } from '../context/context.ts';
import { type Tenant } from '../context/holders.ts';
import { type Connection } from '../connection/connection.ts';
import { retryBusy } from './retry.ts';
import { type RunningSet } from './running.ts';
import { OpenScope } from './scope.ts';

/** What surrounds a snapshot. */
export interface SnapshotRequest {
  readonly context: Ambient | undefined;
  /** On `performance.now()`'s clock: how long it may take to begin. */
  readonly deadline: number;
  /** Stands for the `Database` in async contexts. */
  readonly owner: object;
  /** As whom it holds the connection. */
  readonly tenant: Tenant;
  /** Where it was called from. */
  readonly site: Site;
  /** Milliseconds that a call may wait for its turn inside, where its context sets no deadline. */
  readonly timeout: number;
  /** Holds its scope while it runs, so that a close can give up on it. */
  readonly running: RunningSet;
}

/** Runs a callback whose reads all see the state of this moment. The caller owns the connection for as long. */
export async function runSnapshot<T>(
  connection: Connection,
  { context, deadline, owner, tenant, site, timeout, running }: SnapshotRequest,
  run: (scope: OpenScope) => Promise<T>,
): Promise<T> {
  connection.control('begin');
  const scope = new OpenScope({ connection, access: 'read', owner, tenant, site, timeout });
  running.add(scope);
  const stopWatching = abandonWithContext(scope, context);
  try {
    await retryBusy(tenant.label, deadline, () => {
      scope.assertKept();
      connection.control('pin');
    });
    return await Promise.race([run(scope), scope.abandoned]);
  } finally {
    stopWatching();
    await scope.end();
    running.delete(scope);
    connection.rollback();
  }
}
