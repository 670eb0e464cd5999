/**
 * Faults that are real: the file itself refuses the nth insert, for n = 1, 2, … until nothing is refused any more; the
 * database may grow no further, at every size; the system refuses to write the file, at every size.
 */
import { spawnSync } from 'node:child_process';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { ExampleDatabases } from '../support/example-databases.ts';
import { createLedger, ledger, type LedgerDatabase } from '../support/ledger.ts';
import { EntriesModel, type Fault, type Operation, submit } from '../support/model.ts';
import { committed, expectNoTransaction, openLedger } from '../support/open-ledger.ts';
import { STRATEGIES } from '../support/strategies.ts';
import { expectSound, useTempDir } from '../support/temp-dir.ts';

/** Twelve calls of every kind, which arrive together. */
const WORKLOAD: readonly Operation[] = [
  { kind: 'call', call: { call: 'a', steps: ['row', 'row'] } },
  { kind: 'call', call: { call: 'b', steps: ['row'] } },
  { kind: 'call', call: { call: 'c', steps: ['row', 'rollback'] } },
  {
    kind: 'transaction',
    ending: 'commit',
    calls: [
      { call: 'd', steps: ['row'], caught: false },
      { call: 'e', steps: ['row', 'row'], caught: true },
    ],
  },
  { kind: 'call', call: { call: 'f', steps: ['row', 'again'] } },
  { kind: 'call', call: { call: 'g', steps: ['row', 'row', 'row'] } },
  { kind: 'call', call: { call: 'h', steps: ['row', 'orphan'] } },
  {
    kind: 'transaction',
    ending: 'commit',
    calls: [
      { call: 'i', steps: ['row'], caught: true },
      { call: 'j', steps: ['row', 'throw'], caught: true },
      { call: 'k', steps: ['row'], caught: true },
    ],
  },
  { kind: 'call', call: { call: 'l', steps: ['caught abort', 'row', 'row'] } },
  { kind: 'call', call: { call: 'm', steps: ['row', 'caught rollback', 'row'] } },
  { kind: 'transaction', ending: 'throw', calls: [{ call: 'n', steps: ['row', 'row'], caught: false }] },
  { kind: 'call', call: { call: 'o', steps: ['row', 'row'] } },
];

/** What the workload inserts at most; the nth insert beyond it does not exist. */
const INSERTS = 24;

/** Refuses the nth insert, counted by the file: an insert that is undone is not counted. */
const FAULTS = `
  CREATE TABLE faults (countdown INTEGER NOT NULL, kind TEXT NOT NULL);
  CREATE TRIGGER fault_count BEFORE INSERT ON entries BEGIN UPDATE faults SET countdown = countdown - 1; END;
  CREATE TRIGGER fault_abort AFTER INSERT ON entries WHEN (SELECT countdown = 0 AND kind = 'abort' FROM faults)
    BEGIN SELECT RAISE(ABORT, 'fault'); END;
  CREATE TRIGGER fault_fail AFTER INSERT ON entries WHEN (SELECT countdown = 0 AND kind = 'fail' FROM faults)
    BEGIN SELECT RAISE(FAIL, 'fault'); END;
  CREATE TRIGGER fault_rollback AFTER INSERT ON entries WHEN (SELECT countdown = 0 AND kind = 'rollback' FROM faults)
    BEGIN SELECT RAISE(ROLLBACK, 'fault'); END;
`;

// Threads that only read have no part in it.
for (const strategy of STRATEGIES.filter(({ title }) => title !== 'executor-readers')) {
  describe(strategy.title, () => {
    const dir = useTempDir();

    const runAll = (db: LedgerDatabase): Promise<string[]> =>
      Promise.all(WORKLOAD.map((operation) => submit(db, operation, turn)));

    test.for(['abort', 'fail', 'rollback'] satisfies Fault[])(
      'whichever insert fails by RAISE(%s), rows and answers are those of calls made one by one',
      async (kind) => {
        const databases = new ExampleDatabases(dir, strategy, ledger);
        for (let at = 1; at <= INSERTS + 1; at++) {
          const { file, db } = await databases.get({}, (made) => dir.raw(made).exec(FAULTS).close());
          const raw = dir.raw(file);
          raw.exec('DELETE FROM faults');
          raw.prepare('INSERT INTO faults VALUES (?, ?)').run(at, kind);
          raw.close();
          const model = new EntriesModel({ kind, at });
          const expected = WORKLOAD.map((operation) => model.run(operation));

          const results = await runAll(db);
          expect(results, `answers, insert ${at}`).toEqual(expected);
          expect(committed(dir, file), `rows, insert ${at}`).toEqual(model.rows);
          expectNoTransaction(dir, file);
          await databases.end(db);
        }
        const clean = new EntriesModel();
        const last = new EntriesModel({ kind, at: INSERTS + 1 });
        for (const operation of WORKLOAD) expect(last.run(operation)).toBe(clean.run(operation));
        expect(last.rows, 'the last round was without a fault').toEqual(clean.rows);
      },
    );

    test('however little the database may grow, each call is wholly there or not at all', async () => {
      // Names of half a page each, so that every insert wants space of its own.
      const calls = Array.from({ length: 12 }, (_, at) => `${at}`.padEnd(1800, '.'));
      let full = 0;
      for (let spare = 0; ; spare++) {
        const file = dir.file(`full-${spare}.db`);
        createLedger(file);
        const raw = dir.raw(file);
        const pages = raw.pragma('page_count', { simple: true }) as number;
        raw.close();
        const db = await openLedger(dir, strategy, { file, pragmas: { max_page_count: pages + spare } });
        const settled = await Promise.allSettled(
          calls.map((call, at) =>
            at % 4 === 3
              ? db.transaction(async (api) => {
                  await api.entries.run(call, ['row']);
                  await turn();
                  await api.entries.run(`${call}+`, ['row']);
                })
              : db.api.entries.run(call, at === 5 ? ['row', 'rollback'] : ['row', 'row']),
          ),
        );
        const expected = calls.flatMap((call, at) => {
          if (settled[at]?.status !== 'fulfilled') return [];
          return at % 4 === 3 ? [`${call}/1`, `${call}+/1`] : [`${call}/1`, `${call}/2`];
        });
        expect(committed(dir, file), `${spare} pages to spare`).toEqual(expected);
        expectNoTransaction(dir, file);
        const refused = settled.flatMap((result) =>
          result.status === 'rejected' ? [(result.reason as { code: string }).code] : [],
        );
        await db.close();
        if (refused.length === 1) break;
        full += 1;
        expect(refused.toSorted().at(-1), 'the disk is full').toMatch(/SLUICE_STORAGE|SLUICE_TRANSACTION_ENDED/);
      }
      expect(full, 'rounds in which something was refused').toBeGreaterThan(10);
    });

    const canLimit = spawnSync('prlimit', ['--version']).status === 0;
    test.runIf(canLimit)(
      'wherever the system refuses to write, each call is wholly there or not at all',
      { timeout: 120_000 },
      () => {
        const main = new URL('./io-faults-main.ts', import.meta.url).pathname;
        const child = spawnSync(process.execPath, ['--conditions=sluice-source', main, dir.path, strategy.title], {
          encoding: 'utf8',
        });
        expect(child.stderr).toBe('');
        const report = JSON.parse(child.stdout) as { file: string; acknowledged: string[]; codes: string[] }[];
        for (const { file, acknowledged } of report) {
          expectSound(file);
          expect(committed(dir, file)).toEqual(acknowledged.flatMap((call) => [`${call}/1`, `${call}/2`]));
        }
        const refusing = report.filter(({ codes }) => codes.length > 0);
        expect(refusing.length, 'rounds in which something was refused').toBeGreaterThan(10);
        expect(new Set(refusing.flatMap(({ codes }) => codes))).toEqual(new Set(['SLUICE_STORAGE']));
        expect(report.at(-1)?.codes).toEqual([]);
      },
    );
  });
}
