/**
 * The limit: the group commit that somebody who has one insert and one handle would write by hand. No queue bounds, no
 * deadlines, no errors told apart, no fairness; what Sluice adds to this is what its rules cost.
 */
import type Sqlite from 'better-sqlite3';

interface Waiting {
  readonly run: () => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** Collects the calls of a tick; one transaction for all, a savepoint for each. */
export function batchLoop(handle: Sqlite.Database): (run: () => unknown) => Promise<unknown> {
  const begin = handle.prepare('BEGIN IMMEDIATE');
  const savepoint = handle.prepare('SAVEPOINT call');
  const release = handle.prepare('RELEASE call');
  const undo = handle.prepare('ROLLBACK TO call');
  const commit = handle.prepare('COMMIT');
  let waiting: Waiting[] = [];

  const flush = (): void => {
    const batch = waiting;
    waiting = [];
    const settle: (() => void)[] = [];
    begin.run();
    for (const { run, resolve, reject } of batch) {
      savepoint.run();
      try {
        const value = run();
        release.run();
        settle.push(() => {
          resolve(value);
        });
      } catch (error) {
        undo.run();
        release.run();
        settle.push(() => {
          reject(error);
        });
      }
    }
    commit.run();
    for (const each of settle) each();
  };

  return (run) =>
    new Promise((resolve, reject) => {
      if (waiting.push({ run, resolve, reject }) === 1) setImmediate(flush);
    });
}
