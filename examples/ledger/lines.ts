/** Cuts a stream of bytes into lines, in constant memory whatever the file holds. */

/** One line without its ending, `undefined` where it was too long to keep; `end` is the byte after it. */
export interface Line {
  readonly number: number;
  readonly bytes: Buffer | undefined;
  readonly end: number;
}

const LF = 0x0a;
const CR = 0x0d;

/** Lines end with LF or CRLF; the last one may end with the file. One longer than `longest` bytes is read past. */
export async function* readLines(
  chunks: AsyncIterable<Buffer>,
  longest: number,
): AsyncGenerator<Line, void, undefined> {
  let parts: Buffer[] = [];
  let length = 0;
  let number = 0;
  let position = 0;

  const add = (part: Buffer) => {
    length += part.length;
    if (length <= longest) parts.push(part);
    else parts = [];
  };
  const finish = (end: number): Line => {
    number += 1;
    const whole = length > longest ? undefined : parts.length === 1 ? parts[0] : Buffer.concat(parts);
    parts = [];
    length = 0;
    return { number, bytes: whole?.at(-1) === CR ? whole.subarray(0, -1) : whole, end };
  };

  for await (const chunk of chunks) {
    let start = 0;
    for (let lf = chunk.indexOf(LF); lf >= 0; lf = chunk.indexOf(LF, start)) {
      add(chunk.subarray(start, lf));
      start = lf + 1;
      yield finish(position + start);
    }
    if (start < chunk.length) add(chunk.subarray(start));
    position += chunk.length;
  }
  if (length > 0) yield finish(position);
}
