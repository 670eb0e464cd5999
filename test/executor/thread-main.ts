/** A thread that reaches the database through a port and does what it is told. */
import { writeFileSync } from 'node:fs';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { connect } from '../../src/index.ts';
import { type HostileOrder } from './thread.ts';
import { hostile } from '../support/hostile.ts';
import { encodeError } from '../../src/executor/error-codec.ts';

const { port } = workerData as { port: MessagePort };
const db = connect(port, hostile);

async function obey(order: HostileOrder): Promise<unknown> {
  switch (order.kind) {
    case 'add':
      return db.api.hostile.add(order.call);
    case 'add-until-given-up':
      return db.api.hostile.addUntilGivenUp(order.call, order.atMost ?? 10_000, order.noticed);
    case 'until-given-up':
      return db.api.hostile.untilGivenUp(3000, order.call);
    case 'blocking-add':
      return [db.blocking.hostile.add(order.call), db.blocking.hostile.listed()];
    case 'blocking-error':
      return db.blocking.hostile.rage(order.call);
    case 'blocking-in-transaction':
      return db.transaction((api) => {
        const added = db.blocking.hostile.add(order.call);
        return api.hostile.listed().then((listed) => [added, listed]);
      });
    case 'blocking-beside-transaction':
      return db.transaction(() => db.detached(() => db.blocking.hostile.add(order.call)));
    case 'blocking-before-transaction': {
      // It is on its way, and its callback could not run.
      const transaction = db.transaction((api) => api.hostile.listed());
      try {
        return db.blocking.hostile.add(order.call);
      } finally {
        await transaction;
      }
    }
    case 'blocking-beside-nested':
      return db.transaction(async (api) => {
        const nested = db.transaction((inner) => inner.hostile.listed());
        try {
          return db.blocking.hostile.add(order.call);
        } finally {
          await nested;
          await api.hostile.add('nested');
        }
      });
    case 'blocking-beside-snapshots':
      return db.snapshot(() => db.detached(() => db.blocking.hostile.listed()));
    case 'blocking-after-settled': {
      // Its callback has settled, and its COMMIT is on its way.
      let settle = (): void => undefined;
      const settled = new Promise<void>((resolve) => (settle = resolve));
      const transaction = db.transaction(async (api) => {
        await api.hostile.add(`${order.call}-before`);
        settle();
      });
      await settled;
      for (let turn = 0; turn < 6; turn++) await Promise.resolve();
      const added = db.blocking.hostile.add(order.call);
      await transaction;
      return added;
    }
    case 'blocking-in-stream': {
      // All rows came with the first batch: nothing is held any more.
      const counts: number[] = [];
      for await (const row of db.api.hostile.stream({}, { consistent: true })) {
        counts.push(row.part, db.blocking.hostile.count());
      }
      return counts;
    }
    case 'blocking-given-up': {
      let made: Promise<unknown> = Promise.resolve();
      let open = (): void => undefined;
      const over = new Promise<void>((resolve) => (open = resolve));
      const given = db.context({ timeout: 20 }, () =>
        db.transaction(() => {
          made = over.then(() => db.blocking.hostile.add(order.call));
          return made;
        }),
      );
      await given.catch(() => undefined);
      open();
      return made;
    }
    case 'transact':
      return db.transaction(async (api) => {
        await api.hostile.add(order.call);
        parentPort?.postMessage({ kind: 'inside' });
        await new Promise(() => undefined);
      });
    case 'snapshot':
      return db.snapshot((api) => api.hostile.listed());
    case 'transact-and-occupy':
      return db.transaction(async (api) => {
        await api.hostile.addAndOccupy(order.call, 4000);
        return 'mine';
      });
    case 'hold-snapshot':
      return db.snapshot(async (api) => {
        await api.hostile.listed();
        parentPort?.postMessage({ kind: 'inside' });
        await new Promise(() => undefined);
      });
    case 'requests':
      await Promise.all(
        Array.from({ length: order.count }, async (_, at) => {
          await db.api.hostile.add(`${order.call}-${at}`);
          await db.context({ label: `request ${at}`, timeout: 30_000 }, () =>
            db.transaction(async (api) => {
              const before = (await api.hostile.listed()).length;
              await api.hostile.add(`${order.call}-${at}-in`);
              if ((await db.api.hostile.listed()).length !== before + 1) throw new Error('another one is inside');
            }),
          );
        }),
      );
      return order.count;
    case 'close':
      return db.close();
  }
}

parentPort?.on('message', (order: HostileOrder) => {
  obey(order).then(
    (value) => parentPort?.postMessage({ kind: 'done', value }),
    (error: unknown) => parentPort?.postMessage({ kind: 'failed', error: encodeError(error) }),
  );
  const { sent } = order;
  if (sent === undefined) return;
  setImmediate(() => {
    setImmediate(() => {
      writeFileSync(sent, '');
    });
  });
});
