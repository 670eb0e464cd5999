import { isMap, isSet } from 'node:util/types';

/** An object literal, or one from another realm or `structuredClone`; not a Date, a buffer, an array or a class's. */
export function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) return true;
  return (
    typeof prototype === 'object' &&
    Object.getPrototypeOf(prototype) === null &&
    Object.hasOwn(prototype, 'isPrototypeOf')
  );
}

/** A value's kind for a message: never a whole value, which may be long or private. */
export function describe(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value.length > 40 ? `${value.slice(0, 39)}…` : value);
    case 'number':
    case 'boolean':
    case 'bigint':
    case 'undefined':
      return String(value);
    case 'object': {
      if (value === null) return 'null';
      if (Array.isArray(value)) return 'an array';
      const { constructor } = value as { constructor?: unknown };
      if (typeof constructor !== 'function' || constructor.name === '' || constructor.name === 'Object')
        return 'an object';
      return `a ${constructor.name}`;
    }
    default:
      return `a ${typeof value}`;
  }
}

/**
 * Something that gives its values only when it is asked, as a generator or another iterator does; not what holds them: an
 * array, a Map, a Set or a buffer.
 */
export function isLazy(value: object): boolean {
  if (!(Symbol.iterator in value || Symbol.asyncIterator in value)) return false;
  return !(Array.isArray(value) || ArrayBuffer.isView(value) || isMap(value) || isSet(value));
}
