import { type CallSite } from './context/call-site.ts';

/** What is left of a database when the program has lost it. Must not refer to the `Database` itself, which would keep it. */
export interface Remains {
  readonly file: string;
  /** Where it was opened. */
  readonly site: CallSite;
  /** Closes what is left, when what was accepted has ended. */
  readonly release: () => Promise<void>;
  /** Whether its owner in another thread has closed it meanwhile: then nothing is left of it here. */
  readonly over?: () => boolean;
}

const unclosed = new FinalizationRegistry<Remains>(({ file, site, release, over }) => {
  if (over?.() === true) return;
  process.emitWarning(
    `${file}: a Database was garbage collected that had not been closed, opened ${site.describe() ?? 'at an unknown place'}; ` +
      'it is closed now: close it yourself, or open it with "await using"',
    { type: 'SluiceWarning', code: 'SLUICE_NOT_CLOSED' },
  );
  // What fails now nobody can be told of, and the process ends with it.
  release().catch(() => undefined);
});

/** Warns if the database is lost before it is closed, and closes it. */
export function watchUnclosed(database: object, remains: Remains): void {
  unclosed.register(database, remains, database);
}

/** The database is closed. */
export function forgetUnclosed(database: object): void {
  unclosed.unregister(database);
}
