/** `npm run data`: writes data.csv anew, the same bytes each time. */
import { writeFileSync } from 'node:fs';
import { generateCsv, shipped } from './generate.ts';

const csv = generateCsv(shipped.seed, shipped.rows);
writeFileSync(new URL('data.csv', import.meta.url), csv);
process.stdout.write(`data.csv: ${csv.split('\n').length - 1} lines, ${Buffer.byteLength(csv)} bytes\n`);
