/** Whether the books are right: asked in one snapshot, so that every figure is of the same moment. */
import { type Database } from 'sluice';
import { grouped, money } from './format.ts';
import { type ledger } from './repositories.ts';

/** What this run was told is stored. */
export interface Acknowledged {
  /** Rows that were there before the run, and how many the run has added, by every answer it got. */
  readonly accounts: number;
  readonly transfers: number;
  /** Keys of transfers that were acknowledged over HTTP. */
  readonly keys: readonly string[];
}

export interface Check {
  readonly law: string;
  readonly holds: boolean;
  readonly detail: string;
}

/** Looks at the whole ledger. */
export async function checkLedger(db: Database<typeof ledger>, told: Acknowledged): Promise<Check[]> {
  return db.snapshot(async ({ accounts, audit, transfers }) => {
    const [total, deposits] = [await accounts.total(), await audit.deposits()];
    const unbalanced = await audit.unbalanced(5);
    const unpaired = await audit.unpaired(5);
    const [accountRows, transferRows] = [await accounts.count(), await transfers.count()];
    const found = await transfers.count({ idempotencyKey: { in: told.keys } });
    return [
      {
        law: 'money is conserved',
        holds: total === deposits,
        detail: `balances ${money(total)}, deposits ${money(deposits)}`,
      },
      {
        law: 'every statement adds up to its balance',
        holds: unbalanced.length === 0,
        detail:
          unbalanced.length === 0
            ? `${grouped(accountRows)} accounts`
            : `not so: ${list(unbalanced.map((row) => row.account))}`,
      },
      {
        law: 'every transfer has left one account and reached another',
        holds: unpaired.length === 0,
        detail:
          unpaired.length === 0
            ? `${grouped(transferRows)} transfers`
            : `not so: ${list(unpaired.map((row) => row.transfer))}`,
      },
      {
        // More is no fault: another process may be at work on the same file.
        law: 'everything acknowledged is stored',
        holds: accountRows >= told.accounts && transferRows >= told.transfers && found === told.keys.length,
        detail: `${grouped(told.accounts)} accounts, ${grouped(told.transfers)} transfers, ${found} of ${told.keys.length} keys sent over HTTP`,
      },
    ];
  });
}

function list(ids: readonly number[]): string {
  return ids.length < 5 ? ids.join(', ') : `${ids.join(', ')}, …`;
}
