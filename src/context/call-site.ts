import { fileURLToPath } from 'node:url';
import { OWN_FOLDER } from '../own-folder.ts';

/** As frames name it: by URL, or by path where a loader says so. These frames say nothing to a user. */
const OWN_FOLDERS = [OWN_FOLDER, fileURLToPath(OWN_FOLDER)];

/** Where something was called from. Capturing is cheap; the text is made only when an error needs it. */
export class CallSite {
  readonly #error = new Error('call site');

  /** The first frame outside Sluice, for example `at handle (app/server.ts:12:9)`; `undefined` where there is none. */
  describe(): string | undefined {
    const frames = this.#error.stack?.split('\n').slice(1) ?? [];
    return frames
      .map((frame) => frame.trim())
      .find((frame) => !OWN_FOLDERS.some((folder) => frame.includes(folder)) && !frame.includes('(node:'));
  }
}
