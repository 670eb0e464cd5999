import { describe, expect, test } from 'vitest';
import { decide, journalPlan } from '../../src/connection/decide.ts';
import { strategyNames, type Facts } from '../../src/connection/facts.ts';
import { StrategyError } from '../../src/errors.ts';

const local: Facts = {
  file: '/data/ledger.db',
  realPath: '/data/ledger.db',
  exists: true,
  identity: '1:2',
  hardLinks: 1,
  size: 8192,
  storage: { kind: 'local', fileSystem: 'ext4', mountPoint: '/data', source: 'mount-table' },
  writable: { file: true, directory: true },
  readonly: false,
  journalMode: 'wal',
  walObtained: true,
  sqliteVersion: '3.54.1',
  walResetBug: false,
  thread: 'main',
  openInThisProcess: 0,
  requested: 'auto',
  heavy: false,
  threads: 1,
};
const rollback = { journalMode: 'delete', walObtained: false } as const;
const memory: Facts = {
  ...local,
  ...rollback,
  file: ':memory:',
  journalMode: 'memory',
  storage: { kind: 'memory', fileSystem: 'none', source: 'path' },
};
const temporary: Facts = {
  ...memory,
  file: '',
  journalMode: 'delete',
  storage: { ...memory.storage, kind: 'temporary' },
};
const onNfs: Facts = { ...local, ...rollback, storage: { kind: 'network', fileSystem: 'nfs4', source: 'mount-table' } };
const onFuse: Facts = { ...local, ...rollback, storage: { kind: 'unknown', fileSystem: 'fuse', source: 'statfs' } };
const readonlyMedium: Facts = { ...local, ...rollback, writable: { file: false, directory: false } };
const withBug: Facts = { ...local, ...rollback, sqliteVersion: '3.50.4', walResetBug: true };
const walRefused: Facts = { ...local, ...rollback };

const refusal = (facts: Facts): StrategyError => {
  try {
    decide(facts);
  } catch (error) {
    if (error instanceof StrategyError) return error;
    throw error;
  }
  return expect.fail('no StrategyError was thrown');
};

describe('a strategy that cannot be safe here is refused, with what would work', () => {
  test.each([
    ['memory', memory, /in memory would be another, empty one/],
    ['a temporary database', temporary, /temporary would be another, empty one/],
    ['a network file system', onNfs, /nfs4 gives neither between hosts/],
    ['an unknown file system', onFuse, /fuse is not known to give either/],
    ['the WAL-reset bug', withBug, /SQLite 3\.50\.4 has the WAL-reset bug/],
    ['WAL refused', walRefused, /SQLite answered 'delete' instead of WAL/],
  ])('per-context on %s', (_, facts, message) => {
    const error = refusal({ ...facts, requested: 'per-context' });
    expect(error.message).toMatch(message);
    expect(error).toMatchObject({
      code: 'SLUICE_STRATEGY',
      strategy: 'per-context',
      alternatives: ['shared', 'executor'],
    });
  });

  test('executor where a thread cannot import the registry’s module', () => {
    const registry = { url: 'file:///app/gone.js', importable: false };
    const error = refusal({ ...local, requested: 'executor', registry });
    expect(error.message).toMatch(/must import the registry's module, and file:\/\/\/app\/gone\.js is no file/);
    expect(error.alternatives).toEqual(['per-context', 'shared']);
  });

  test('executor in a thread that was itself started to own a database', () => {
    expect(refusal({ ...local, requested: 'executor', thread: 'executor' }).message).toMatch(/threads without end/);
  });

  test.each(['portable', 'remote'] as const)('%s, for it is not built in this version', (requested) => {
    const error = refusal({ ...local, requested });
    expect(error.message).toMatch(/is not built in this version/);
    expect(error.message).toContain("'/data/ledger.db'");
    expect(error.alternatives).toEqual(['per-context', 'shared', 'executor']);
  });
});

describe('the table, row by row', () => {
  test.each([
    ['memory', memory, 'shared', 'memory', /in memory: every further connection would be another/],
    ['temporary', temporary, 'shared', 'rollback', /temporary: every further connection would be another/],
    ['network', onNfs, 'shared', 'rollback', /nfs4, a network file system/],
    ['unknown', onFuse, 'shared', 'rollback', /fuse, which is not known to be local/],
    ['heavy queries', { ...local, heavy: true }, 'executor', 'wal', /'heavy': a thread of its own runs them/],
    ['several threads', { ...local, threads: 4 }, 'executor', 'wal', /4 threads call: one thread owns the database/],
    ['heavy, for reading only', { ...local, readonly: true, heavy: true }, 'executor', 'wal', /'heavy'/],
    ['heavy, WAL refused', { ...walRefused, heavy: true }, 'executor', 'rollback', /'heavy'/],
    ['read-only medium', readonlyMedium, 'per-context', 'rollback', /may not write the file, so every connection is a/],
    ['asked for reading only', { ...local, readonly: true }, 'per-context', 'wal', /opened for reading only/],
    [
      'read-only directory',
      { ...local, writable: { file: true, directory: false } },
      'per-context',
      'wal',
      /may not write the directory/,
    ],
    ['WAL-reset bug', withBug, 'shared', 'rollback', /SQLite 3\.50\.4 has the WAL-reset bug/],
    ['WAL refused', walRefused, 'shared', 'rollback', /asked for WAL and answered 'delete'/],
    ['local with WAL', local, 'per-context', 'wal', /ext4 \(mounted at \/data\).*WAL mode \(SQLite 3\.54\.1\)/],
  ] as const)('%s', (_, facts, strategy, journal, reason) => {
    const decision = decide(facts);
    expect(decision).toMatchObject({ strategy, journal, facts });
    expect(decision.reasons.join(' ')).toMatch(reason);
    expect(decision.rejected.map((rejection) => rejection.strategy)).toEqual(
      strategyNames.filter((name) => name !== strategy),
    );
  });

  test('an earlier row wins: a read-only file on a network file system is first of all on the network', () => {
    expect(decide({ ...onNfs, readonly: true }).strategy).toBe('shared');
  });
  test('an earlier row wins: heavy queries in memory, or on a network file system, stay on one handle of this thread', () => {
    expect(decide({ ...memory, heavy: true }).strategy).toBe('shared');
    expect(decide({ ...onNfs, threads: 2 }).strategy).toBe('shared');
  });
  test('heavy queries stay here where no thread can import the registry’s module', () => {
    const decision = decide({ ...local, heavy: true, registry: { url: 'app:registry', importable: false } });
    expect(decision.strategy).toBe('per-context');
    expect(decision.rejected.find(({ strategy }) => strategy === 'executor')?.because).toMatch(
      /app:registry is no file/,
    );
    expect(decision.hazards.join(' ')).toMatch(/'heavy' or 'threads'.*cannot be imported/);
  });
  test('the WAL-reset bug does not matter to readers only', () => {
    expect(decide({ ...withBug, readonly: true }).strategy).toBe('per-context');
  });
});

describe('a strategy that was asked for', () => {
  test('is honoured where it is safe, and what auto would have chosen is told', () => {
    const decision = decide({ ...local, requested: 'shared' });
    expect(decision).toMatchObject({ strategy: 'shared', journal: 'wal' });
    expect(decision.reasons).toEqual(["'shared' was asked for and is safe here."]);
    expect(decision.rejected[0]).toMatchObject({ strategy: 'per-context' });
    expect(decision.rejected[0]?.because).toMatch(/^'auto' would have chosen it\. The file is on ext4/);
  });
  test('says so where auto agrees', () => {
    const decision = decide({ ...local, requested: 'per-context' });
    expect(decision.reasons[0]).toBe("'per-context' was asked for, and 'auto' would have chosen it too.");
    expect(decision.reasons).toHaveLength(2);
  });
  test('is honoured as shared everywhere', () => {
    for (const facts of [memory, temporary, onNfs, onFuse, readonlyMedium, withBug, walRefused, local]) {
      expect(decide({ ...facts, requested: 'shared' }).strategy).toBe('shared');
    }
  });
});

describe('rejected', () => {
  const because = (facts: Facts, strategy: string) =>
    decide(facts).rejected.find((rejection) => rejection.strategy === strategy)?.because;

  test('a strategy that is not built says so and what it is for', () => {
    expect(because(local, 'remote')).toMatch(/not built in this version.*libSQL server/);
  });
  test('portable is the right one on a network file system and needless on a local one', () => {
    expect(because(onNfs, 'portable')).toMatch(/On nfs4 it would be the right one/);
    expect(because(local, 'portable')).toMatch(/This one needs none/);
  });
});

describe('an executor', () => {
  test('is taken on request in memory, where further connections are not possible', () => {
    expect(decide({ ...memory, requested: 'executor' })).toMatchObject({ strategy: 'executor', journal: 'memory' });
  });
  test('that was not taken says what it costs, and one that was what it saves', () => {
    const rejected = (facts: Facts, name: string) => decide(facts).rejected.find(({ strategy }) => strategy === name);
    expect(rejected(local, 'executor')?.because).toMatch(/costs more than a short query/);
    expect(rejected({ ...local, heavy: true }, 'per-context')?.because).toMatch(/on the event loop of its caller/);
  });
});

describe('hazards', () => {
  test('there are none for an ordinary local file, nor in memory', () => {
    expect(decide(local).hazards).toEqual([]);
    expect(decide(memory).hazards).toEqual([]);
    expect(decide(temporary).hazards).toEqual([]);
  });
  test.each([
    ['a network file system', onNfs, /nfs4, a network file system, where locks cannot be trusted/],
    ['an unknown file system', onFuse, /Nothing is known of the file system 'fuse'/],
    ['the WAL-reset bug', withBug, /SQLite 3\.50\.4 has the WAL-reset bug.*3\.51\.3 or newer/],
    ['hard links', { ...local, hardLinks: 3 }, /3 names \(hard links\)/],
    ['tmpfs', { ...local, storage: { ...local.storage, fileSystem: 'tmpfs' } }, /tmpfs, which is memory/],
    ['one file as a mount', { ...local, realPath: '/data' }, /a mount of its own/],
    ['open already', { ...local, openInThisProcess: 1 }, /open already in this process \(1 Database\)/],
    ['a worker thread', { ...local, thread: 'worker' }, /This is a worker thread/],
    ['a journal in memory', { ...walRefused, journalMode: 'off' }, /journal mode is 'off'/],
  ] as const)('%s is told with its figure', (_, facts, hazard) => {
    const { hazards } = decide(facts);
    expect(hazards).toHaveLength(1);
    expect(hazards[0]).toMatch(hazard);
  });
  test('WAL that could not be turned off on a network file system is told apart', () => {
    expect(decide({ ...onNfs, journalMode: 'wal', walObtained: true }).hazards.join(' ')).toMatch(/WAL mode on nfs4/);
  });
  test('a WAL database in a directory that cannot be written needs its -shm', () => {
    const { hazards } = decide({ ...local, writable: { file: false, directory: false } });
    expect(hazards.join(' ')).toMatch(/while its -shm and -wal files exist already/);
  });
});

describe('journalPlan', () => {
  test.each([
    ['wal', 'a local file', local, '3.54.1', false],
    ['delete', 'a network file system', onNfs, '3.54.1', false],
    ['delete', 'an unknown file system', onFuse, '3.54.1', false],
    ['delete', 'SQLite with the WAL-reset bug', local, '3.51.2', false],
    ['keep', 'reading only', local, '3.54.1', true],
    ['keep', 'a medium that cannot be written', readonlyMedium, '3.54.1', false],
    ['keep', 'a network file system, reading only', onNfs, '3.54.1', true],
    ['keep', 'memory', memory, '3.54.1', false],
    ['keep', 'a temporary database', temporary, '3.54.1', false],
  ] as const)('is %s for %s', (plan, _, facts, version, readonly) => {
    expect(journalPlan(facts, version, readonly)).toBe(plan);
  });
});
