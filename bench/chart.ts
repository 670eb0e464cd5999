/** Draws `docs/bench-durable-inserts.svg` from `bench/results/durable.json`. Also by itself: `node bench/chart.ts`. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Row } from './report/case.ts';
import { readStored } from './report/results.ts';

const target = join(dirname(import.meta.dirname), 'docs', 'bench-durable-inserts.svg');

const WIDTH = 760;
const HEIGHT = 446;
const PLOT = { left: 70, right: 590, top: 84, bottom: 350 };

/** What is drawn, from the back to the front. */
const LINES = [
  { side: 'raw', label: 'better-sqlite3,', more: 'one transaction each', style: 'raw' },
  { side: 'limit', label: 'batch loop by hand', more: '(the limit)', style: 'limit' },
  { side: 'per-context', label: 'sluice', more: '', style: 'sluice' },
];

interface Point {
  readonly callers: number;
  /** Calls per second beside raw with the same callers, and calls per second. */
  readonly rate: number;
  readonly ratio: number;
}

/** Draws the chart, if the case was ever run. */
export function drawChart(): void {
  const durable = readStored('durable');
  const rows = durable?.tables[0]?.rows;
  if (durable === undefined || rows === undefined) return;
  const note = `SQLite ${durable.versions.sqlite ?? ''}, WAL, synchronous=FULL, ${durable.cores} cores; median of ${durable.settings.rounds ?? ''} interleaved rounds`;
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, svg(rows, note));
}

function svg(rows: readonly Row[], note: string): string {
  const callers = rows.map(({ label }) => Number(label));
  const rates = rows.flatMap(({ sides }) => LINES.map(({ side }) => sides[side]?.value ?? 1));
  const low = 10 ** Math.floor(Math.log10(Math.min(...rates)));
  const top = niceTop(Math.max(...rates));
  const x = (count: number): number =>
    PLOT.left + ((PLOT.right - PLOT.left) * Math.log2(count)) / Math.log2(Math.max(...callers));
  const y = (rate: number): number =>
    PLOT.bottom - ((PLOT.bottom - PLOT.top) * Math.log(rate / low)) / Math.log(top / low);

  const lines = LINES.map(({ side, label, more, style }) => {
    const points = rows.map((row): Point => {
      const cell = row.sides[side];
      return { callers: Number(row.label), rate: cell?.value ?? low, ratio: cell?.ratio?.median ?? 1 };
    });
    return { label, more, style, points };
  });
  const [, bound, ours] = lines;
  const ends = spreadOut(lines.map(({ points }) => y(points.at(-1)?.rate ?? low)));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img" aria-labelledby="title about">
<title id="title">Durable inserts per second by number of concurrent callers</title>
<desc id="about">${describe(lines)}</desc>
<style>
  text { font: 13px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #57606a; }
  .title { font-size: 17px; font-weight: 600; fill: #1f2328; }
  .grid { stroke: #d8dee4; stroke-width: 1; }
  .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
  .raw { stroke: #8c959f; } .limit { stroke: #bf8700; stroke-dasharray: 3 5; } .sluice { stroke: #0969da; stroke-width: 3; }
  .dot-raw { fill: #8c959f; } .dot-limit { fill: #bf8700; } .dot-sluice { fill: #0969da; }
  .name-raw { fill: #57606a; } .name-limit { fill: #9a6700; } .name-sluice, .times { fill: #0969da; font-weight: 600; }
  .note { font-size: 12px; }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1; } .title { fill: #f0f6fc; } .grid { stroke: #3d444d; }
    .raw { stroke: #6e7681; } .limit { stroke: #d29922; } .sluice { stroke: #58a6ff; }
    .dot-raw { fill: #6e7681; } .dot-limit { fill: #d29922; } .dot-sluice { fill: #58a6ff; }
    .name-raw { fill: #9198a1; } .name-limit { fill: #d29922; } .name-sluice, .times { fill: #58a6ff; }
  }
</style>
<text class="title" x="${PLOT.left - 46}" y="32">Durable inserts per second</text>
<text x="${PLOT.left - 46}" y="53">each acknowledged only when it is on the disk; both scales logarithmic</text>
${ticks(low, top)
  .map((rate) => gridLine(y(rate), compact(rate)))
  .join('\n')}
${callers.map((count) => `<text x="${x(count)}" y="${PLOT.bottom + 22}" text-anchor="middle">${count}</text>`).join('\n')}
<text x="${(PLOT.left + PLOT.right) / 2}" y="${PLOT.bottom + 44}" text-anchor="middle">callers at once</text>
${lines
  .map(
    ({ label, more, style, points }, at) =>
      `<polyline class="line ${style}" points="${points.map(({ callers: count, rate }) => `${round(x(count))},${round(y(rate))}`).join(' ')}"/>
${points.map(({ callers: count, rate }) => `<circle class="dot-${style}" cx="${round(x(count))}" cy="${round(y(rate))}" r="${style === 'sluice' ? 4.5 : 3.5}"/>`).join('\n')}
<text class="name-${style}" x="${PLOT.right + 14}" y="${round((ends[at] ?? 0) + (more === '' ? 4 : -3))}">${label}${more === '' ? '' : `<tspan x="${PLOT.right + 14}" dy="15">${more}</tspan>`}</text>`,
  )
  .join('\n')}
${(ours?.points ?? [])
  .map((point, at) => ({ ...point, isBelow: point.rate < (bound?.points[at]?.rate ?? 0) }))
  .filter(({ callers: count }) => count > 1)
  .map(
    ({ callers: count, rate, ratio, isBelow }) =>
      `<text class="times" x="${round(x(count) + (isBelow ? 6 : -8))}" y="${round(y(rate) + (isBelow ? 22 : -12))}" text-anchor="middle">${times(ratio)}</text>`,
  )
  .join('\n')}
<text class="note" x="${PLOT.left - 46}" y="${HEIGHT - 28}">${note}</text>
<text class="note" x="${PLOT.left - 46}" y="${HEIGHT - 10}">× is beside better-sqlite3 with as many callers, in the same round</text>
</svg>
`;
}

function gridLine(at: number, label: string): string {
  return `<line class="grid" x1="${PLOT.left}" x2="${PLOT.right}" y1="${round(at)}" y2="${round(at)}"/><text x="${PLOT.left - 10}" y="${round(at + 4)}" text-anchor="end">${label}</text>`;
}

/** Keeps the names at the ends of the lines from lying on each other. */
function spreadOut(ends: readonly number[]): number[] {
  const gap = 38;
  const placed = [...ends.entries()].sort(([, a], [, b]) => b - a);
  const result: number[] = [];
  let below = Infinity;
  for (const [at, end] of placed) {
    below = Math.min(end, below - gap);
    result[at] = below;
  }
  return result;
}

function ticks(low: number, top: number): number[] {
  const found: number[] = [];
  for (let power = low; power <= top; power *= 10) {
    for (const step of [1, 2, 5]) if (power * step <= top) found.push(power * step);
  }
  return found;
}

function niceTop(rate: number): number {
  const power = 10 ** Math.floor(Math.log10(rate));
  return power * ([1, 2, 5, 10].find((step) => step * power >= rate) ?? 10);
}

function describe(lines: readonly { label: string; more: string; points: readonly Point[] }[]): string {
  return lines
    .map(({ label, more, points }) => {
      const figures = points.map(({ callers, rate }) => `${compact(rate)} with ${callers}`);
      return `${`${label} ${more}`.trim()}: ${figures.join(', ')}`;
    })
    .join('. ');
}

function compact(rate: number): string {
  return rate >= 1000 ? `${Number((rate / 1000).toPrecision(rate >= 10_000 ? 3 : 2))}k` : String(Math.round(rate));
}

function times(ratio: number): string {
  return `${ratio.toFixed(ratio < 10 ? 1 : 0)}×`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

if (import.meta.main) drawChart();
