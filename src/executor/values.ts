/**
 * What may cross a thread: what structured clone copies without loss. Everything else is refused with the place where it
 * stands, before anything is sent.
 *
 * A `Buffer` crosses as a `Uint8Array`. Which ones were buffers travels beside the value, and they are made buffers again.
 */
import { isAnyArrayBuffer, isProxy } from 'node:util/types';
import { describe, isPlain } from '../plain.ts';

/** Which `Uint8Array`s of a value are to be buffers: none, every one, or those at these paths. */
export type Buffers = undefined | 'all' | readonly (readonly (string | number)[])[];

/** A value ready to be sent. */
export interface Packed {
  readonly value: unknown;
  readonly buffers: Buffers;
}

/** Results of this many bytes and more are moved to the caller instead of copied, where nobody else can see them. */
const LARGE = 32 * 1024;

/** What could not cross, and where: `args[0].when`. */
export class CannotCross extends Error {
  constructor(path: string, why: string) {
    super(`${path} is ${why}`);
  }
}

/** Makes a value ready. @throws {CannotCross} @param name what the value is called in a message: `argument` */
export function pack(value: unknown, name: string): Packed {
  if (typeof value !== 'object' || value === null) {
    if (typeof value === 'function' || typeof value === 'symbol') throw new CannotCross(name, refused(value));
    return { value, buffers: undefined };
  }
  if (isFlat(value)) return { value, buffers: undefined };
  const found = new Survey(name);
  found.look(value);
  return { value: found.pooled ? unpool(value) : value, buffers: found.buffers };
}

/** What was packed, with its buffers. Changes the value in place: it is a copy that nobody else has. */
export function unpack(value: unknown, buffers: Buffers): unknown {
  if (buffers === undefined) return value;
  if (buffers === 'all') return restoreAll(value);
  let whole = value;
  for (const path of buffers) whole = restoreAt(whole, path, 0);
  return whole;
}

/** The memory of large buffers that may be moved: each the only view of all of its memory. */
export function movable(value: unknown): ArrayBuffer[] {
  const moved: ArrayBuffer[] = [];
  collect(value, moved);
  return moved;
}

/** Arguments as most calls have them: primitives, and objects of primitives. There is nothing to find in them. */
function isFlat(value: object): boolean {
  if (isProxy(value) || !Array.isArray(value) || Object.getPrototypeOf(value) !== Array.prototype) return false;
  for (const each of value as unknown[]) {
    if (isPrimitive(each)) continue;
    if (isProxy(each) || !isPlain(each)) return false;
    for (const key in each) if (!isPrimitive(each[key])) return false;
  }
  return true;
}

export function isPrimitive(value: unknown): boolean {
  const type = typeof value;
  return value === null || (type !== 'object' && type !== 'function' && type !== 'symbol');
}

/** Looks at every part of a value once. */
class Survey {
  /** Whether a buffer shares its memory with others: sending it would send all of that. */
  pooled = false;
  readonly #name: string;
  readonly #path: (string | number)[] = [];
  readonly #above: object[] = [];
  readonly #found: (string | number)[][] = [];
  #plainBytes = false;

  constructor(name: string) {
    this.#name = name;
  }

  get buffers(): Buffers {
    if (this.#found.length === 0) return undefined;
    return this.#plainBytes ? this.#found : 'all';
  }

  look(value: unknown): void {
    if (typeof value === 'function' || typeof value === 'symbol') this.#refuse(refused(value));
    if (typeof value !== 'object' || value === null) return;
    if (isProxy(value)) this.#refuse('a proxy, which structured clone does not copy');
    if (losesItsClass(value)) this.#refuse(instance(value));
    if (value instanceof Uint8Array) {
      if (Buffer.isBuffer(value)) this.#found.push([...this.#path]);
      else this.#plainBytes = true;
      if (value.byteLength !== value.buffer.byteLength) this.pooled = true;
      return;
    }
    if (isLeaf(value)) return;
    // A value that contains itself is cloned as one, and looked at once.
    if (this.#above.includes(value)) return;
    this.#above.push(value);
    if (Array.isArray(value)) {
      for (let at = 0; at < value.length; at++) this.#inside(at, value[at]);
    } else if (value instanceof Map) {
      let at = 0;
      for (const [key, each] of value) {
        this.#inside(`key ${at}`, key);
        this.#inside(`value ${at++}`, each);
      }
    } else if (value instanceof Set) {
      let at = 0;
      for (const each of value) this.#inside(`item ${at++}`, each);
    } else if (isPlain(value)) {
      for (const key in value) this.#inside(key, value[key]);
    } else {
      this.#refuse(instance(value));
    }
    this.#above.pop();
  }

  #inside(step: string | number, value: unknown): void {
    switch (typeof value) {
      case 'object':
      case 'function':
      case 'symbol':
        this.#path.push(step);
        this.look(value);
        this.#path.pop();
    }
  }

  #refuse(why: string): never {
    const steps = this.#path.map((step) => (/^[a-z_$][\w$]*$/i.test(String(step)) ? `.${step}` : `[${step}]`));
    throw new CannotCross(this.#name + steps.join(''), why);
  }
}

function refused(value: unknown): string {
  return typeof value === 'symbol' ? 'a symbol' : `a function${nameOf(value as { name?: unknown })}`;
}

function nameOf({ name }: { name?: unknown }): string {
  return typeof name === 'string' && name !== '' ? ` (${name})` : '';
}

function instance(value: object): string {
  return `${describe(value)}: an instance of a class would arrive without its class`;
}

const KNOWN =
  'Array Map Set Date RegExp Buffer DataView ArrayBuffer SharedArrayBuffer Int8Array Uint8Array Uint8ClampedArray Int16Array ' +
  'Uint16Array Int32Array Uint32Array Float32Array Float64Array BigInt64Array BigUint64Array Error EvalError RangeError ' +
  'ReferenceError SyntaxError TypeError URIError';
/** The prototypes of the classes that structured clone knows. `Blob` is not asked for before there is one: that loads it. */
const PROTOTYPES: ReadonlySet<unknown> = new Set(
  KNOWN.split(' ').map((name) => (Reflect.get(globalThis, name) as { prototype: object }).prototype),
);

/** Of a class that is made from one of these, and of an error's own fields, nothing would arrive. */
function losesItsClass(value: object): boolean {
  if (isPlain(value)) return false;
  const known = PROTOTYPES.has(Object.getPrototypeOf(value)) || value instanceof Blob;
  return !known || (value instanceof Error && Object.keys(value).length > 0);
}

/** What is copied as it is. */
function isLeaf(value: object): boolean {
  return (
    value instanceof Date ||
    value instanceof RegExp ||
    ArrayBuffer.isView(value) ||
    isAnyArrayBuffer(value) ||
    value instanceof Error ||
    value instanceof Blob
  );
}

/** A copy in which every buffer has memory of its own. */
function unpool(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Uint8Array) {
    return value.byteLength === value.buffer.byteLength
      ? value
      : Uint8Array.prototype.slice.call(new Uint8Array(value));
  }
  if (Array.isArray(value)) return value.map(unpool);
  if (value instanceof Map) return new Map([...value].map(([key, each]) => [key, unpool(each)]));
  if (value instanceof Set) return new Set([...value].map(unpool));
  if (!isPlain(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, unpool(each)]));
}

function toBuffer(value: Uint8Array): Buffer {
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}

function restoreAll(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Uint8Array) return toBuffer(value);
  if (Array.isArray(value)) {
    for (let at = 0; at < value.length; at++) if (typeof value[at] === 'object') value[at] = restoreAll(value[at]);
  } else if (value instanceof Map || value instanceof Set) {
    return restoreIn(value, restoreAll);
  } else if (isPlain(value)) {
    for (const key in value) if (typeof value[key] === 'object') value[key] = restoreAll(value[key]);
  }
  return value;
}

function restoreAt(value: unknown, path: readonly (string | number)[], from: number): unknown {
  const step = path[from];
  if (step === undefined) return value instanceof Uint8Array ? toBuffer(value) : value;
  if (Array.isArray(value)) {
    value[Number(step)] = restoreAt(value[Number(step)], path, from + 1);
  } else if (value instanceof Map || value instanceof Set) {
    let at = 0;
    const wanted = Number(String(step).split(' ')[1]);
    const side = String(step).startsWith('key') ? 'key' : 'value';
    return restoreIn(value, (each, which) => {
      const position = which === 'key' ? at : at++;
      return which === side && position === wanted ? restoreAt(each, path, from + 1) : each;
    });
  } else if (isPlain(value)) {
    value[step] = restoreAt(value[step], path, from + 1);
  }
  return value;
}

/** Puts everything in again, in its order. */
function restoreIn(
  value: Map<unknown, unknown> | Set<unknown>,
  restore: (each: unknown, which: 'key' | 'value') => unknown,
): unknown {
  if (value instanceof Set) {
    const items = [...value];
    value.clear();
    for (const each of items) value.add(restore(each, 'value'));
    return value;
  }
  const items = [...value];
  value.clear();
  for (const [key, each] of items) value.set(restore(key, 'key'), restore(each, 'value'));
  return value;
}

function collect(value: unknown, into: ArrayBuffer[]): void {
  if (typeof value !== 'object' || value === null) return;
  if (value instanceof Uint8Array) {
    const { buffer } = value;
    const whole = buffer instanceof ArrayBuffer && buffer.byteLength === value.byteLength;
    if (whole && value.byteLength >= LARGE && !into.includes(buffer)) into.push(buffer);
  } else if (Array.isArray(value)) {
    for (const each of value) if (typeof each === 'object') collect(each, into);
  } else if (isPlain(value)) {
    for (const key in value) if (typeof value[key] === 'object') collect(value[key], into);
  }
}
