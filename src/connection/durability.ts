/** `full`: an acknowledged write survives a power cut. `normal`: it survives a crash of the process. */
export type Durability = 'full' | 'normal';
/** Extra pragmas by name, for example `{ cache_size: -64000 }`. They replace the profile's value of the same name. */
export type PragmaOptions = Readonly<Record<string, string | number | boolean>>;
