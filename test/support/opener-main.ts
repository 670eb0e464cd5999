/** Opens the file when told to, as many others do in the same moment, writes, and closes. */
import { open } from '../../src/index.ts';
import { ledger } from './ledger.ts';

process.on('message', ({ file, call }: { file: string; call: string }) => {
  void (async () => {
    try {
      const db = await open({ file, repositories: ledger });
      await db.api.entries.run(call, ['row']);
      await db.close();
      process.send?.('done');
    } catch (error) {
      process.send?.(String(error));
    }
  })();
});
process.send?.('ready');
