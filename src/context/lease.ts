import { type Holder } from '../errors.ts';
import { FarSite, type Site } from './call-site.ts';

/** Something that is held across ticks, and by whom. */
export interface Lease {
  readonly label: string;
  /** On `performance.now()`'s clock. */
  readonly since: number;
  readonly site?: Site | undefined;
}

/** The places of holders that other threads know. */
const farSites = new WeakMap<Holder, FarSite>();

/** Who holds it, as errors and statistics say it. */
export function holderOf({ label, since, site }: Lease): Holder {
  const holder = { label, heldFor: performance.now() - since, site: site?.describe() };
  if (site instanceof FarSite) farSites.set(holder, site);
  return holder;
}

/** The place that another thread knows, if it is one of that. */
export function farSiteOf(holder: Holder): FarSite | undefined {
  return farSites.get(holder);
}
