import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

// Hundreds of tests start threads and processes, each of which imports the sources and Drizzle: what was compiled once is
// kept, and a thread starts in half the time.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(new URL('./node_modules/.cache/node', import.meta.url));

export default defineConfig({
  ssr: { resolve: { conditions: ['sluice-source', 'node', 'import', 'module', 'default'] } },
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    // A file whose strategies were not asked for has nothing to say.
    passWithNoTests: process.env.STRATEGIES !== undefined,
    typecheck: { enabled: true, include: ['test/types/**/*.test-d.ts'], tsconfig: './tsconfig.json' },
  },
});
