import { AsyncLocalStorage } from 'node:async_hooks';
import { ContextError } from '../errors.ts';

/**
 * One run of an asynchronous handler. Its statements are let through while the run is open, and only from the async
 * context that the run began: what another run, a timer or a forgotten promise still tries is refused, even while the next
 * run has the same connection.
 */
export class AsyncRun {
  readonly access: 'read' | 'write';
  readonly label: string;
  open = true;

  constructor(access: 'read' | 'write', label: string) {
    this.access = access;
    this.label = label;
  }

  /** Starts a function inside this run. */
  start<T>(run: () => T): T {
    return runs.run(this, run);
  }

  /** @throws {ContextError} when the caller is not inside this run, or it has ended */
  static current(on: AsyncRun | undefined): AsyncRun {
    const run = runs.getStore();
    if (run?.open === true && run === on) return run;
    throw new ContextError(
      run === undefined
        ? 'an asynchronous handler’s db was used outside the handler’s call; call the api instead'
        : `${run.label}: its db was used after the call had ended; await everything inside the handler`,
    );
  }
}

const runs = new AsyncLocalStorage<AsyncRun>();
