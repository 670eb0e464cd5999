import { fileURLToPath } from 'node:url';
import { OWN_FOLDER } from '../own-folder.ts';

/** What says nothing to a user: Sluice's own frames, by URL, or by path where a loader says so, Node's, and those of built-ins. */
const HIDDEN = [OWN_FOLDER, fileURLToPath(OWN_FOLDER), '(node:', '(<anonymous>)'];

/** Where something was called from. Capturing is cheap; the text is made only when an error needs it. */
export class CallSite {
  readonly #error = new Error('call site');

  /** The first frame outside Sluice, for example `at handle (app/server.ts:12:9)`; `undefined` where there is none. */
  describe(): string | undefined {
    const frames = this.#error.stack?.split('\n').slice(1) ?? [];
    return frames.map((frame) => frame.trim()).find((frame) => !HIDDEN.some((part) => frame.includes(part)));
  }
}

/** A place that another thread knows: where it began what has this number at this door. */
export class FarSite {
  readonly door: object;
  readonly begin: number;

  constructor(door: object, begin: number) {
    this.door = door;
    this.begin = begin;
  }

  /** Only the other thread could say. */
  describe(): undefined {
    return undefined;
  }
}

export type Site = CallSite | FarSite;
