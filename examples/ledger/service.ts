/**
 * The ledger over HTTP: what calls the api. A route knows nothing of connections, transactions or locks; it awaits
 * `api.transfers.send(…)` and may run beside any number of others.
 */
import { type Server } from 'node:http';
import {
  BusyError,
  ClosedError,
  ConstraintError,
  type Decision,
  OptionError,
  QueueFullError,
  StaleRowError,
  TimeoutError,
} from 'sluice';
import { LedgerError, UnknownAccountError } from './errors.ts';
import { readAccount, readTransfer } from './forms.ts';
import { type Answer, type Call, createJsonServer, HttpError, type Route } from './http.ts';
import { type LedgerApi } from './repositories.ts';
import { optional, readFields, text, ValidationError, whole } from './validate.ts';

/** What the service stands on: the api, not the database. */
export interface ServiceParts {
  readonly api: LedgerApi;
  readonly decision: Decision;
  /** Told of each error that answers 500, whose details the client does not see. */
  readonly onFailure: (error: unknown) => void;
}

/** The service, not yet listening. */
export function createService({ api, decision, onFailure }: ServiceParts): Server {
  return createJsonServer(routes(api, decision), (error) => answerError(error, onFailure));
}

const pageLimit = optional(whole({ min: 1, max: 500 }));

function routes(api: LedgerApi, decision: Decision): readonly Route[] {
  return [
    {
      method: 'GET',
      path: '/health',
      run: async () => {
        const { strategy, journal, reasons, rejected, hazards } = decision;
        const [accounts, transfers] = await Promise.all([api.accounts.count(), api.transfers.count()]);
        return ok({ status: 'ok', accounts, transfers, decision: { strategy, journal, reasons, rejected, hazards } });
      },
    },
    {
      method: 'GET',
      path: '/accounts',
      run: async ({ query }) => {
        const spec = { limit: pageLimit, after: optional(text({ max: 1000 })), owner: optional(text()) };
        const { limit = 50, after, owner } = readQuery(query, spec);
        const filter = owner === undefined ? {} : { owner };
        try {
          return ok(await api.accounts.page({ after, limit, filter }));
        } catch (error) {
          // Everything else about this page is ours, so an option that the api refuses is the caller's cursor.
          if (!(error instanceof OptionError)) throw error;
          throw new ValidationError([{ field: 'after', problem: 'is no cursor of this list' }]);
        }
      },
    },
    {
      method: 'GET',
      path: '/accounts/:id',
      run: async ({ params }) => ok(await findAccount(api, params)),
    },
    {
      method: 'GET',
      path: '/accounts/:id/statement',
      run: async ({ params, query }) => {
        const spec = { limit: pageLimit, after: optional(whole({ min: 0, max: Number.MAX_SAFE_INTEGER })) };
        const { limit = 50, after = 0 } = readQuery(query, spec);
        const account = await findAccount(api, params);
        return ok(await api.audit.statement(account.id, { after, limit }));
      },
    },
    {
      method: 'GET',
      path: '/owners/:owner',
      run: async ({ params }) => {
        const owner = params.owner ?? '';
        const accounts = await api.accounts.byOwner(owner);
        if (accounts.length === 0) throw new HttpError(404, 'unknown-owner', `nobody called ${owner} has an account`);
        return ok({ owner, cents: accounts.reduce((sum, { cents }) => sum + cents, 0), accounts });
      },
    },
    {
      method: 'POST',
      path: '/accounts',
      run: async ({ body }) => {
        const { account, repeated } = await api.accounts.open(readAccount(body, 'json'));
        return { ...(repeated ? ok(account) : created(account)), headers: { location: `/accounts/${account.id}` } };
      },
    },
    {
      method: 'POST',
      path: '/transfers',
      run: async ({ body }) => {
        const { source, destination, cents, key } = readTransfer(body, 'json');
        const { transfer, repeated } = await api.transfers.send(source, destination, cents, key);
        return repeated ? ok(transfer) : created(transfer);
      },
    },
  ];
}

async function findAccount(api: LedgerApi, params: Call['params']) {
  const { id } = readFields(params, { id: whole({ min: 1, max: Number.MAX_SAFE_INTEGER }) }, 'text');
  const account = await api.accounts.get(id);
  if (!account) throw new UnknownAccountError(id);
  return account;
}

/** A name given twice would silently lose one of its values. */
function readQuery<S extends Parameters<typeof readFields>[1]>(query: URLSearchParams, spec: S) {
  const twice = [...new Set(query.keys())].filter((name) => query.getAll(name).length > 1);
  if (twice.length > 0)
    throw new ValidationError(twice.map((field) => ({ field, problem: 'is given more than once' })));
  return readFields(Object.fromEntries(query), spec, 'text');
}

function ok(body: unknown): Answer {
  return { status: 200, body };
}

function created(body: unknown): Answer {
  return { status: 201, body };
}

/** The one place that knows which error is which status. */
function answerError(error: unknown, onFailure: (error: unknown) => void): Answer {
  if (error instanceof ValidationError) return refuse(400, 'validation', error.message, { fields: error.fields });
  if (error instanceof UnknownAccountError) return refuse(404, error.code, error.message);
  if (error instanceof LedgerError) return refuse(409, error.code, error.message);
  if (error instanceof StaleRowError) return refuse(409, 'conflict', 'somebody else changed it; read it again');
  if (error instanceof ConstraintError) {
    const taken = error.kind === 'unique' || error.kind === 'primary-key';
    const fields = error.columns.map((field) => ({
      field,
      problem: taken ? 'is taken' : `breaks a rule (${error.kind})`,
    }));
    return refuse(taken ? 409 : 400, taken ? 'conflict' : 'validation', error.columns.join() || error.kind, { fields });
  }
  const busy = [TimeoutError, QueueFullError, BusyError, ClosedError].some((kind) => error instanceof kind);
  if (busy) return { ...refuse(503, 'unavailable', 'busy or closing; try again'), headers: { 'retry-after': '1' } };
  onFailure(error);
  return refuse(500, 'internal', 'something went wrong here; it was logged');
}

function refuse(status: number, code: string, message: string, more: object = {}): Answer {
  return { status, body: { error: { code, message, ...more } } };
}
