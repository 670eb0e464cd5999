/**
 * Makes the example's CSV: the same text for the same seed, byte for byte, on every machine.
 *
 * Accounts and transfers are interleaved the way a year would have written them. The generator keeps the books while it
 * writes, so each good transfer finds the money it needs; {@link badLines} are the deliberate exceptions.
 */

/** The format: an account fills id, owner, email, cents and at, a transfer cents, source, destination, key and at. */
export const csvColumns = ['kind', 'id', 'owner', 'email', 'cents', 'source', 'destination', 'key', 'at'] as const;

/** What data.csv is made with. */
export const shipped = { seed: 20_261_122, rows: 20_000 } as const;

/** Lines that an import must refuse: why, and what stands in the file. */
export const badLines: readonly { readonly because: string; readonly line: string }[] = [
  { because: 'an amount that is no number', line: 'account,501,Bad Number,,twelve,,,,2026-01-01T09:00:00Z' },
  { because: 'a negative opening', line: 'account,502,Negative Opening,,-100,,,,2026-01-01T09:00:00Z' },
  { because: 'a missing owner', line: 'account,503,,no.owner@example.org,1000,,,,2026-01-01T09:00:00Z' },
  { because: 'an account number that is taken', line: 'account,1000,Somebody Else,,1000,,,,2026-01-01T09:00:00Z' },
  { because: 'too few fields', line: 'account,504,Too Few Fields,1000' },
  { because: 'a quote that is never closed', line: 'account,505,"Open Quote,,1000,,,,2026-01-01T09:00:00Z' },
  { because: 'an unknown kind', line: 'refund,,,,500,1000,1001,bad-kind,2026-01-01T09:00:00Z' },
  { because: 'an unknown account', line: 'transfer,,,,500,1000,999999,bad-account,2026-01-01T09:00:00Z' },
  { because: 'insufficient funds', line: 'transfer,,,,90000000000,1000,1001,bad-funds,2026-01-01T09:00:00Z' },
  { because: 'the key of another transfer', line: 'transfer,,,,77,1000,1001,t-000001,2026-01-01T09:00:00Z' },
  { because: 'a day that does not exist', line: 'transfer,,,,500,1000,1001,bad-day,2026-02-30T09:00:00Z' },
  { because: 'source and destination the same', line: 'transfer,,,,500,1000,1000,bad-loop,2026-01-01T09:00:00Z' },
];

const firstAccount = 1000;
const givenNames =
  'Ada,Åsa,Benoît,Chidi,Dolores,Emeka,Fatima,Grace,Hana,Ines,Jørgen,Kofi,Léa,Mei,Nuno,Olga,Priya,Quentin,Rosa,Søren,Tomás,Uma,Vera,Wanjiru,Xin,Yusuf,Zofia'.split(
    ',',
  );
const familyNames =
  "Abara,Berg,Costa,D'Angelo,Eriksen,Fischer,García,Haddad,Ito,Jansen,Kovács,Lindqvist,Mbeki,Nguyen,O'Brien,Petrov,Quispe,Rossi,Sato,Tanaka,Usman,Varga,Wójcik,Yılmaz,Zhang".split(
    ',',
  );
const trades = ['Bakery', 'Bicycles', 'Books, Maps', 'Carpentry', 'Garden Tools', 'Plumbing & Heating', 'Tea'];

/** Some `rows` rows after the header: one account to twelve transfers, and every one of {@link badLines}. */
export function generateCsv(seed: number, rows: number): string {
  const random = mulberry32(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const pick = (list: readonly string[]) => list[below(list.length)] ?? '';

  const balances: number[] = [];
  const lines: string[] = [csvColumns.join(',')];
  const badEvery = Math.floor(rows / (badLines.length + 1));
  let time = Date.UTC(2026, 0, 1, 8);
  let sent = 0;
  const at = () => new Date(time).toISOString().replace('.000Z', 'Z');

  const openAccount = () => {
    const id = firstAccount + balances.length;
    const [given, family] = [pick(givenNames), pick(familyNames)];
    const owner = ownerName(random(), given, family, pick(trades));
    // Every seventh has no address; the number makes the others unique.
    const email = id % 7 === 0 ? '' : `${ascii(given)}.${ascii(family)}.${id}@example.org`;
    const cents = 5_000 + below(495_000);
    balances.push(cents);
    return ['account', id, quoted(owner), email, cents, '', '', '', at()].join(',');
  };

  const transfer = () => {
    let from = below(balances.length);
    // Somebody who has too little to send passes the turn to the next.
    while ((balances[from] ?? 0) < 100) from = (from + 1) % balances.length;
    const to = (from + 1 + below(balances.length - 1)) % balances.length;
    const balance = balances[from] ?? 0;
    const cents = 1 + below(Math.min(balance, 25_000));
    balances[from] = balance - cents;
    balances[to] = (balances[to] ?? 0) + cents;
    sent += 1;
    const key = `t-${String(sent).padStart(6, '0')}`;
    return ['transfer', '', '', '', cents, firstAccount + from, firstAccount + to, key, at()].join(',');
  };

  for (let row = 1; row <= rows; row += 1) {
    time += 1000 * (1 + below(2_500));
    const bad = row % badEvery === 0 ? badLines[row / badEvery - 1] : undefined;
    // A few accounts to begin with; after that a new one now and then.
    if (bad) lines.push(bad.line);
    else lines.push(balances.length < 10 || random() < 1 / 13 ? openAccount() : transfer());
  }
  return `${lines.join('\n')}\n`;
}

function ownerName(dice: number, given: string, family: string, trade: string): string {
  if (dice < 0.6) return `${given} ${family}`;
  if (dice < 0.85) return `${family}, ${given}`;
  return dice < 0.95 ? `${family} ${trade}, Ltd.` : `"${given}'s" ${trade}`;
}

function quoted(field: string): string {
  return /[",]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
}

/** A name as an e-mail address may have it. */
function ascii(name: string): string {
  return name
    .normalize('NFD')
    .replaceAll('ø', 'o')
    .replaceAll('ı', 'i')
    .replaceAll('ł', 'l')
    .replace(/[^a-z]/gi, '')
    .toLowerCase();
}

/** Tommy Ettinger's mulberry32: 32 bits of state, and the same numbers everywhere. */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
