/** The example's CSV: what the reader accepts, what it refuses and why, and how the import goes on around bad lines. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { ConstraintError, StorageError } from 'sluice';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CsvFileError, openCsv, type Row } from '../../examples/ledger/csv.ts';
import { InsufficientFundsError } from '../../examples/ledger/errors.ts';
import { badLines, csvColumns, generateCsv, shipped } from '../../examples/ledger/generate.ts';
import { type ImportApi, importRows } from '../../examples/ledger/import.ts';
import { readLines } from '../../examples/ledger/lines.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-csv-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const header = csvColumns.join(',');
const account = 'account,7,Ann,ann@example.org,1500,,,,2026-01-01T08:00:00Z';
const transfer = 'transfer,,,,250,7,8,k-1,2026-01-01T09:00:00.500Z';

let files = 0;
function csvFile(content: string | Buffer): string {
  const file = join(folder, `${(files += 1)}.csv`);
  writeFileSync(file, content);
  return file;
}

async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of source) all.push(one);
  return all;
}

async function read(content: string | Buffer): Promise<Row[]> {
  return collect(await openCsv(csvFile(content)));
}

/** The reason why this line, alone under the header, is refused. */
async function reason(line: string | Buffer): Promise<string> {
  const [row] = await read(Buffer.concat([Buffer.from(`${header}\n`), Buffer.from(line)]));
  return row?.kind === 'bad' ? row.reason : 'not refused';
}

describe('a file that cannot be imported', () => {
  const refusal = async (content: string | Buffer) => openCsv(csvFile(content)).then(String, (error: unknown) => error);

  test('that is missing is named', async () => {
    await expect(openCsv(join(folder, 'none.csv'))).rejects.toThrow(CsvFileError);
    await expect(openCsv(join(folder, 'none.csv'))).rejects.toThrow(/none\.csv: cannot be read: there is no such file/);
  });

  test('that is a folder is named', async () => {
    await expect(openCsv(folder)).rejects.toThrow(/it is a folder/);
  });

  test('that is empty hears what its first line should be', async () => {
    expect(String(await refusal(''))).toContain(`is empty; its first line should be ${header}`);
  });

  test('with another header hears both', async () => {
    expect(String(await refusal('id,name\n1,Ann\n'))).toContain(`should be ${header}, not "id,name"`);
    expect(String(await refusal(header.replaceAll(',', ';')))).toContain('separated by commas');
    expect(String(await refusal(`${header},extra\n`))).toContain('not "kind,');
  });

  test('in UTF-16 hears so', async () => {
    expect(String(await refusal(Buffer.from(`\u{feff}${header}\n`, 'utf16le')))).toContain('save it as UTF-8');
  });
});

describe('a good line', () => {
  test('of an account is read', async () => {
    expect(await read(`${header}\n${account}\n`)).toMatchObject([
      {
        kind: 'account',
        line: 2,
        account: {
          id: 7,
          owner: 'Ann',
          email: 'ann@example.org',
          cents: 1500,
          at: new Date(Date.UTC(2026, 0, 1, 8)),
        },
      },
    ]);
  });

  test('of a transfer is read', async () => {
    expect(await read(`${header}\n${transfer}`)).toMatchObject([
      { kind: 'transfer', line: 2, transfer: { source: 7, destination: 8, cents: 250, key: 'k-1' } },
    ]);
  });

  test('may come after a byte order mark, with CRLF, between blank lines, and without a line end', async () => {
    const rows = await read(`\u{feff}${header}\r\n\r\n${account}\r\n\r\n${transfer}`);
    expect(rows.map(({ kind, line }) => [kind, line])).toEqual([
      ['account', 3],
      ['transfer', 5],
    ]);
  });

  test('may have its columns in any order', async () => {
    const order = [8, 7, 6, 5, 4, 3, 2, 1, 0];
    const turn = (line: string) => order.map((index) => line.split(',')[index]).join(',');
    expect(await read(`${turn(header)}\n${turn(account)}\n`)).toMatchObject([{ kind: 'account', account: { id: 7 } }]);
  });

  test('may hold commas, quotes and any script in a quoted field', async () => {
    const [row] = await read(`${header}\n${account.replace('Ann', '"Ng, ""Åsa"" 陳"')}`);
    expect(row).toMatchObject({ account: { owner: 'Ng, "Åsa" 陳' } });
  });
});

describe('a bad line is refused for its own reason', () => {
  test.each([
    ['account,7,Ann', 'has 3 fields instead of 9'],
    [`${account},more`, 'has 10 fields instead of 9'],
    [account.replace('account', 'loan'), 'kind is "loan", not account or transfer'],
    [account.replace('Ann', '  '), 'owner is blank'],
    [account.replace('Ann', ''), 'owner is missing'],
    [account.replace('Ann', 'A\tB'), 'owner has a control character in it'],
    [account.replace('Ann', 'A\rB'), 'owner has a control character in it'],
    [account.replace('Ann', 'A'.repeat(201)), 'owner is 201 characters long; 200 at most'],
    [account.replace('1500', '15.00'), 'cents must be a whole number, not "15.00"'],
    [account.replace('1500', '1e3'), 'cents must be a whole number, not "1e3"'],
    [account.replace('1500', '-1'), 'cents must be at least 0, not "-1"'],
    [account.replace('1500', '99999999999999999999'), 'cents must be a whole number, not "99999999999999999999"'],
    [account.replace(',7,', ',900000000,'), 'id must be at most 899999999, not "900000000"'],
    [account.replace('@', ' at '), 'email is no e-mail address: "ann at example.org"'],
    [account.replace('01-01', '02-29'), 'at must be a time such as 2026-01-31T12:00:00Z, not "2026-02-29T08:00:00Z"'],
    [account.replace('Z', '+01:00'), 'at must be a time such as 2026-01-31T12:00:00Z, not "2026-01-01T08:00:00+01:00"'],
    [account.replace('Ann', '"Ann'), 'has a quote that is not closed on the same line'],
    [account.replace('Ann', '"Ann" B'), 'has text after a closing quote'],
    [account.replace('Ann', 'Ann "B"'), 'has a quote inside a field that does not begin with one'],
    [transfer.replace('250', '0'), 'cents must be at least 1, not "0"'],
    [transfer.replace('k-1', ''), 'key is missing'],
    [transfer.replace(',8,', ',7,'), 'destination is the source too (7)'],
    [transfer.replace(',,,,', ',9,,,'), 'id is not expected here (got "9")'],
    ['account,,,,,,,,', 'id is missing; owner is missing; cents is missing; at is missing'],
  ])('%s', async (line, expected) => {
    expect(await reason(line)).toBe(expected);
  });

  test('that is not UTF-8', async () => {
    expect(await reason(Buffer.from(account.replace('Ann', 'J\u{f8}rgen'), 'latin1'))).toBe('is not UTF-8');
  });

  test('that is huge is read past, and the next one has its right number', async () => {
    const rows = await read(`${header}\n${account.replace('Ann', 'A'.repeat(3_000_000))}\n${transfer}\n`);
    expect(rows).toMatchObject([
      { kind: 'bad', line: 2, reason: 'is longer than 65536 bytes' },
      { kind: 'transfer', line: 3 },
    ]);
  });

  test('with an open quote spoils no other line', async () => {
    const rows = await read(`${header}\n${account.replace('Ann', '"Ann')}\n${account}\n${transfer}\n`);
    expect(rows.map((row) => row.kind)).toEqual(['bad', 'account', 'transfer']);
  });
});

test('lines do not depend on how the bytes arrive', async () => {
  const bytes = Buffer.from('one\r\n\ntwo ø\nlast');
  const cut = async (size: number) => {
    const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
      bytes.subarray(index * size, (index + 1) * size),
    );
    const lines = await collect(readLines(Readable.from(chunks), 100));
    return lines.map(({ number, bytes, end }) => [number, bytes?.toString(), end]);
  };
  const expected = [
    [1, 'one', 5],
    [2, '', 6],
    [3, 'two ø', 13],
    [4, 'last', 17],
  ];
  for (let size = 1; size <= bytes.length; size += 1) expect(await cut(size)).toEqual(expected);
});

describe('the generator', () => {
  test('writes the file that is shipped, byte for byte', () => {
    const file = readFileSync(new URL('../../examples/ledger/data.csv', import.meta.url), 'utf8');
    expect(generateCsv(shipped.seed, shipped.rows) === file).toBe(true);
    expect(Buffer.byteLength(file)).toBeLessThan(2_000_000);
  });

  test('writes another file for another seed', () => {
    expect(generateCsv(1, 100)).not.toBe(generateCsv(2, 100));
  });

  test('puts every bad line in, wherever the end is', () => {
    for (const rows of [100, 1000, 1001]) {
      const lines = generateCsv(3, rows).split('\n');
      expect(lines).toHaveLength(rows + 2);
      for (const { line } of badLines) expect(lines).toContain(line);
    }
  });
});

describe('an import', () => {
  const rows = (count: number) => `${header}\n${`${account}\n${transfer}\n`.repeat(count)}`;
  const accounts: ImportApi['accounts'] = {
    open: ({ id = 1, owner, cents }) =>
      Promise.resolve({
        account: { id, owner, cents, email: null, details: null, closed: false, createdAt: new Date(0), version: 1 },
        repeated: false,
      }),
  };
  const refusing = (error: () => Error): ImportApi => ({
    accounts,
    transfers: { send: () => Promise.reject(error()) },
  });

  test('reports the lines that the ledger refuses and goes on', async () => {
    const api = refusing(() => new InsufficientFundsError(7, 50));
    const report = await importRows(api, await openCsv(csvFile(rows(2))));
    expect(report).toMatchObject({ read: 4, accounts: 2, transfers: 0, bad: 2, stopped: false });
    expect(report.badLines).toEqual([
      { line: 3, reason: 'insufficient funds: account 7 is 50 cents short' },
      { line: 5, reason: 'insufficient funds: account 7 is 50 cents short' },
    ]);
  });

  test('names the columns of a broken constraint', async () => {
    const api = refusing(() => new ConstraintError('x', { kind: 'unique', columns: ['email'] }));
    const report = await importRows(api, await openCsv(csvFile(rows(1))));
    expect(report.badLines).toEqual([{ line: 3, reason: 'email is taken by another row' }]);
  });

  test('ends when the storage fails, after what is in flight', async () => {
    const api = refusing(() => new StorageError('disk full'));
    await expect(importRows(api, await openCsv(csvFile(rows(100))))).rejects.toThrow('disk full');
  });

  test('keeps to the limit of lines in flight', async () => {
    let running = 0;
    let most = 0;
    const slow: ImportApi['accounts'] = {
      open: async (form) => {
        most = Math.max(most, (running += 1));
        await new Promise((resolve) => setImmediate(resolve));
        running -= 1;
        return accounts.open(form);
      },
    };
    const content = `${header}\n${`${account}\n`.repeat(100)}`;
    const api = { ...refusing(() => new Error('unused')), accounts: slow };
    const report = await importRows(api, await openCsv(csvFile(content)), { inFlight: 7 });
    expect([most, running, report.accounts]).toEqual([7, 0, 100]);
  });

  test('stops at the signal, once what is in flight has ended', async () => {
    const controller = new AbortController();
    const content = `${header}\n${`${account}\n`.repeat(1000)}`;
    const api = refusing(() => new Error('unused'));
    const report = await importRows(api, await openCsv(csvFile(content)), {
      signal: controller.signal,
      onProgress: ({ accounts }) => {
        if (accounts === 10) controller.abort();
      },
    });
    expect(report.stopped).toBe(true);
    expect(report.accounts).toBe(report.read);
    expect(report.accounts).toBeLessThan(1000);
  });
});
