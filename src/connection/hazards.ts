/**
 * What can go wrong with a database where it lies, whatever the strategy. Most of it is from SQLite's own list.
 *
 * @see https://sqlite.org/howtocorrupt.html
 */
import { type Facts } from './facts.ts';

/** Each hazard in a sentence or two: what it is, with its figure, and what to do. Empty where nothing is known. */
export function findHazards(facts: Facts): string[] {
  const { storage } = facts;
  const hazards = storage.kind === 'memory' || storage.kind === 'temporary' ? [] : hazardsOfFile(facts);
  if (facts.walResetBug) {
    hazards.push(
      `SQLite ${facts.sqliteVersion} has the WAL-reset bug: several connections on one WAL file can corrupt it. ` +
        'Update better-sqlite3 so that it carries SQLite 3.51.3 or newer.',
    );
  }
  return [...hazards, ...hazardsOfAsking(facts)];
}

/** What was asked for and cannot be had without harm. */
function hazardsOfAsking({ heavy, threads, registry }: Facts): string[] {
  if (!heavy && threads === 1) return [];
  if (registry?.importable !== false) return [];
  return [
    `'heavy' or 'threads' asks for a thread of its own, and the registry's module (${registry.url}) cannot be imported there: ` +
      'long queries hold up the event loop. Give defineRepositories the import.meta.url of a module that is a file.',
  ];
}

function hazardsOfFile(facts: Facts): string[] {
  const { storage, hardLinks, openInThisProcess } = facts;
  const hazards: string[] = [];
  const onOneHost = storage.kind === 'local';
  const inWal = facts.journalMode === 'wal';

  if (storage.kind === 'network') {
    hazards.push(
      `The file is on ${storage.fileSystem}, a network file system, where locks cannot be trusted: two hosts that write ` +
        'at once can corrupt it. Let one host have it open at a time, or move it to a local disk.',
    );
  }
  if (storage.kind === 'unknown') {
    hazards.push(
      `Nothing is known of the file system '${storage.fileSystem}': if a second host can reach the file, two that write ` +
        'at once can corrupt it. Move it to a local disk if you can.',
    );
  }
  if (inWal && !onOneHost) {
    hazards.push(
      `The database is in WAL mode on ${storage.fileSystem}: hosts do not see each other's WAL, which loses writes. ` +
        'Close it everywhere and turn WAL off (PRAGMA journal_mode=DELETE) from one host.',
    );
  }
  if (inWal && onOneHost && !facts.writable.directory) {
    hazards.push(
      'The database is in WAL mode in a directory that this process may not write: it can only be opened while its -shm ' +
        'and -wal files exist already. Turn WAL off before the files are put there.',
    );
  }
  if (facts.journalMode === 'memory' || facts.journalMode === 'off') {
    hazards.push(
      `The journal mode is '${facts.journalMode}': a crash in the middle of a write can destroy the file. ` +
        "Leave journal_mode out of the 'pragmas' option.",
    );
  }
  if (hardLinks > 1) {
    hazards.push(
      `The file has ${hardLinks} names (hard links), and SQLite finds the journal by the name: whoever opens it by another ` +
        'one misses what is in this journal, and the file can be corrupted. Always use one name.',
    );
  }
  if (storage.mountPoint === facts.realPath) {
    hazards.push(
      'The file is a mount of its own (as when one file is mounted into a container): its journal is written beside it in ' +
        'here, where others who have the file open cannot see it. Mount its directory instead.',
    );
  }
  if (storage.fileSystem === 'tmpfs' || storage.fileSystem === 'ramfs') {
    hazards.push(`The file is on ${storage.fileSystem}, which is memory: it is gone when this machine is restarted.`);
  }
  if (openInThisProcess > 0) {
    hazards.push(
      `The file is open already in this process (${openInThisProcess} ${openInThisProcess === 1 ? 'Database' : 'Databases'}): ` +
        'their writes take turns in one lane, so a long transaction in one holds up the others. Share one Database.',
    );
  }
  if (facts.thread === 'worker' && !facts.readonly) {
    hazards.push(
      "This is a worker thread: writes of other threads do not stand in this thread's lane. SQLite's own lock keeps them " +
        'apart, but in no particular order.',
    );
  }
  return hazards;
}
