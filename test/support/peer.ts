/** Another process with the same file open through raw better-sqlite3, which does what it is told. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { type TempDir } from './temp-dir.ts';

const main = fileURLToPath(new URL('./peer-main.ts', import.meta.url));

/** What can be asked of the other process. */
export type Order =
  /** BEGIN IMMEDIATE: from the answer on it holds the write lock. */
  | { readonly kind: 'lock' }
  | { readonly kind: 'unlock' }
  /** Begins to look at the state of this moment, until `unpin`. */
  | { readonly kind: 'pin' }
  | { readonly kind: 'unpin' }
  /** Commits an entry. */
  | { readonly kind: 'insert'; readonly call: string }
  /** Answers with every entry as `call/part`. */
  | { readonly kind: 'list' };

export interface Peer {
  /** Resolves when it has been done. */
  ask(order: Order): Promise<unknown>;
}

/** Starts the other process; it is ended after the test. */
export async function startPeer(dir: TempDir, file = dir.file()): Promise<Peer> {
  const child = fork(main, [file]);
  dir.atEnd(() => stop(child));
  await once(child, 'message');
  return {
    async ask(order) {
      const answer = once(child, 'message');
      child.send(order);
      const [result] = (await answer) as [unknown];
      return result;
    },
  };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}
