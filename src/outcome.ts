import { HandlerError, type Outcome, SluiceError } from './errors.ts';

const OUTCOMES: readonly unknown[] = ['not-started', 'rolled-back', 'committed', 'unknown'] satisfies Outcome[];

/**
 * What a write rejects with: the error that ended it, carrying what became of this write.
 *
 * 1. An error may have said what became of another write before: of a call whose error the callback of a transaction passes
 *    on, or of another database's. What rejects speaks of the write that it ends now, so that is overwritten.
 * 2. An error of the handler's or the callback's own stays the object that it is, and gets a property that is not enumerable.
 *    One that cannot be written on arrives as another one of its class, with the same fields and stack; what is no error, and
 *    cannot be written on, as the cause of one.
 * 3. A property of this name that means something else is its owner's, and stays.
 *
 * Never throws.
 */
export function withOutcome(error: unknown, outcome: Outcome): unknown {
  try {
    if (typeof error === 'object' && error !== null) {
      const before = Reflect.get(error, 'outcome') as unknown;
      if (before === outcome || (before !== undefined && !OUTCOMES.includes(before))) return error;
      if (write(error, outcome)) return error;
      if (error instanceof Error) return copyOf(error, outcome);
    }
  } catch {
    // A proxy, or a getter that throws.
  }
  const carrying = new HandlerError(
    'something was thrown that cannot say what became of the write (a text or a number, or a frozen object): see "cause"; ' +
      'throw an Error',
    { cause: error },
  );
  carrying.outcome = outcome;
  return carrying;
}

/** The outcome that something carries, if it does. */
export function outcomeOf(error: unknown): Outcome | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  const outcome = Reflect.get(error, 'outcome') as unknown;
  return OUTCOMES.includes(outcome) ? (outcome as Outcome) : undefined;
}

function write(error: object, outcome: Outcome): boolean {
  return Reflect.defineProperty(error, 'outcome', {
    value: outcome,
    configurable: true,
    writable: true,
    enumerable: error instanceof SluiceError,
  });
}

/** Not by `Object.create`, which would make what looks like an error and is none to whoever prints it. */
function copyOf(error: Error, outcome: Outcome): Error {
  const copy = new Error(error.message);
  Object.setPrototypeOf(copy, Object.getPrototypeOf(error) as object | null);
  for (const name of Reflect.ownKeys(error)) {
    const enumerable = Object.prototype.propertyIsEnumerable.call(error, name);
    const value = Reflect.get(error, name) as unknown;
    Object.defineProperty(copy, name, { value, enumerable, configurable: true, writable: true });
  }
  write(copy, outcome);
  return copy;
}
