import { registerHooks } from 'node:module';

/**
 * Node looks into a package's `package.json` for each of its modules that is imported, and Drizzle's is 179 KB with 104
 * modules: most of a second in each new thread. Its relative imports need no looking up: they are files, and modules.
 */
export function importDrizzleQuickly(): void {
  registerHooks({
    resolve(specifier, context, next) {
      const { parentURL } = context;
      if (
        parentURL?.includes('/node_modules/drizzle-orm/') === true &&
        parentURL.endsWith('.js') &&
        /^\.\.?\/.*\.js$/.test(specifier)
      ) {
        return { url: new URL(specifier, parentURL).href, format: 'module', shortCircuit: true };
      }
      return next(specifier, context);
    },
  });
}
