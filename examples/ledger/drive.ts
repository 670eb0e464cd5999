/**
 * Drives the service with real HTTP requests from several clients at once, right ones and deliberately wrong ones, and
 * holds every answer against what it must be.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { firstReservedAccount } from './forms.ts';

export interface DriveOptions {
  /** For example `http://127.0.0.1:8080`; of several each client has one. */
  readonly origins: readonly string[];
  readonly clients: number;
  /** Go on until this is settled … */
  readonly until: Promise<unknown>;
  /** … and until this many requests were made. */
  readonly atLeast: number;
  readonly signal: AbortSignal;
}

export interface DriveReport {
  requests: number;
  statuses: Map<number, number>;
  /** Milliseconds from sending each request to the end of its answer. */
  latencies: number[];
  /** Accounts newly opened, and the keys of transfers newly acknowledged. */
  opened: number;
  keys: string[];
  /** Answers that were not what they must be; empty, when all is well. */
  surprises: string[];
  elapsed: number;
}

/** What the accounts of the clients are opened with: more than they can send each other in any run. */
const deposit = 10_000_000;
const accountsEach = 2;

/** Runs until `until` is settled and `atLeast` requests are made, or the signal ends it. Never throws for an answer. */
export async function drive({ origins, clients, until, atLeast, signal }: DriveOptions): Promise<DriveReport> {
  const started = performance.now();
  const report: DriveReport = {
    requests: 0,
    statuses: new Map(),
    latencies: [],
    opened: 0,
    keys: [],
    surprises: [],
    elapsed: 0,
  };
  let settled = false;
  const settle = () => {
    settled = true;
  };
  until.then(settle, settle);
  const goOn = () => !signal.aborted && (!settled || report.requests < atLeast);
  const accounts = Array.from({ length: clients * accountsEach }, (_, index) => firstReservedAccount + index);

  const client = async (number: number) => {
    const own = accounts.slice(number * accountsEach, (number + 1) * accountsEach);
    const send = sender(origins[number % origins.length] ?? '', report);
    for (const id of own) await openAccount(send, report, id);
    for (let turn = 0; goOn(); turn += 1) {
      const scene = scenes[turn % scenes.length];
      await scene?.(send, { client: number, own, accounts, turn, report });
      // A breath between requests, as clients have: it leaves the import its share of the one thread all of this runs on.
      await sleep(2);
    }
  };
  await Promise.all(
    Array.from({ length: clients }, (_, number) =>
      client(number).catch((error: unknown) => {
        surprise(report, `client ${number + 1}: ${String(error)}`);
      }),
    ),
  );
  report.elapsed = performance.now() - started;
  return report;
}

interface Reply {
  readonly status: number;
  readonly body: Record<string, unknown>;
}
/** Sends one request and notes a surprise when its status is none of `expected`. */
type Send = (expected: number | readonly number[], method: string, path: string, body?: unknown) => Promise<Reply>;

function sender(origin: string, report: DriveReport): Send {
  return async (expected, method, path, body) => {
    const before = performance.now();
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const init = body === undefined ? {} : { body: text, headers: { 'content-type': 'application/json' } };
    const response = await fetch(origin + path, { method, ...init });
    const reply = { status: response.status, body: (await response.json()) as Record<string, unknown> };
    report.latencies.push(performance.now() - before);
    report.requests += 1;
    report.statuses.set(reply.status, (report.statuses.get(reply.status) ?? 0) + 1);
    if (![expected].flat().includes(reply.status)) {
      surprise(
        report,
        `${method} ${path}: ${reply.status} instead of ${String(expected)}: ${JSON.stringify(reply.body)}`,
      );
    }
    return reply;
  };
}

function surprise(report: DriveReport, text: string): void {
  if (report.surprises.length < 100) report.surprises.push(text.slice(0, 300));
}

async function openAccount(send: Send, report: DriveReport, id: number): Promise<void> {
  // 200 when an earlier run on this file has opened it.
  const account = { id, owner: `Client ${id - firstReservedAccount + 1}`, cents: deposit };
  const { status } = await send([200, 201], 'POST', '/accounts', account);
  if (status === 201) report.opened += 1;
}

interface Stage {
  readonly client: number;
  readonly own: readonly number[];
  readonly accounts: readonly number[];
  readonly turn: number;
  readonly report: DriveReport;
}
type Scene = (send: Send, stage: Stage) => Promise<void>;

const sendMoney: Scene = async (send, { own, accounts, turn, report }) => {
  const source = own[turn % own.length];
  const others = accounts.filter((id) => id !== source);
  const destination = others[turn % others.length];
  const transfer = { source, destination, cents: 1 + (turn % 100), key: `drive-${randomUUID()}` };
  const first = await send(201, 'POST', '/transfers', transfer);
  if (first.status !== 201) return;
  report.keys.push(transfer.key);
  if (turn % 3 > 0) return;
  const again = await send(200, 'POST', '/transfers', transfer);
  if (again.body.id !== first.body.id) surprise(report, `${transfer.key}: sent twice, stored twice`);
  await send(409, 'POST', '/transfers', { ...transfer, cents: transfer.cents + 1 });
};

const walkPages: Scene = async (send, { report }) => {
  let after = '';
  let last = 0;
  for (let page = 0; page < 3; page += 1) {
    const { body } = await send(200, 'GET', `/accounts?limit=20${after}`);
    const rows = body.rows as { id: number }[];
    for (const { id } of rows) {
      if (id <= last) surprise(report, `GET /accounts: ${id} came after ${last}`);
      last = id;
    }
    if (typeof body.next !== 'string') return;
    after = `&after=${encodeURIComponent(body.next)}`;
  }
};

const show: Scene = async (send, { own, report }) => {
  for (const id of own) {
    const { body } = await send(200, 'GET', `/accounts/${id}`);
    if (body.id !== id) surprise(report, `GET /accounts/${id} answered ${JSON.stringify(body.id)}`);
  }
};

const readStatement: Scene = async (send, { own, report }) => {
  const { body } = await send(200, 'GET', `/accounts/${own[0]}/statement?limit=100`);
  let balance = 0;
  for (const step of body.rows as { id: number; delta: number; balance: number }[]) {
    balance += step.delta;
    if (balance !== step.balance) surprise(report, `statement of ${own[0]}: step ${step.id} does not add up`);
  }
};

const listByOwner: Scene = async (send) => {
  await send(200, 'GET', '/accounts?owner=Client%201&limit=5');
  await send(200, 'GET', '/owners/Client%201');
};

const askNonsense: Scene = async (send, { client, own, turn }) => {
  const [source, destination] = own;
  const key = `nonsense-${randomUUID()}`;
  const wrong: (() => Promise<Reply>)[] = [
    () => send(404, 'GET', '/accounts/899999999'),
    () => send(404, 'GET', '/nowhere'),
    () => send(404, 'POST', '/transfers', { source, destination: 899_999_999, cents: 1, key }),
    () => send(400, 'GET', '/accounts/first'),
    () => send(400, 'GET', '/accounts?limit=0'),
    () => send(400, 'GET', '/accounts?after=nonsense'),
    () => send(400, 'POST', '/transfers', { source, destination, cents: -5, key }),
    () => send(400, 'POST', '/transfers', '{"source": '),
    () => send(405, 'DELETE', '/accounts'),
    () => send(409, 'POST', '/transfers', { source, destination, cents: 100 * deposit, key }),
    () => send(409, 'POST', '/accounts', { id: source, owner: 'Somebody Else', cents: 1 }),
  ];
  // Each client begins elsewhere, so that a short run has asked everything too.
  await wrong[(client + Math.floor(turn / scenes.length) * 3) % wrong.length]?.();
};

const scenes: readonly Scene[] = [
  show,
  sendMoney,
  walkPages,
  askNonsense,
  sendMoney,
  readStatement,
  show,
  sendMoney,
  listByOwner,
];
