/**
 * The folder of Sluice's own modules, as a URL that ends with a slash: `src/` in the repository, `dist/` in the package,
 * where this module is part of a bundle that lies in no folder below.
 */
export const OWN_FOLDER = new URL('./', import.meta.url).href;
