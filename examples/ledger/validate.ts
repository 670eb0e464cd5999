/**
 * Reads named fields out of data that came from outside, a JSON body or a line of CSV, and collects everything that is
 * wrong with it: whoever sent it learns it all at once.
 */

/** One field that cannot be used, and why. */
export interface Problem {
  readonly field: string;
  readonly problem: string;
}

/** The data cannot be used. `fields` has every reason. */
export class ValidationError extends Error {
  readonly fields: readonly Problem[];

  constructor(fields: readonly Problem[]) {
    super(fields.map(({ field, problem }) => `${field} ${problem}`).join('; '));
    this.name = 'ValidationError';
    this.fields = fields;
  }
}

/** `text`: every value is a string and the empty one means "not given". `json`: a number is a number. */
export type Form = 'text' | 'json';

/** Turns one value into what it stands for, or throws a {@link Refusal}. `undefined` means "not given". */
type Reader<T> = (value: unknown, form: Form) => T;

/** Why a reader refused its value; becomes a {@link Problem} once the field's name is known. */
class Refusal extends Error {}

/** What a specification such as `{ owner: text() }` reads: `{ owner: string }`. */
type ReadBy<S extends Record<string, Reader<unknown>>> = { [K in keyof S]: ReturnType<S[K]> };

/** Reads all fields of `spec`. @throws ValidationError that names every missing, unusable and unknown field. */
export function readFields<S extends Record<string, Reader<unknown>>>(values: unknown, spec: S, form: Form): ReadBy<S> {
  if (typeof values !== 'object' || values === null || Array.isArray(values)) {
    throw new ValidationError([{ field: 'body', problem: 'must be an object' }]);
  }
  const given = new Map(Object.entries(values).filter(([, value]) => !isMissing(value, form)));
  const problems: Problem[] = [];
  const read: Record<string, unknown> = {};
  for (const [field, reader] of Object.entries(spec)) {
    try {
      read[field] = reader(given.get(field), form);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      problems.push({ field, problem: error.message });
    }
    given.delete(field);
  }
  for (const [field, value] of given) problems.push({ field, problem: `is not expected here (got ${quote(value)})` });
  if (problems.length > 0) throw new ValidationError(problems);
  return read as ReadBy<S>;
}

/** A text without control characters, 1 to `max` characters long. */
export function text({ max = 200 } = {}): Reader<string> {
  return (value) => {
    if (value === undefined) throw new Refusal('is missing');
    if (typeof value !== 'string') throw new Refusal(`must be a text, not ${quote(value)}`);
    if (value.trim() === '') throw new Refusal('is blank');
    if (value.length > max) throw new Refusal(`is ${value.length} characters long; ${max} at most`);
    if (/\p{Cc}|\p{Cs}/u.test(value)) throw new Refusal('has a control character in it');
    return value.trim();
  };
}

/** An e-mail address, as far as its form can tell. */
export function email(): Reader<string> {
  const plain = text({ max: 254 });
  return (value, form) => {
    const address = plain(value, form);
    if (!/^[^\s@]+@[^\s@]+\.[^\s@]+$/.test(address)) throw new Refusal(`is no e-mail address: ${quote(address)}`);
    return address;
  };
}

/** A whole number from `min` to `max`. */
export function whole({ min, max }: { min: number; max: number }): Reader<number> {
  return (value, form) => {
    if (value === undefined) throw new Refusal('is missing');
    const number = form === 'text' && typeof value === 'string' && /^-?\d{1,16}$/.test(value) ? Number(value) : value;
    if (!Number.isSafeInteger(number)) throw new Refusal(`must be a whole number, not ${quote(value)}`);
    if ((number as number) < min) throw new Refusal(`must be at least ${min}, not ${quote(value)}`);
    if ((number as number) > max) throw new Refusal(`must be at most ${max}, not ${quote(value)}`);
    return number as number;
  };
}

/** A point in time as ISO 8601 in UTC: `2026-01-31T12:00:00Z`, with or without a fraction of a second. */
export function instant(): Reader<Date> {
  return (value) => {
    if (value === undefined) throw new Refusal('is missing');
    const given = typeof value === 'string' && isoInstant.test(value) ? value : '';
    const date = new Date(given);
    // `new Date` carries 30 February over into March; only a date that comes back as it was given exists.
    if (Number.isNaN(date.getTime()) || date.toISOString().slice(0, 19) !== given.slice(0, 19)) {
      throw new Refusal(`must be a time such as 2026-01-31T12:00:00Z, not ${quote(value)}`);
    }
    return date;
  };
}

const isoInstant = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z$/;

/** The same, or `undefined` when the field is not given. */
export function optional<T>(reader: Reader<T>): Reader<T | undefined> {
  return (value, form) => (value === undefined ? undefined : reader(value, form));
}

function isMissing(value: unknown, form: Form): boolean {
  return value === undefined || value === null || (form === 'text' && value === '');
}

function quote(value: unknown): string {
  const shown = JSON.stringify(value);
  return shown.length > 60 ? `${shown.slice(0, 60)}…` : shown;
}
