/**
 * How far a call has come, where another thread looks at it: it may give the call up, and learns from it what became of the
 * call when this thread dies. Absent for a call of this thread.
 *
 * Who is first wins: a call that was given up is not started, or is undone instead of committed, and one that has begun to
 * commit cannot be given up.
 */
export interface Progress {
  /** Whether nobody waits for it any more. */
  readonly givenUp: boolean;
  /** It is about to run. `false`: it was given up, and must not. */
  start(): boolean;
  /** It is about to be committed; asked again when COMMIT is tried again. `false`: it was given up, and must be undone. */
  commit(): boolean;
  /** Its commit is done. */
  committed(): void;
  /** It was undone through no fault of its own, and will run again. */
  undone(): void;
}
