/**
 * Errors across threads: what arrives is of the same class with the same fields, and its stack is the handler's and then
 * the caller's. Structured clone alone would keep neither class nor fields.
 *
 * A class that neither this library, nor JavaScript itself, nor the registry's `errors` knows arrives as the nearest one that is
 * known, under its own name and with its own fields.
 */
import * as errors from '../errors.ts';
import { outcomeOf, withOutcome } from '../outcome.ts';
import type { ErrorClass } from '../repository/types.ts';

/** An error as it is sent. */
export type EncodedError =
  | {
      readonly kind: 'error';
      /** The nearest class that both ends know: by its name, or by its place among the registry's. */
      readonly type: string | number;
      readonly name: string;
      readonly message: string;
      readonly stack: string;
      readonly fields: readonly (readonly [name: string, value: unknown, enumerable: boolean])[];
      readonly cause?: EncodedError;
      readonly errors?: readonly EncodedError[];
    }
  /** Something else that was thrown; its outcome is a property that no clone would keep. */
  | { readonly kind: 'value'; readonly value: unknown; readonly outcome?: errors.Outcome | undefined };

const BUILT_IN = { AggregateError, Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };

/** By name, and not by asking each class for its own: a bundler may rename them. */
const OURS: Readonly<Record<string, ErrorClass>> = Object.fromEntries(
  Object.entries(errors).filter((entry): entry is [string, never] => entry[0].endsWith('Error')),
);
const KNOWN: Readonly<Record<string, ErrorClass>> = { ...BUILT_IN, ...OURS };

const MAX_DEPTH = 8;
/** What an error has anyway, or what is sent for itself. */
const OWN = new Set(['name', 'message', 'stack', 'cause', 'errors']);

/** Makes an error ready to be sent: whatever it is, what is made of it can be cloned. Never throws. */
export function encodeError(error: unknown, own: readonly ErrorClass[] = [], depth = 0): EncodedError {
  try {
    if (!(error instanceof Error)) {
      return { kind: 'value', value: sendable(error) ? error : String(error), outcome: outcomeOf(error) };
    }
    const fields = Object.getOwnPropertyNames(error)
      .filter((name) => !OWN.has(name))
      .map(
        (name) =>
          [name, Reflect.get(error, name) as unknown, Object.prototype.propertyIsEnumerable.call(error, name)] as const,
      )
      .filter(([, value]) => sendable(value));
    // What its maker has put there: texts, by rights.
    const { name, message, stack }: Record<'name' | 'message' | 'stack', unknown> = error as never;
    return {
      kind: 'error',
      type: typeOf(error, own),
      name: String(name),
      message: String(message),
      stack: String(stack),
      fields,
      ...(error.cause === undefined || depth >= MAX_DEPTH ? {} : { cause: encodeError(error.cause, own, depth + 1) }),
      ...(error instanceof AggregateError && depth < MAX_DEPTH
        ? { errors: error.errors.map((each) => encodeError(each, own, depth + 1)) }
        : {}),
    };
  } catch {
    return { kind: 'value', value: 'something was thrown that cannot be shown', outcome: quietly(error) };
  }
}

/** The error that was sent. @param caller an error made where the answer arrived, for the caller's part of the stack */
export function decodeError(encoded: EncodedError, caller?: Error, own: readonly ErrorClass[] = []): unknown {
  if (encoded.kind === 'value') {
    return encoded.outcome === undefined ? encoded.value : withOutcome(encoded.value, encoded.outcome);
  }
  const error = new Error(encoded.message);
  const type = (typeof encoded.type === 'number' ? own[encoded.type] : KNOWN[encoded.type]) ?? Error;
  Object.setPrototypeOf(error, type.prototype as object);
  const frames = caller?.stack?.split('\n').filter((line) => line.startsWith('    at ')) ?? [];
  define(error, 'stack', [encoded.stack, ...frames].join('\n'), false);
  if (error.name !== encoded.name) define(error, 'name', encoded.name, type.prototype instanceof errors.SluiceError);
  for (const [name, value, enumerable] of encoded.fields) define(error, name, value, enumerable);
  if (encoded.cause !== undefined) define(error, 'cause', decodeError(encoded.cause, undefined, own), false);
  if (encoded.errors !== undefined)
    define(
      error,
      'errors',
      encoded.errors.map((each) => decodeError(each, undefined, own)),
      false,
    );
  return error;
}

function define(error: Error, name: string, value: unknown, enumerable: boolean): void {
  Object.defineProperty(error, name, { value, enumerable, configurable: true, writable: true });
}

/** The class among those that both ends know which the error's own is, or is made from. */
function typeOf(error: Error, own: readonly ErrorClass[]): string | number {
  for (let prototype = Object.getPrototypeOf(error) as object | null; prototype !== null;) {
    const at = own.findIndex((type) => type.prototype === prototype);
    if (at >= 0) return at;
    for (const [name, type] of Object.entries(KNOWN)) if (type.prototype === prototype) return name;
    prototype = Object.getPrototypeOf(prototype) as object | null;
  }
  return 'Error';
}

function quietly(error: unknown): errors.Outcome | undefined {
  try {
    return outcomeOf(error);
  } catch {
    return undefined;
  }
}

function sendable(value: unknown): boolean {
  if (typeof value === 'function' || typeof value === 'symbol') return false;
  if (typeof value !== 'object' || value === null) return true;
  try {
    structuredClone(value);
    return true;
  } catch {
    return false;
  }
}
