/** What the ledger refuses, by name. A handler throws these; its caller gets them as they were thrown. */

/** The base of the ledger's own errors. Whatever the call had written is rolled back. */
export class LedgerError extends Error {
  /** Stable and machine-readable; the HTTP answer carries it. */
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
    this.name = new.target.name;
  }
}

/** There is no account of this number. */
export class UnknownAccountError extends LedgerError {
  readonly account: number;

  constructor(account: number) {
    super('unknown-account', `there is no account ${account}`);
    this.account = account;
  }
}

/** The source holds less than is to be sent. */
export class InsufficientFundsError extends LedgerError {
  readonly account: number;
  /** How many cents short. */
  readonly missing: number;

  constructor(account: number, missing: number) {
    super('insufficient-funds', `insufficient funds: account ${account} is ${missing} cents short`);
    this.account = account;
    this.missing = missing;
  }
}

/** The account is closed and takes part in no transfer. */
export class ClosedAccountError extends LedgerError {
  readonly account: number;

  constructor(account: number) {
    super('account-closed', `account ${account} is closed`);
    this.account = account;
  }
}

/** The idempotency key belongs to a transfer that says something else. */
export class IdempotencyConflictError extends LedgerError {
  readonly key: string;

  constructor(key: string) {
    super('idempotency-conflict', `the key ${JSON.stringify(key)} was used before, for a different transfer`);
    this.key = key;
  }
}

/** The account number is taken by an account that was opened with other data. */
export class AccountExistsError extends LedgerError {
  readonly account: number;

  constructor(account: number) {
    super('account-exists', `account ${account} exists already, opened with other data`);
    this.account = account;
  }
}
