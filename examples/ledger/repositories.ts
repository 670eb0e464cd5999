/**
 * The ledger's handlers: what happens inside the database, one synchronous function a job. A factory runs once for each
 * connection, so what it prepares stays prepared. A handler may be run again when its batch is replayed and may run in
 * a worker thread, so it takes and gives plain data and touches nothing but the database.
 *
 * RETURNING is read with `.all()`: `.get()` resets the statement before it is done, and SQLite then skips its
 * automatic checkpoint.
 */
import { channel } from 'node:diagnostics_channel';
import { BroadcastChannel, isMainThread } from 'node:worker_threads';
import { and, asc, eq, gt, sql } from 'drizzle-orm';
import { type Database, defineRepositories, defineRepository } from 'sluice';
import { accounts, audit, transfers } from '../../schema/index.ts';
import {
  AccountExistsError,
  ClosedAccountError,
  IdempotencyConflictError,
  InsufficientFundsError,
  LedgerError,
  UnknownAccountError,
} from './errors.ts';
import { type AccountForm } from './forms.ts';

export type Account = typeof accounts.$inferSelect;
export type Transfer = typeof transfers.$inferSelect;

/** Where each new transfer is announced, once it is committed. */
export const sentChannel = channel('ledger:sent');

// Effects run in the thread that owns the database. Where that is another one, it passes the announcement on.
if (!isMainThread) {
  const broadcast = new BroadcastChannel('ledger:sent');
  broadcast.unref();
  sentChannel.subscribe((transfer) => {
    broadcast.postMessage(transfer);
  });
}

export const auditRepository = defineRepository(audit, {
  reads: (db) => {
    const opening = db
      .select({ cents: audit.delta })
      .from(audit)
      .where(and(eq(audit.account, sql.placeholder('account')), eq(audit.action, 'opened')))
      .limit(1)
      .prepare();
    const deposits = db
      .select({ cents: sql<number>`coalesce(sum(${audit.delta}), 0)` })
      .from(audit)
      .where(eq(audit.action, 'opened'))
      .prepare();
    const statement = db
      .select({
        id: audit.id,
        at: audit.at,
        action: audit.action,
        delta: audit.delta,
        balance: audit.balance,
        key: transfers.idempotencyKey,
        counterparty: sql<
          number | null
        >`case when ${audit.action} = 'sent' then ${transfers.destination} else ${transfers.source} end`,
      })
      .from(audit)
      .leftJoin(transfers, eq(transfers.id, audit.transfer))
      .where(and(eq(audit.account, sql.placeholder('account')), gt(audit.id, sql.placeholder('after'))))
      .orderBy(asc(audit.id))
      .limit(sql.placeholder('limit'))
      .prepare();
    return {
      /** What the account was opened with, in cents. */
      opening: (account: number) => opening.all({ account })[0]?.cents,

      /** All money that ever came into the ledger, in cents. */
      deposits: () => deposits.all()[0]?.cents ?? 0,

      /** The account's steps after step `after`, oldest first, and the step to go on from. */
      statement: (account: number, { after, limit }: { after: number; limit: number }) => {
        const rows = statement.all({ account, after, limit: limit + 1 });
        const page = rows.slice(0, limit);
        return { rows: page, next: rows.length > limit ? page.at(-1)?.id : undefined };
      },

      /** Accounts whose steps do not lead from nothing to their balance; none, in a sound ledger. */
      unbalanced: (limit: number) =>
        db.all<{ account: number }>(sql`
          with steps as (
            select account, delta, balance, lag(balance, 1, 0) over (partition by account order by id) as before
            from audit
          )
          select account from steps where before + delta <> balance
          union
          select id from accounts where cents <> coalesce(
            (select balance from audit where audit.account = accounts.id order by audit.id desc limit 1), 0)
          limit ${limit}`),

      /** Transfers without exactly one step out of the source and one into the destination; none, in a sound ledger. */
      unpaired: (limit: number) =>
        db.all<{ transfer: number }>(sql`
          select transfers.id as transfer from transfers left join audit on audit.transfer = transfers.id
          group by transfers.id
          having count(audit.id) <> 2
            or sum(audit.action = 'sent' and audit.account = source and audit.delta = -transfers.cents) <> 1
            or sum(audit.action = 'received' and audit.account = destination and audit.delta = transfers.cents) <> 1
          limit ${limit}`),
    };
  },
});

export const accountRepository = defineRepository(accounts, {
  reads: (db) => {
    const byOwner = db
      .select()
      .from(accounts)
      .where(eq(accounts.owner, sql.placeholder('owner')))
      .orderBy(asc(accounts.id))
      .prepare();
    const total = db
      .select({ cents: sql<number>`coalesce(sum(${accounts.cents}), 0)` })
      .from(accounts)
      .prepare();
    return {
      byOwner: (owner: string) => byOwner.all({ owner }),

      /** All money in the ledger, in cents. */
      total: () => total.all()[0]?.cents ?? 0,
    };
  },
  writes: (db, { use }) => {
    const byId = db
      .select()
      .from(accounts)
      .where(eq(accounts.id, sql.placeholder('id')))
      .prepare();
    const insert = db
      .insert(accounts)
      .values({
        id: sql.placeholder('id'),
        owner: sql.placeholder('owner'),
        email: sql.placeholder('email'),
        cents: sql.placeholder('cents'),
        createdAt: sql.placeholder('at'),
      })
      .returning()
      .prepare();
    const credit = db
      .update(accounts)
      .set({ cents: sql`${accounts.cents} + ${sql.placeholder('cents')}`, version: sql`${accounts.version} + 1` })
      .where(eq(accounts.id, sql.placeholder('id')))
      .returning({ cents: accounts.cents })
      .prepare();
    return {
      /** Opens an account. The same data twice is one account: the stored one comes back, `repeated`. */
      open: ({ id, owner, email, cents, at = new Date() }: AccountForm) => {
        const steps = use(auditRepository);
        const stored = id === undefined ? undefined : byId.all({ id })[0];
        if (stored) {
          const same = stored.owner === owner && stored.email === (email ?? null) && steps.opening(stored.id) === cents;
          if (!same) throw new AccountExistsError(stored.id);
          return { account: stored, repeated: true };
        }
        const account = only(insert.all({ id: id ?? null, owner, email: email ?? null, cents, at }));
        steps.insert({ account: account.id, action: 'opened', delta: cents, balance: cents, at });
        return { account, repeated: false };
      },

      /** Adds `cents`, which may be negative, and gives the new balance. Half of a transfer: writes no audit step. */
      credit: (id: number, cents: number) => {
        const [row] = credit.all({ id, cents });
        if (!row) throw new UnknownAccountError(id);
        return row.cents;
      },
    };
  },
});

export const transferRepository = defineRepository(transfers, {
  writes: (db, { use, afterCommit }) => {
    const byKey = db
      .select()
      .from(transfers)
      .where(eq(transfers.idempotencyKey, sql.placeholder('key')))
      .prepare();
    const insert = db
      .insert(transfers)
      .values({
        source: sql.placeholder('from'),
        destination: sql.placeholder('to'),
        cents: sql.placeholder('cents'),
        at: sql.placeholder('at'),
        idempotencyKey: sql.placeholder('key'),
      })
      .returning()
      .prepare();
    return {
      /** Moves money. The same key and data twice is one transfer: the stored one comes back, `repeated`. */
      send: (from: number, to: number, cents: number, key: string, at?: Date) => {
        const [stored] = byKey.all({ key });
        if (stored) {
          const same = stored.source === from && stored.destination === to && stored.cents === cents;
          if (!same || (at && at.getTime() !== stored.at.getTime())) throw new IdempotencyConflictError(key);
          return { transfer: stored, repeated: true };
        }
        const { get, credit } = use(accountRepository);
        const source = open(from, get(from));
        open(to, get(to));
        if (source.cents < cents) throw new InsufficientFundsError(from, cents - source.cents);

        const when = at ?? new Date();
        const transfer = only(insert.all({ from, to, cents, key, at: when }));
        const step = { transfer: transfer.id, at: when };
        const steps = use(auditRepository);
        steps.insert({ ...step, account: from, action: 'sent', delta: -cents, balance: credit(from, -cents) });
        steps.insert({ ...step, account: to, action: 'received', delta: cents, balance: credit(to, cents) });
        afterCommit(() => {
          sentChannel.publish(transfer);
        });
        return { transfer, repeated: false };
      },
    };
  },
});

/** The registry. It knows the module it lives in, so that a worker thread can import the same handlers. */
export const ledger = defineRepositories(
  import.meta.url,
  { accounts: accountRepository, transfers: transferRepository, audit: auditRepository },
  {
    errors: [
      LedgerError,
      AccountExistsError,
      ClosedAccountError,
      IdempotencyConflictError,
      InsufficientFundsError,
      UnknownAccountError,
    ],
  },
);

/** The api over {@link ledger}: the same functions seen from outside. */
export type LedgerApi = Database<typeof ledger>['api'];

function open(id: number, account: Account | undefined): Account {
  if (!account) throw new UnknownAccountError(id);
  if (account.closed) throw new ClosedAccountError(id);
  return account;
}

function only<T>(rows: T[]): T {
  const [row] = rows;
  if (row === undefined) throw new Error('INSERT … RETURNING gave no row');
  return row;
}
