import { type Ambient } from '../context/context.ts';

/** Items that were read together, in order. */
export interface Batch<T> {
  readonly items: readonly T[];
  /** Nothing comes after these items, but for the failure. */
  readonly last: boolean;
  /** What went wrong after these items. */
  readonly failure?: { readonly error: unknown } | undefined;
}

/** Where the items of one iteration come from. Its methods are called one at a time. */
export interface Batches<T> {
  /** The items that come next. @param context what surrounds the pull that needs them */
  next(context: Ambient | undefined): Promise<Batch<T>>;
  /** Gives back whatever is held. Called once, at the latest after the last `next` or a failed one. */
  end(context: Ambient | undefined): Promise<void>;
}
