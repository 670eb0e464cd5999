/**
 * Reads what `strace -f -y -xx` wrote: everything that changed files of one folder, and the acknowledgements between.
 *
 * 1. Every line is one system call, in the order of their ends. A call that another thread's line interrupts is in two
 *    parts, which are put together at the second.
 * 2. An acknowledgement counts from the moment its write to stdout begins.
 * 3. Two threads whose calls on the folder overlap are refused: which of the two came first is not known.
 * 4. A call on the folder that has no event here is refused, so that nothing is overlooked.
 * 5. `-shm` is left out: it changes through memory, unseen, and SQLite makes it anew after a power cut.
 */

/** One thing that happened, by file names within the folder. */
export type DiskEvent =
  | { readonly kind: 'create' | 'remove' | 'sync'; readonly name: string }
  | { readonly kind: 'write'; readonly name: string; readonly at: number; readonly bytes: Buffer }
  | { readonly kind: 'truncate'; readonly name: string; readonly length: number }
  | { readonly kind: 'sync-names' }
  | { readonly kind: 'ack'; readonly id: string };

/** Every system call that can change a file or a folder, and mmap, through which memory can. */
export const TRACED =
  'open,openat,openat2,creat,write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate,fsync,fdatasync,' +
  'unlink,unlinkat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,mmap,copy_file_range,sendfile,splice';

const HEX = String.raw`((?:\\x[0-9a-f]{2})*)`;
const FD = String.raw`\d+<${HEX}>`;
const OPEN = new RegExp(String.raw`^open(?:at)?\(.*, (O_[A-Z_|]+)(?:, 0\d+)?\) = ${FD}$`);
const PWRITE = new RegExp(String.raw`^pwrite64\(${FD}, "${HEX}", \d+, (\d+)\) = (\d+)$`);
const TRUNCATE = new RegExp(String.raw`^ftruncate\(${FD}, (\d+)\) = 0$`);
const SYNC = new RegExp(String.raw`^f(?:data)?sync\(${FD}\) = 0$`);
const UNLINK = new RegExp(String.raw`^unlink\("${HEX}"\) = 0$`);
const MMAP = new RegExp(String.raw`^mmap\(.*, ${FD}, `);
const STDOUT = new RegExp(String.raw`^write\(1<[^>]*>, "${HEX}", `);
const FAILED = / = -1 E[A-Z]+ \(.*\)$/;

/** @throws where the trace shows something that is not understood */
export function parseTrace(text: string, folder: string): DiskEvent[] {
  const reader = new TraceReader(folder);
  for (const line of text.split('\n')) reader.line(line);
  return reader.events;
}

class TraceReader {
  readonly events: DiskEvent[] = [];
  readonly #folder: string;
  readonly #folderInHex: string;
  readonly #names = new Set<string>();
  /** By thread: the first part of a call, and how many changes had been seen by then. */
  readonly #begun = new Map<string, { readonly part: string; readonly changes: number }>();
  #changes = 0;

  constructor(folder: string) {
    this.#folder = folder;
    this.#folderInHex = [...Buffer.from(folder)].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
  }

  line(line: string): void {
    const [, thread, said] = /^(\d+) +(.*)$/.exec(line) ?? [];
    if (thread === undefined || said === undefined) return;
    const acknowledgement = STDOUT.exec(said);
    if (acknowledgement !== null) {
      this.#acknowledge(decode(acknowledgement[1]).toString());
      return;
    }
    if (said.endsWith(' <unfinished ...>')) {
      this.#begun.set(thread, { part: said.slice(0, -' <unfinished ...>'.length), changes: this.#changes });
      return;
    }
    const [, rest] = /^<\.\.\. \w+ resumed>(.*)$/.exec(said) ?? [];
    if (rest === undefined) {
      this.#call(said);
      return;
    }
    const begun = this.#begun.get(thread);
    if (begun === undefined) return; // the end of an acknowledgement
    this.#begun.delete(thread);
    const before = this.#changes;
    this.#call(begun.part + rest);
    if (this.#changes !== before && begun.changes !== before) {
      throw new Error(`two threads changed the folder at the same time: ${excerpt(begun.part)}`);
    }
  }

  #call(raw: string): void {
    if (!raw.includes(this.#folderInHex)) return;
    // strace pads short calls to a column.
    const call = raw.replace(/\) += /, ') = ');
    if (FAILED.test(call)) return;
    if (!this.#known(call)) throw new Error(`a system call that the model does not know: ${excerpt(call)}`);
  }

  #known(call: string): boolean {
    let match: RegExpExecArray | null;
    if ((match = OPEN.exec(call))) return this.#open(match[1] ?? '', match[2]);
    if ((match = PWRITE.exec(call))) {
      const bytes = decode(match[2]).subarray(0, Number(match[4]));
      return this.#change(match[1], (name) => ({ kind: 'write', name, at: Number(match?.[3]), bytes }));
    }
    if ((match = TRUNCATE.exec(call))) {
      return this.#change(match[1], (name) => ({ kind: 'truncate', name, length: Number(match?.[2]) }));
    }
    if ((match = SYNC.exec(call))) {
      return this.#change(match[1], (name) => (name === '' ? { kind: 'sync-names' } : { kind: 'sync', name }));
    }
    if ((match = UNLINK.exec(call))) {
      this.#names.delete(this.#nameOf(match[1]));
      return this.#change(match[1], (name) => ({ kind: 'remove', name }));
    }
    if ((match = MMAP.exec(call))) return isShm(this.#nameOf(match[1])) || !/PROT_WRITE.*MAP_SHARED/.test(call);
    return false;
  }

  #open(flags: string, path: string | undefined): boolean {
    const name = this.#nameOf(path);
    if (flags.includes('O_CREAT') && !this.#names.has(name)) {
      this.#names.add(name);
      return this.#change(path, () => ({ kind: 'create', name }));
    }
    return !flags.includes('O_TRUNC');
  }

  #change(path: string | undefined, make: (name: string) => DiskEvent): true {
    const name = this.#nameOf(path);
    if (isShm(name)) return true;
    this.#changes += 1;
    this.events.push(make(name));
    return true;
  }

  #acknowledge(said: string): void {
    for (const [, id = ''] of said.matchAll(/^ack (.+)$/gm)) this.events.push({ kind: 'ack', id });
  }

  /** Empty for the folder itself. */
  #nameOf(path: string | undefined): string {
    return decode(path)
      .toString()
      .slice(this.#folder.length + 1);
  }
}

function isShm(name: string): boolean {
  return name.endsWith('-shm');
}

function decode(hex: string | undefined): Buffer {
  return Buffer.from((hex ?? '').replaceAll('\\x', ''), 'hex');
}

function excerpt(call: string): string {
  const readable = call.replaceAll(/(?:\\x[0-9a-f]{2})+/g, (hex) => decode(hex).toString('latin1'));
  return readable.length > 300 ? `${readable.slice(0, 200)}…${readable.slice(-80)}` : readable;
}
