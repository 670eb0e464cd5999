/** Shows how far something is: a bar that redraws itself on a terminal, a line now and then anywhere else. */
import { type WriteStream } from 'node:tty';

/** Where to write; `isTTY` decides for the bar. */
export type Output = Pick<WriteStream, 'write'> & { readonly isTTY?: boolean; readonly columns?: number };

export interface Progress {
  /** `fraction` from 0 to 1, and what to say beside it. Cheap enough to call for every row. */
  update(fraction: number, text: () => string): void;
  /** Shows the last state and leaves the line. */
  end(): void;
}

/** A terminal can be redrawn, unless it says that it is dumb. */
export function isInteractive(output: Output, env: NodeJS.ProcessEnv): boolean {
  return output.isTTY === true && env.TERM !== 'dumb';
}

const clearLine = '\r\u001b[K';

/** Draws at most ten times a second, whatever the number of updates. */
export function createBar(output: Output, label: string, { colour }: { colour: boolean }): Progress {
  let last: { fraction: number; text: () => string } = { fraction: 0, text: () => '' };
  let drawn = -Infinity;
  const draw = () => {
    drawn = performance.now();
    const percent = `${Math.floor(last.fraction * 100)} %`.padStart(5);
    const tail = ` ${percent}  ${last.text()}`;
    // A terminal that does not know its width says 0. A line that wrapped could not be redrawn.
    const columns = (output.columns === 0 ? 80 : (output.columns ?? 80)) - 1;
    const width = Math.max(0, Math.min(30, columns - label.length - tail.length - 1));
    const full = Math.round(last.fraction * width);
    const bar = '█'.repeat(full) + '░'.repeat(width - full);
    const painted = colour && width > 0 ? `\u001b[32m${bar}\u001b[39m` : bar;
    output.write(`${clearLine}${label} ${painted}${tail.slice(0, Math.max(0, columns - label.length - width - 1))}`);
  };
  return {
    update: (fraction, text) => {
      last = { fraction, text };
      if (performance.now() - drawn >= 100) draw();
    },
    end: () => {
      draw();
      output.write('\n');
    },
  };
}

/** One line for each tenth, for logs and pipes: no control characters. */
export function createSteps(output: Output, label: string): Progress {
  let told = -1;
  let last: () => string = () => '';
  return {
    update: (fraction, text) => {
      last = text;
      const tenth = Math.floor(fraction * 10);
      if (tenth <= told || tenth === 10) return;
      told = tenth;
      output.write(`${label} ${`${tenth * 10} %`.padStart(5)}  ${text()}\n`);
    },
    end: () => {
      output.write(`${label} ended  ${last()}\n`);
    },
  };
}
