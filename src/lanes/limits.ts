/** Bounds of one batch. */
export interface BatchLimits {
  /** Calls at most. */
  readonly calls: number;
  /** Milliseconds after which no further call is taken. */
  readonly slice: number;
}
