import { inspect } from 'node:util';
import { type Effect } from '../connection/connection.ts';
import { callChannel } from '../observe/trace.ts';

/**
 * Runs what handlers asked for after their commit. One that throws, or whose promise rejects, fails nobody: the write is
 * committed already. It is reported, and the next one runs. Never throws.
 */
export function runEffects(effects: readonly Effect[], label: string): void {
  for (const effect of effects) {
    try {
      const result = effect();
      if (result instanceof Promise) {
        result.catch((error: unknown) => {
          warn(error, label);
        });
      }
    } catch (error) {
      warn(error, label);
    }
  }
}

function warn(error: unknown, label: string): void {
  if (callChannel.error.hasSubscribers) callChannel.error.publish({ call: label, phase: 'afterCommit', error });
  process.emitWarning(`${label}: a function given to afterCommit threw: ${text(error)}`, {
    type: 'SluiceWarning',
    code: 'SLUICE_AFTER_COMMIT',
  });
}

/** Whatever was thrown, in words: also what has no prototype, or a getter that throws. */
function text(error: unknown): string {
  try {
    return error instanceof Error ? (error.stack ?? error.message) : inspect(error);
  } catch {
    return 'something that cannot be shown';
  }
}
