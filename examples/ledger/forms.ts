/** What an account and a transfer look like when they come from outside; the CSV reader and the service share it. */
import { email, type Form, instant, optional, readFields, text, ValidationError, whole } from './validate.ts';

/** Account numbers from here on belong to the demonstration's own accounts (drive.ts), so that no CSV meets them. */
export const firstReservedAccount = 900_000_000;

/** The largest amount in one opening or transfer: far below what a sum of many could round. */
export const largestAmount = 100_000_000_000;

export interface AccountForm {
  readonly id?: number | undefined;
  readonly owner: string;
  readonly email?: string | undefined;
  readonly cents: number;
  readonly at?: Date | undefined;
}

export interface TransferForm {
  readonly source: number;
  readonly destination: number;
  readonly cents: number;
  readonly key: string;
  readonly at?: Date | undefined;
}

const accountNumber = whole({ min: 1, max: 999_999_999 });
const key = text({ max: 100 });

/** Reads an account. A file says its number and time; over HTTP the time is the server's and the number may be, too. */
export function readAccount(values: unknown, form: Form): AccountForm {
  const rest = { owner: text(), email: optional(email()), cents: whole({ min: 0, max: largestAmount }) };
  return form === 'json'
    ? readFields(values, { id: optional(accountNumber), ...rest }, form)
    : readFields(values, { id: whole({ min: 1, max: firstReservedAccount - 1 }), ...rest, at: instant() }, form);
}

/** Reads a transfer. Over HTTP its time is the server's. */
export function readTransfer(values: unknown, form: Form): TransferForm {
  const rest = { source: accountNumber, destination: accountNumber, cents: whole({ min: 1, max: largestAmount }), key };
  const read = readFields(values, form === 'json' ? rest : { ...rest, at: instant() }, form);
  if (read.source === read.destination) {
    throw new ValidationError([{ field: 'destination', problem: `is the source too (${read.source})` }]);
  }
  return read;
}
