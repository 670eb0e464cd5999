/** Builds `db.api`: plain functions over one dispatcher, made when a repository is first touched. */
import { UnknownMethodError } from '../errors.ts';
import { nearMiss } from '../near-miss.ts';
import { type Method, type MethodTable } from './methods.ts';

/** What the functions of an api do. */
export interface Dispatcher {
  /** Runs one call. */
  call(method: Method, args: readonly unknown[]): Promise<unknown>;
  /** Makes a stream. Nothing runs before somebody asks for its first item. */
  stream(method: Method, args: readonly unknown[]): AsyncIterable<unknown>;
}

type ApiMethod = (...args: unknown[]) => Promise<unknown> | AsyncIterable<unknown>;

/**
 * The api object. An unknown repository or method answers its call with {@link UnknownMethodError}, so that JavaScript
 * callers and stale builds learn what is there instead of "undefined is not a function".
 */
export function buildApi(methods: MethodTable, dispatcher: Dispatcher): object {
  const names = [...methods.keys()];
  const api = Object.create(unknownNames((repository) => unknownRepository(repository, names))) as object;
  for (const [name, repository] of methods) {
    let made: object | undefined;
    Object.defineProperty(api, name, {
      enumerable: true,
      get: () => (made ??= repositoryApi(name, repository, dispatcher)),
    });
  }
  return Object.freeze(api);
}

/** The same for callers that block: what is unknown throws at once. */
export function buildBlockingApi(
  methods: MethodTable,
  call: (method: Method, args: readonly unknown[]) => unknown,
): object {
  const names = [...methods.keys()];
  const thrown =
    (repository: string, hint: string) =>
    (method: string): (() => never) =>
    () => {
      throw unknownMethod(repository, method, hint || nearMiss(method, [...(methods.get(repository)?.keys() ?? [])]));
    };
  const api = Object.create(
    unknownNames(
      (repository) => Object.create(unknownNames(thrown(repository, nearMiss(repository, names)))) as object,
    ),
  ) as Record<string, object>;
  for (const [name, repository] of methods) {
    const made = Object.create(unknownNames(thrown(name, ''))) as Record<string, (...args: unknown[]) => unknown>;
    // A stream has to be awaited, item by item.
    for (const method of repository.values()) {
      if (method.gives === 'value') made[method.name] = (...args) => call(method, args);
    }
    api[name] = Object.freeze(made);
  }
  return Object.freeze(api);
}

function repositoryApi(name: string, methods: ReadonlyMap<string, Method>, dispatcher: Dispatcher): object {
  const refuse = (method: string): ApiMethod => unknown(name, method, nearMiss(method, [...methods.keys()]));
  const api = Object.create(unknownNames(refuse)) as Record<string, ApiMethod>;
  for (const method of methods.values()) {
    api[method.name] =
      method.gives === 'value'
        ? (...args) => dispatcher.call(method, args)
        : (...args) => dispatcher.stream(method, args);
  }
  return Object.freeze(api);
}

function unknownRepository(repository: string, names: readonly string[]): object {
  const hint = nearMiss(repository, names);
  return Object.create(
    unknownNames((method) => unknown(repository, method, hint || `; there are ${names.join(', ')}`)),
  ) as object;
}

function unknown(repository: string, method: string, hint: string): ApiMethod {
  return () => Promise.reject(unknownMethod(repository, method, hint));
}

function unknownMethod(repository: string, method: string, hint: string): UnknownMethodError {
  return new UnknownMethodError(`${repository}.${method}: there is no such method${hint}`, { repository, method });
}

/**
 * A prototype that answers for names nobody defined. Symbols, `then` and what inspectors probe for stay undefined: an api
 * is no promise and must print like any object.
 */
function unknownNames(answer: (name: string) => unknown): object {
  return new Proxy(Object.create(null) as object, {
    get: (_, name) =>
      typeof name === 'string' && /^[a-z]/i.test(name) && !PROBED.has(name) ? answer(name) : undefined,
  });
}

const PROBED = new Set([
  'then',
  'toJSON',
  'constructor',
  'inspect',
  'nodeType',
  'tagName',
  'asymmetricMatch',
  'valueOf',
  'toString',
]);
