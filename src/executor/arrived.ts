import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';

/** What lies in a port, in order: heard without the event loop. What comes while it is looked at is looked at, too. */
export function* arrived<T>(port: MessagePort): Generator<T, void> {
  for (;;) {
    const received = receiveMessageOnPort(port) as { message: T } | undefined;
    if (received === undefined) return;
    yield received.message;
  }
}
