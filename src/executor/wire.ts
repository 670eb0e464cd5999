/**
 * Batches as they lie in a message: flat lists. Structured clone copies a list of primitives several times faster than as many
 * small lists and objects, whose keys it writes out each time.
 *
 * In a list an object is a whole message of protocol.ts. The messages that are sent most stand there as primitives:
 *
 * | first | then | what it is |
 * |---|---|---|
 * | METHOD | repository, name | names a method; the first one is number 0, the next one 1 |
 * | SHAPE | n, n keys | names the keys of an object; they are numbered in the same way |
 * | CALL | method, id, word, n, n arguments | a call without context or scope |
 * | CALL_ROW | method, id, word, n, n arguments, shape, its values | the same, whose last argument is an object |
 * | VALUE | word, value | an answer |
 * | ROW | word, shape, its values | an answer that is an object |
 * | ROWS | word, shape, n, n times its values | an answer that is an array of objects alike |
 *
 * Numbers hold for as long as the port does. Methods are named, and not counted, so that a registry may look different at
 * either end.
 */
import { isProxy } from 'node:util/types';
import { InternalError } from '../errors.ts';
import { isPlain } from '../plain.ts';
import { isPrimitive } from './values.ts';

const METHOD = 0;
const SHAPE = 1;
const CALL = 2;
const CALL_ROW = 3;
const VALUE = 4;
const ROW = 5;
const ROWS = 6;

/** Shapes that are named at most, and keys of one: whoever makes up keys is sent whole. */
const MAX_SHAPES = 1000;
const MAX_KEYS = 100;
/** Primitives of one answer at most that are laid out flat. */
const MAX_FLAT = 10_000;

/** A method, as far as it is told from others here. */
interface Named {
  readonly repository: string;
  readonly name: string;
}

interface Shape {
  readonly number: number;
  readonly keys: readonly string[];
}

/** Lays messages out. */
export class Writer {
  #list: unknown[] = [];
  readonly #methods = new Map<Named, number>();
  readonly #shapes = new Map<string, Shape>();
  /** The shape that a method's rows had last. */
  readonly #usual = new Map<Named, Shape>();
  readonly #values: unknown[] = [];

  /** Whether nothing was laid out since {@link take}. */
  get empty(): boolean {
    return this.#list.length === 0;
  }

  /** What was laid out. */
  take(): unknown[] {
    const list = this.#list;
    this.#list = [];
    return list;
  }

  message(message: object): void {
    this.#list.push(message);
  }

  /** A call, where its arguments are primitives, and perhaps one object of primitives at their end. Otherwise nothing. */
  call(method: Named, id: number, word: number, args: readonly unknown[]): boolean {
    const last = args.length - 1;
    for (let at = 0; at < last; at++) if (!isPrimitive(args[at])) return false;
    const row = args[last];
    if (last < 0 || isPrimitive(row)) {
      const number = this.#number(method);
      this.#list.push(CALL, number, id, word, args.length);
      for (let at = 0; at <= last; at++) this.#list.push(args[at]);
      return true;
    }
    const shape = this.#read(row, method);
    if (shape === undefined) return false;
    const number = this.#number(method);
    this.#list.push(CALL_ROW, number, id, word, last);
    for (let at = 0; at < last; at++) this.#list.push(args[at]);
    this.#list.push(shape.number);
    for (const each of this.#values) this.#list.push(each);
    return true;
  }

  /** An answer, where it is a primitive, an object of primitives, or an array of such objects alike. Otherwise nothing. */
  value(method: Named, word: number, value: unknown): boolean {
    if (isPrimitive(value)) {
      this.#list.push(VALUE, word, value);
      return true;
    }
    if (Array.isArray(value)) return this.#rows(method, word, value);
    const shape = this.#read(value, method);
    if (shape === undefined) return false;
    this.#list.push(ROW, word, shape.number);
    for (const each of this.#values) this.#list.push(each);
    return true;
  }

  #rows(method: Named, word: number, rows: readonly unknown[]): boolean {
    if (!isBareArray(rows)) return false;
    const [first] = rows;
    const shape = this.#read(first, method);
    if (shape === undefined || rows.length * shape.keys.length > MAX_FLAT) return false;
    const { length } = this.#list;
    this.#list.push(ROWS, word, shape.number, rows.length);
    for (let at = 0; at < rows.length; at++) {
      if (at > 0 && !this.#readAs(rows[at], shape)) {
        this.#list.length = length;
        return false;
      }
      for (const each of this.#values) this.#list.push(each);
    }
    return true;
  }

  /** An object's shape, and its values in {@link #values}; `undefined` where it is not one of primitives. */
  #read(value: unknown, method: Named): Shape | undefined {
    const usual = this.#usual.get(method);
    if (usual !== undefined && this.#readAs(value, usual)) return usual;
    // Asked first: a proxy's own traps may throw.
    if (isProxy(value) || !isPlain(value)) return undefined;
    const shape = this.#shape(Object.keys(value));
    if (shape === undefined || !this.#readAs(value, shape)) return undefined;
    this.#usual.set(method, shape);
    return shape;
  }

  /** Reads each value once: what a getter gives the next time may be something else. */
  #readAs(value: unknown, { keys }: Shape): boolean {
    // A proxy is refused by structured clone, and so it is whatever it holds.
    if (isProxy(value) || !isPlain(value)) return false;
    const values = this.#values;
    values.length = 0;
    try {
      for (const key in value) {
        if (key !== keys[values.length]) return false;
        const each = value[key];
        if (!isPrimitive(each)) return false;
        values.push(each);
      }
    } catch {
      // A getter: whoever looks at the whole value meets it too, and says where.
      return false;
    }
    return values.length === keys.length;
  }

  #shape(keys: readonly string[]): Shape | undefined {
    // An object has no key of this name that could be assigned.
    if (keys.length > MAX_KEYS || keys.includes('__proto__')) return undefined;
    const name = JSON.stringify(keys);
    let shape = this.#shapes.get(name);
    if (shape === undefined && this.#shapes.size < MAX_SHAPES) {
      shape = { number: this.#shapes.size, keys };
      this.#shapes.set(name, shape);
      this.#list.push(SHAPE, keys.length, ...keys);
    }
    return shape;
  }

  #number(method: Named): number {
    let number = this.#methods.get(method);
    if (number === undefined) {
      number = this.#methods.size;
      this.#methods.set(method, number);
      this.#list.push(METHOD, method.repository, method.name);
    }
    return number;
  }
}

/** What a {@link Reader} tells of a batch, in its order. `N` is what stands for a method. */
export interface Listener<M extends object, N> {
  readonly message: (message: M) => void;
  /** A method is called for the first time; what this gives is given with each call. */
  readonly method?: (repository: string, name: string) => N;
  readonly call?: (method: N, id: number, word: number, args: readonly unknown[]) => void;
  readonly value?: (word: number, value: unknown) => void;
}

/** Takes the batches of one port apart. */
export class Reader<M extends object, N> {
  readonly #listener: Listener<M, N>;
  readonly #methods: N[] = [];
  readonly #shapes: (readonly string[])[] = [];
  #list: readonly unknown[] = [];
  #at = 0;

  constructor(listener: Listener<M, N>) {
    this.#listener = listener;
  }

  read(list: readonly unknown[]): void {
    this.#list = list;
    this.#at = 0;
    while (this.#at < list.length) this.#next();
  }

  #next(): void {
    const listener = this.#listener;
    const first = this.#list[this.#at++];
    switch (first) {
      case METHOD:
        this.#meet(this.#text(), this.#text());
        break;
      case SHAPE:
        this.#shapes.push(internalized(this.#some(this.#number())));
        break;
      case CALL: {
        const [method, id, word] = [this.#method(), this.#number(), this.#number()];
        listener.call?.(method, id, word, this.#some(this.#number()));
        break;
      }
      case CALL_ROW: {
        const [method, id, word] = [this.#method(), this.#number(), this.#number()];
        const args = this.#some(this.#number());
        args.push(this.#row(this.#shape()));
        listener.call?.(method, id, word, args);
        break;
      }
      case VALUE: {
        const word = this.#number();
        listener.value?.(word, this.#list[this.#at++]);
        break;
      }
      case ROW: {
        const word = this.#number();
        listener.value?.(word, this.#row(this.#shape()));
        break;
      }
      case ROWS: {
        const [word, shape, count] = [this.#number(), this.#shape(), this.#number()];
        const rows: unknown[] = [];
        for (let at = 0; at < count; at++) rows.push(this.#row(shape));
        listener.value?.(word, rows);
        break;
      }
      default:
        listener.message(first as M);
    }
  }

  #meet(repository: string, name: string): void {
    const { method } = this.#listener;
    if (method !== undefined) this.#methods.push(method(repository, name));
  }

  #number(): number {
    return this.#list[this.#at++] as number;
  }

  #text(): string {
    return this.#list[this.#at++] as string;
  }

  #some(count: number): unknown[] {
    const from = this.#at;
    this.#at += count;
    return this.#list.slice(from, this.#at);
  }

  #method(): N {
    const number = this.#number();
    if (number >= this.#methods.length) throw new InternalError(`a port named no method ${number}`);
    return this.#methods[number] as N;
  }

  #shape(): readonly string[] {
    const number = this.#number();
    const shape = this.#shapes[number];
    if (shape === undefined) throw new InternalError(`a port named no shape ${number}`);
    return shape;
  }

  #row(keys: readonly string[]): Record<string, unknown> {
    const row: Record<string, unknown> = {};
    for (const key of keys) row[key] = this.#list[this.#at++];
    return row;
  }
}

/** An array and nothing more: no class of its own, and no properties beside its items. */
function isBareArray(rows: readonly unknown[]): boolean {
  return !isProxy(rows) && Object.getPrototypeOf(rows) === Array.prototype && Object.keys(rows).length === rows.length;
}

/** The same keys as the engine keeps them for objects: those of a message would be looked up anew in each row. */
function internalized(keys: readonly unknown[]): readonly string[] {
  const object: Record<string, unknown> = {};
  for (const key of keys) object[String(key)] = undefined;
  return Object.keys(object);
}
