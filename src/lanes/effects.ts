import { callChannel } from '../observe/trace.ts';
import { type Effect } from '../connection/connection.ts';

/** Runs what handlers asked for after their commit. One that throws fails nobody: the write is committed already. */
export function runEffects(effects: readonly Effect[], label: string): void {
  for (const effect of effects) {
    try {
      effect();
    } catch (error) {
      warn(error, label);
    }
  }
}

function warn(error: unknown, label: string): void {
  if (callChannel.error.hasSubscribers) callChannel.error.publish({ call: label, phase: 'afterCommit', error });
  process.emitWarning(
    `${label}: a function given to afterCommit threw: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    { type: 'SluiceWarning', code: 'SLUICE_AFTER_COMMIT' },
  );
}
