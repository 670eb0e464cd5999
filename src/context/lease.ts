import { type Holder } from '../errors.ts';
import { type CallSite } from './call-site.ts';

/** Something that is held across ticks, and by whom. */
export interface Lease {
  readonly label: string;
  /** On `performance.now()`'s clock. */
  readonly since: number;
  readonly site: CallSite;
}

/** Who holds it, as errors and statistics say it. */
export function holderOf({ label, since, site }: Lease): Holder {
  return { label, heldFor: performance.now() - since, site: site.describe() };
}
