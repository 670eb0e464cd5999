/**
 * Bundles the library: `node scripts/build.ts [FOLDER]`, into `dist/` when no folder is given.
 *
 * Few files, because Node takes about a millisecond for each module that it loads. Not minified, so that stack traces can
 * be read. What other packages bring stays an import, and so does Node's own.
 *
 * All files lie in one folder: a module finds its neighbours by the same relative URL whichever file it ended up in.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import * as esbuild from 'esbuild';

/** The files that are entered from outside, by their names in the folder. What they share becomes chunks. */
const entries = {
  index: 'src/index.ts',
  cli: 'src/cli/main.ts',
  worker: 'src/executor/worker.ts',
};

const root = join(import.meta.dirname, '..');
const folder = process.argv[2] ?? join(root, 'dist');

/**
 * An older Node must be refused before better-sqlite3 is loaded, and imports are evaluated in the order of their lines, all of
 * them before the body. So the check stays a module of its own, and is the first import of every file: chunks are imported
 * before what an entry itself imports.
 */
const runtime = './runtime.js';
const keepRuntimeApart: esbuild.Plugin = {
  name: 'keep-runtime-apart',
  setup(build) {
    // Without side effects the entry's own import of it goes away; the banner has it.
    build.onResolve({ filter: /\/runtime\.ts$/ }, () => ({ path: runtime, external: true, sideEffects: false }));
  },
};

/**
 * An import of one of Node's own modules makes every export of it at once, and with them loads some sixty modules that nothing
 * here needs (streams, promises, the parser of arguments): a third of what importing Sluice costs. Asked for by a function call
 * they come without.
 */
const builtinsWithoutTheRest: esbuild.Plugin = {
  name: 'builtins-without-the-rest',
  setup(build) {
    build.onResolve({ filter: /^node:/ }, ({ path }) => ({ path, namespace: 'node', sideEffects: false }));
    build.onLoad({ filter: /.*/, namespace: 'node' }, ({ path }) => {
      const names = Object.keys(process.getBuiltinModule(path) ?? {});
      // Pure, so that what nobody imports is left out, and none of Node's getters is touched for it.
      const exported = names.map((name) => `export const ${name} = /* @__PURE__ */ (() => builtin.${name})();`);
      return { contents: [`const builtin = process.getBuiltinModule('${path}');`, ...exported].join('\n') };
    });
  },
};

const options: esbuild.BuildOptions = {
  absWorkingDir: root,
  outdir: folder,
  format: 'esm',
  platform: 'node',
  target: 'node22',
  // In place of tsconfig.json, which keeps the imports that were for types only: another module of Drizzle to load.
  tsconfigRaw: {},
  logLevel: 'warning',
};

rmSync(folder, { recursive: true, force: true });
await esbuild.build({ ...options, entryPoints: ['src/runtime.ts'] });
await esbuild.build({
  ...options,
  entryPoints: entries,
  bundle: true,
  splitting: true,
  packages: 'external',
  banner: { js: `import '${runtime}';` },
  plugins: [keepRuntimeApart, builtinsWithoutTheRest],
});
