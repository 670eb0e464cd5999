/** A process that closes nothing: its database is open, and a snapshot that never ends pins the WAL. */
import { open } from '../../src/index.ts';
import { notebook } from './notes.ts';

const [, , file = ''] = process.argv;
const db = await open({ file, repositories: notebook, durability: 'normal' });
await db.api.notes.add();
await new Promise<void>((begun) => {
  void db.snapshot(async () => {
    begun();
    await new Promise(() => undefined);
  });
});
await db.api.notes.fill(1);
const { complete } = await db.checkpoint();
await db.api.notes.fill(1);
console.log(complete ? 'complete' : 'pinned');
