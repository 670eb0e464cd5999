import { parseArgs, type ParseArgsConfig } from 'node:util';
import { nearMiss } from '../near-miss.ts';

/** The command line was not understood. Nothing was done; the exit code is 2. */
export class UsageError extends Error {}

type Options = NonNullable<ParseArgsConfig['options']>;

/** `parseArgs`, with an option that is a slip of a known one answered by that one. */
export function parseCommandLine<const O extends Options>(args: readonly string[], options: O) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    const { message } = error as Error;
    const unknown = /^Unknown option '(--?[^'=]+)'/.exec(message)?.[1];
    if (unknown === undefined) throw new UsageError(message, { cause: error });
    const known = Object.keys(options).map((name) => `--${name}`);
    throw new UsageError(`unknown option "${unknown}"${nearMiss(unknown, known)}`, { cause: error });
  }
}
