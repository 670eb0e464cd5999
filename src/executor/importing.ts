/**
 * Marks a thread as one that was started to own a database. A registry's module that opens a database when it is imported
 * would open it there again, and there again: it is refused with an explanation instead.
 *
 * Kept on the thread's global object, because the module may have another copy of this package.
 */
const KEY = Symbol.for('sluice.executor');

interface Mark {
  /** The module that is being imported right now. */
  importing: string | undefined;
}

type Marked = Partial<Record<typeof KEY, Mark>>;

/** Imports a registry's module on a thread that was started to own its database. */
export async function importRegistry(url: string): Promise<Record<string, unknown>> {
  const mark: Mark = { importing: url };
  (globalThis as Marked)[KEY] = mark;
  try {
    return (await import(url)) as Record<string, unknown>;
  } finally {
    mark.importing = undefined;
  }
}

/** Whether this thread was started to own a database. */
export function isExecutorThread(): boolean {
  return (globalThis as Marked)[KEY] !== undefined;
}

/** The registry's module that this thread is importing right now. */
export function moduleBeingImported(): string | undefined {
  return (globalThis as Marked)[KEY]?.importing;
}
