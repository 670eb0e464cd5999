/** Opens a database, loses it unclosed, and lets the garbage collector find out. Prints the warning, and what is still open. */
import { readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { open } from '../../src/index.ts';
import { ledger } from './ledger.ts';

const [, , file = ''] = process.argv;

async function lose(): Promise<void> {
  const db = await open({ file, repositories: ledger });
  await db.api.entries.run('lost', ['row']);
}

process.on('warning', ({ name, message }) => {
  console.log(`${name}: ${message}`);
});
await lose();
for (let tries = 0; tries < 50; tries++) {
  globalThis.gc?.();
  await sleep(20);
}
const descriptors = process.platform === 'linux' ? readdirSync('/proc/self/fd') : [];
const left = descriptors.filter((descriptor) => {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`).startsWith(file);
  } catch {
    return false;
  }
});
console.log(`open: ${left.length}`);
