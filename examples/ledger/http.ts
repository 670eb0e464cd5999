/** HTTP and JSON, nothing of the ledger: finds the route, reads the body, writes the answer. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';

/** A request as a route sees it. */
export interface Call {
  /** The named parts of the path, percent-decoded. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** The parsed JSON body; `undefined` for a GET. */
  readonly body: unknown;
}

export interface Answer {
  readonly status: number;
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Route {
  readonly method: 'GET' | 'POST';
  /** Segments with `:name` for the parts that vary, for example `/accounts/:id`. */
  readonly path: string;
  readonly run: (call: Call) => Promise<Answer>;
}

/** A request that ends here, with this status. */
export class HttpError extends Error {
  readonly status: number;
  readonly code: string;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, code: string, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.name = 'HttpError';
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

const longestBody = 64 * 1024;

/** A server, not yet listening. `answerError` turns what a route throws into an answer; {@link HttpError}s never reach it. */
export function createJsonServer(routes: readonly Route[], answerError: (error: unknown) => Answer): Server {
  const table = routes.map((route) => ({ ...route, segments: route.path.split('/') }));
  const server = createServer({ headersTimeout: 10_000, requestTimeout: 15_000 }, (request, response) => {
    answer(table, request)
      .catch((error: unknown) => (error instanceof HttpError ? httpAnswer(error) : answerError(error)))
      .then((reply) => {
        write(response, reply);
      })
      .catch((error: unknown) => {
        // Only a body that JSON cannot hold, or an `answerError` that throws, gets here.
        response.destroy(error instanceof Error ? error : new Error(String(error)));
      });
  });
  return server;
}

/** Stops taking connections, lets running requests finish, and after `patience` ms cuts off what is left. */
export async function closeServer(server: Server, patience: number): Promise<void> {
  const closed = new Promise<void>((resolve) =>
    server.close(() => {
      resolve();
    }),
  );
  server.closeIdleConnections();
  const deadline = setTimeout(() => {
    server.closeAllConnections();
  }, patience);
  await closed;
  clearTimeout(deadline);
}

type Entry = Route & { readonly segments: readonly string[] };

async function answer(table: readonly Entry[], request: IncomingMessage): Promise<Answer> {
  const [path = '/', query] = (request.url ?? '/').split('?', 2);
  const segments = path.split('/').map(decode);
  const here = table.filter((entry) => fits(entry.segments, segments));
  if (here.length === 0) throw new HttpError(404, 'not-found', `there is nothing at ${path}`);
  // What answers GET answers HEAD; Node leaves the body out by itself.
  const method = request.method === 'HEAD' ? 'GET' : request.method;
  const route = here.find((entry) => entry.method === method);
  if (!route) {
    const allow = here.flatMap((entry) => (entry.method === 'GET' ? ['GET', 'HEAD'] : [entry.method])).join(', ');
    throw new HttpError(405, 'method-not-allowed', `${path} takes ${allow}`, { allow });
  }
  const named = route.segments.flatMap((name, index) =>
    name.startsWith(':') ? [[name.slice(1), segments[index] ?? '']] : [],
  );
  const params = Object.fromEntries(named) as Record<string, string>;
  const body = route.method === 'POST' ? await readJson(request) : undefined;
  return route.run({ params, query: new URLSearchParams(query), body });
}

function fits(pattern: readonly string[], segments: readonly string[]): boolean {
  return (
    pattern.length === segments.length &&
    pattern.every((part, index) => (part.startsWith(':') ? segments[index] !== '' : part === segments[index]))
  );
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new HttpError(400, 'bad-path', `the path has a broken percent-encoding: ${segment}`);
  }
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  // A page in a browser cannot send this type to another origin without asking, which keeps it away from a local service.
  const type = request.headers['content-type']?.split(';')[0]?.trim().toLowerCase();
  if (type !== 'application/json') throw new HttpError(415, 'unsupported-media-type', 'send application/json');
  const text = await readText(request);
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new HttpError(400, 'malformed-json', 'the body is not JSON');
  }
}

function readText(request: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let length = 0;
    const tooLarge = () => {
      reject(new HttpError(413, 'body-too-large', `the body may have ${longestBody} bytes`, { connection: 'close' }));
    };
    request.on('data', (part: Buffer) => {
      length += part.length;
      if (length <= longestBody) parts.push(part);
      // Reads past a moderate excess, so that the sender hears the answer instead of a reset connection.
      else if (length > 16 * longestBody) tooLarge();
    });
    request.on('end', () => {
      if (length > longestBody) tooLarge();
      else resolve(Buffer.concat(parts).toString('utf8'));
    });
    request.on('error', () => {
      reject(new HttpError(400, 'aborted', 'the request was broken off'));
    });
  });
}

function httpAnswer({ status, code, message, headers }: HttpError): Answer {
  return { status, body: { error: { code, message } }, headers };
}

function write(response: ServerResponse, { status, body, headers }: Answer): void {
  const text = Buffer.from(`${JSON.stringify(body)}\n`);
  response.writeHead(status, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': text.length,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...headers,
  });
  response.end(text);
}
