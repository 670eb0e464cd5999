/** What the example prints: plain text, coloured only where somebody looks at a terminal. */
import { type Decision } from 'sluice';
import { type Check } from './checks.ts';
import { type DriveReport } from './drive.ts';
import { grouped } from './format.ts';
import { type ImportReport } from './import.ts';

/** Paints a text, or leaves it as it is. */
export type Paint = (colour: 'red' | 'green' | 'bold', text: string) => string;

const codes = { red: [31, 39], green: [32, 39], bold: [1, 22] } as const;

export function createPaint(colour: boolean): Paint {
  return (name, text) => (colour ? `\u001b[${codes[name][0]}m${text}\u001b[${codes[name][1]}m` : text);
}

/** More bad lines than these are only counted. */
const shownBadLines = 40;

export function describeDecision({ strategy, reasons, rejected, hazards }: Decision, paint: Paint): string {
  return [
    `Strategy: ${paint('bold', strategy)}`,
    ...reasons.map((reason) => `  because  ${reason}`),
    ...rejected.map((rejection) => `  not ${rejection.strategy.padEnd(12)} ${rejection.because}`),
    ...(hazards.length > 0
      ? hazards.map((hazard) => `  ${paint('red', 'hazard')}   ${hazard}`)
      : ['  hazards  none known']),
  ].join('\n');
}

export function describeBadLines({ bad, badLines }: ImportReport, csv: string): string {
  if (bad === 0) return 'Every line of the CSV was good.';
  const width = String(badLines.at(-1)?.line ?? 0).length;
  const shown = badLines.slice(0, shownBadLines);
  return [
    `${grouped(bad)} bad ${bad === 1 ? 'line' : 'lines'} in ${csv}; the others were imported:`,
    ...shown.map(({ line, reason }) => `  line ${String(line).padStart(width)}: ${reason}`),
    ...(bad > shown.length ? [`  … and ${grouped(bad - shown.length)} more`] : []),
  ].join('\n');
}

export function describeImport(report: ImportReport): string {
  const { accounts, transfers, repeated, bad, elapsed, latencies } = report;
  return table([
    ['Import', `${grouped(accounts)} accounts and ${grouped(transfers)} transfers, each a durable write of its own`],
    ['', `${grouped(repeated)} there already, ${grouped(bad)} refused`],
    ['rate', rate(latencies.length, elapsed, 'lines')],
    ['latency', percentiles(latencies)],
  ]);
}

export function describeDrive(report: DriveReport): string {
  const statuses = [...report.statuses].sort(([one], [other]) => one - other);
  return table([
    [
      'HTTP',
      `${grouped(report.requests)} requests during the import and after it, ${grouped(report.keys.length)} of them sent money`,
    ],
    ['answers', statuses.map(([status, count]) => `${status}: ${grouped(count)}`).join(', ')],
    ['rate', rate(report.requests, report.elapsed, 'requests')],
    ['latency', percentiles(report.latencies)],
  ]);
}

export function describeChecks(checks: readonly Check[], paint: Paint): string {
  return checks
    .map(({ law, holds, detail }) => `${holds ? paint('green', 'ok    ') : paint('red', 'BROKEN')} ${law} (${detail})`)
    .join('\n');
}

export function rate(count: number, milliseconds: number, unit: string): string {
  const perSecond = milliseconds > 0 ? grouped((count * 1000) / milliseconds) : '0';
  return `${perSecond} ${unit}/s over ${(milliseconds / 1000).toFixed(1)} s`;
}

function percentiles(values: readonly number[]): string {
  if (values.length === 0) return 'none measured';
  const sorted = [...values].sort((one, other) => one - other);
  const at = (share: number) => `${(sorted[Math.ceil(share * sorted.length) - 1] ?? 0).toFixed(1)} ms`;
  return `p50 ${at(0.5)}, p99 ${at(0.99)}, worst ${at(1)}`;
}

function table(rows: readonly (readonly [string, string])[]): string {
  return rows.map(([name, text]) => `${name.padEnd(8)} ${text}`).join('\n');
}
