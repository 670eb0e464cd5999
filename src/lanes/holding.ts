import { type Site } from '../context/call-site.ts';

/** Somebody who holds a connection for longer than a callback of Sluice's runs, and can be asked to give it back early. */
export interface Holding {
  /** For messages: `accounts.stream`. */
  readonly label: string;
  /** Where it was asked for. */
  readonly site: Site;
  /** Others, or a close, wait for what it holds. Called any number of times, also before it has begun. Never throws. */
  readonly wanted: () => void;
}
