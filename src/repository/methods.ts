import { type Connection } from '../connection/connection.ts';
import { InternalError } from '../errors.ts';
import { type Handler, yields } from './handlers.ts';
import { checkApiStream } from './table-reads.ts';
import { Trust } from './trust.ts';
import { type AnyRepository, type Repositories } from './types.ts';

/** One method of the api. */
export interface Method {
  readonly repository: string;
  readonly name: string;
  /** `accounts.credit`. */
  readonly label: string;
  readonly access: 'read' | 'write';
  readonly mode: 'sync' | 'async';
  /** Made by the repository's own factory; otherwise it is one of the methods that every table has. */
  readonly own: boolean;
  /**
   * What the api gives for it: a promise of its `value`; a stream of the table's `rows`, where each call of `on` reads one
   * batch; or a stream of the `items` that a generator function yields.
   */
  readonly gives: 'value' | 'rows' | 'items';
  /** Refuses wrong arguments without a connection, where that is possible. @throws {OptionError} */
  readonly check?: (filter: unknown, options: unknown) => void;
  /**
   * An asynchronous handler that was seen to wait for something other than its database: from then on it gets a
   * transaction of its own. Set by whoever ran it.
   */
  waits: boolean;
  /** Whether its calls run in a batch without a savepoint. Kept and lost by the batch. */
  readonly trust: Trust;
  /** The handler on one connection. */
  readonly on: (connection: Connection) => Handler;
}

/** Every method of every repository, by repository and name. */
export type MethodTable = ReadonlyMap<string, ReadonlyMap<string, Method>>;

/** Reads the methods from the handlers that one connection has made. */
export function methodTable(repositories: Repositories, connection: Connection): MethodTable {
  const table = new Map<string, ReadonlyMap<string, Method>>();
  for (const [name, repository] of Object.entries(repositories)) {
    table.set(name, repositoryMethods(name, repository, connection));
  }
  return table;
}

function repositoryMethods(name: string, repository: AnyRepository, connection: Connection): Map<string, Method> {
  const reads = connection.reads(repository);
  const writes = connection.writes(repository);
  // Refuses a name that both sides make.
  connection.both(repository);
  const methods = new Map<string, Method>();
  const add = (method: string, access: 'read' | 'write'): void => {
    const side = access === 'read' ? reads : writes;
    methods.set(method, {
      repository: name,
      name: method,
      label: `${name}.${method}`,
      access,
      // A table's own methods are synchronous underneath, in either kind of repository.
      mode: repository.kind === 'async' && Object.hasOwn(side.own, method) ? 'async' : 'sync',
      own: Object.hasOwn(side.own, method),
      gives: access === 'read' && yields(side.own[method]) ? 'items' : 'value',
      waits: false,
      trust: new Trust(),
      on: on(method, access),
    });
  };
  const addRows = (method: string): void => {
    methods.set(method, {
      repository: name,
      name: method,
      label: `${name}.${method}`,
      access: 'read',
      mode: 'sync',
      own: false,
      gives: 'rows',
      check: (filter, options) => {
        checkApiStream(repository, filter, options);
      },
      waits: false,
      trust: new Trust(),
      on: (lent) => lent.reads(repository).batch,
    });
  };
  const on = (method: string, access: 'read' | 'write') => (lent: Connection) => {
    const side = access === 'read' ? lent.reads(repository) : lent.writes(repository);
    const handler = side.all[method];
    if (handler === undefined) throw new InternalError(`${name}.${method} is missing on a ${lent.role}`);
    return handler;
  };
  for (const method of Object.keys(reads.all)) {
    if (method === 'stream' && !Object.hasOwn(reads.own, method)) addRows(method);
    else add(method, 'read');
  }
  for (const method of Object.keys(writes.all)) if (!Object.hasOwn(reads.own, method)) add(method, 'write');
  return methods;
}
