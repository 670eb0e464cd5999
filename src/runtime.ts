/**
 * Refuses an older Node before better-sqlite3 is loaded: its binary is built on Node-API 10 and would crash the process
 * at first use. This module has no imports and is the first import of every entry point, so it runs before all others.
 */

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);

if (major < 22 || (major === 22 && minor < 14)) {
  throw new Error(
    `sluice: Node ${process.versions.node} is too old; better-sqlite3 needs 22.14 or newer and would crash this process. ` +
      'Install Node 22.18 or newer, or add the npm package "node" to your devDependencies.',
  );
}
