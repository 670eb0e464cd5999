/** Figures as people read them, the same on every machine. */

/** Cents as an amount: `1234567` is `12 345.67`. */
export function money(cents: number): string {
  return `${grouped(Math.trunc(cents / 100))}.${String(Math.abs(cents % 100)).padStart(2, '0')}`;
}

/** A whole number in groups of three: `1234567` is `1 234 567`. */
export function grouped(number: number): string {
  return String(Math.round(number)).replace(/\B(?=(\d{3})+$)/g, ' ');
}
