import { type Summary } from '../measure/summary.ts';
import { type CaseResult, type Cell, type Requirement, type Table } from './case.ts';

/** A case as a person reads it. */
export function printCase(name: string, result: CaseResult): string {
  const settings = Object.entries(result.settings).map(([key, value]) => `${key} ${value}`);
  return [
    `\n## ${name}  (${settings.join(', ')})`,
    ...result.tables.map(printTable),
    ...result.requirements.map(printRequirement),
  ].join('\n');
}

function printTable({ title, unit, rows }: Table): string {
  const sides = [...new Set(rows.flatMap((row) => Object.keys(row.sides)))];
  const lines = [[unit, ...sides], ...rows.map((row) => [row.label, ...sides.map((side) => cell(row.sides[side]))])];
  const widths = lines[0]?.map((_, at) => Math.max(...lines.map((line) => line[at]?.length ?? 0))) ?? [];
  const text = lines.map((line) =>
    line.map((word, at) => (at === 0 ? word.padEnd(widths[at] ?? 0) : word.padStart(widths[at] ?? 0))).join('   '),
  );
  return `\n${title}\n${text.map((line) => `  ${line}`).join('\n')}\n`;
}

function cell(found: Cell | undefined): string {
  if (found === undefined) return '–';
  if (found.ratio === undefined) return number(found.value);
  return `${number(found.value)} (${spread(found.ratio)})`;
}

/** One line: what was asked for, and what was found. */
export function printRequirement({ what, found, sense, limit, unit, pass }: Requirement): string {
  if (!Number.isFinite(limit)) return `  ----  ${what}: ${spread(found)}${unit}`;
  return `  ${pass ? 'PASS' : 'MISS'}  ${what}: ${spread(found)}${unit}, ${sense} ${limit}${unit}`;
}

/** The median, and between which figures half of the rounds lie. */
function spread({ median, low, high }: Summary): string {
  return low === high ? number(median) : `${number(median)} [${number(low)}–${number(high)}]`;
}

function number(value: number): string {
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString('en-US').replaceAll(',', ' ');
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}
