import { CallSite } from '../context/call-site.ts';
import { type Ambient } from '../context/context.ts';
import { type Scope } from '../context/scope.ts';
import { isPlain } from '../plain.ts';
import { type Method } from '../repository/methods.ts';
import { type Batches } from './batches.ts';
import { HandlerBatches } from './handler-batches.ts';
import { PinnedBatches } from './pinned-batches.ts';
import { StreamIterator } from './stream-iterator.ts';
import { type StreamHost } from './stream-host.ts';
import { TableBatches } from './table-batches.ts';

/** A call of the api that gives a stream. */
export interface StreamRequest {
  readonly method: Method;
  readonly args: readonly unknown[];
  /** What surrounds it. */
  readonly made: Ambient | undefined;
  /** The transaction or snapshot that it is made in. */
  readonly home: Scope | undefined;
}

/** Makes a stream: each iteration begins anew, and does nothing before its first pull. */
export function makeStream(host: StreamHost, request: StreamRequest): AsyncIterable<unknown> {
  const batches = beginner(host, request);
  return { [Symbol.asyncIterator]: () => new StreamIterator(request.method.label, request.made, batches()) };
}

function beginner(host: StreamHost, { method, args, home }: StreamRequest): () => Batches<unknown> {
  if (method.gives === 'items') return () => new HandlerBatches(host, method, args, home);
  const [filter, options] = args;
  if (!isPlain(options) || options.consistent !== true) return () => new TableBatches(host, method, args, home);
  const site = new CallSite();
  return () => new PinnedBatches(host, { method, filter, options, home, site });
}
