/**
 * Opens a database, loses it unclosed, and lets the garbage collector find out. Prints the warning, and what is still open.
 * `connect` loses one that is reached through a port, `ended` one whose owner has closed it before.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type Database, open } from '../../src/index.ts';
import { ledger } from './ledger.ts';

const [, , file = '', how = 'per-context'] = process.argv;
const options = { file, repositories: ledger };
let owner: Database<typeof ledger> | undefined;

async function lose(): Promise<void> {
  if (how === 'per-context' || how === 'executor') {
    const db = await open({ ...options, strategy: how });
    await db.api.entries.run('lost', ['row']);
    return;
  }
  owner = await open(options);
  const db = connect(owner.port(), ledger);
  await db.api.entries.run('lost', ['row']);
  if (how !== 'ended') return;
  await owner.close();
  // The other end of its ports learns it a moment later.
  await rejects(() => db.api.entries.count());
}

async function rejects(call: () => Promise<unknown>): Promise<void> {
  for (let failed = false; !failed;) {
    failed = await call().then(
      () => false,
      () => true,
    );
    await sleep(20);
  }
}

process.on('warning', ({ name, message }) => {
  console.log(`${name}: ${message}`);
});
await lose();
for (let tries = 0; tries < 50; tries++) {
  globalThis.gc?.();
  await sleep(20);
}
await owner?.close();
const descriptors = process.platform === 'linux' ? readdirSync('/proc/self/fd') : [];
const left = descriptors.filter((descriptor) => {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`).startsWith(file);
  } catch {
    return false;
  }
});
console.log(`open: ${left.length}`);
