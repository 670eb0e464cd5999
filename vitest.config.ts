import { configDefaults, defineConfig } from 'vitest/config';

// Each of their tests starts threads, which takes minutes in all: `npm run test:threads` runs them.
const asked = process.env.STRATEGIES?.split(',') ?? [];
const threads = ['executor', 'executor-readers']
  .filter((strategy) => !asked.includes(strategy))
  .map((strategy) => `test/contract/${strategy}.test.ts`);

export default defineConfig({
  ssr: { resolve: { conditions: ['sluice-source', 'node', 'import', 'module', 'default'] } },
  test: {
    include: ['test/**/*.test.ts'],
    exclude: [...configDefaults.exclude, ...threads],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    typecheck: { enabled: true, include: ['test/types/**/*.test-d.ts'], tsconfig: './tsconfig.json' },
  },
});
