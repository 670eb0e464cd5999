/** The policy's timers and threads belong to nobody: a process ends when its own work has ended. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { createNotebook } from '../support/notes.ts';
import { useTempDir } from '../support/temp-dir.ts';

const dir = useTempDir();

test('a process ends although its database is open, a snapshot pins the WAL, and a checkpoint is due', () => {
  createNotebook(dir.file());
  const main = fileURLToPath(new URL('../support/unclosed-main.ts', import.meta.url));
  const child = spawnSync(process.execPath, ['--conditions=sluice-source', main, dir.file()], {
    encoding: 'utf8',
    timeout: 15_000,
  });
  expect(child.stderr).toBe('');
  expect(child.stdout).toBe('pinned\n');
  expect(child.status).toBe(0);
});
