/** What tests of streams pull with. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { type LedgerDatabase } from './ledger.ts';
import { type TempDir } from './temp-dir.ts';

/** One iteration, with its rare methods at hand. */
export function iterate<T>(stream: AsyncIterable<T>): Required<AsyncIterator<T, undefined>> {
  return stream[Symbol.asyncIterator]() as Required<AsyncIterator<T, undefined>>;
}

/** Everything that a stream gives. */
export async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of stream) items.push(item);
  return items;
}

/** What an iteration still gives, and what it ends with, if that is an error. */
export async function exhaust<T>(iteration: Pick<AsyncIterator<T>, 'next'>): Promise<{ items: T[]; error: unknown }> {
  const items: T[] = [];
  try {
    for (let step = await iteration.next(); step.done !== true; step = await iteration.next()) items.push(step.value);
    return { items, error: undefined };
  } catch (error) {
    return { items, error };
  }
}

/** `call/part` of each row. */
export async function listed(stream: AsyncIterable<{ call: string; part: number }>): Promise<string[]> {
  return (await collect(stream)).map(({ call, part }) => `${call}/${part}`);
}

/** Inserts rows `a/1`, `a/2`, …, whose ids are their parts in an empty table. */
export async function fill(db: LedgerDatabase, rows: number, call = 'a'): Promise<string[]> {
  const parts = Array.from({ length: rows }, (_, at) => at + 1);
  await db.api.entries.insertMany(parts.map((part) => ({ call, part })));
  return parts.map((part) => `${call}/${part}`);
}

/** The calls of one method that were begun from now on until the test ends. */
export function countCalls(dir: TempDir, label: string): { readonly begun: number } {
  const seen = { begun: 0 };
  const count = (message: unknown): void => {
    if ((message as { call?: string }).call === label) seen.begun += 1;
  };
  subscribe('tracing:sluice:call:start', count);
  dir.atEnd(() => unsubscribe('tracing:sluice:call:start', count));
  return seen;
}
