import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { hasWalResetBug, lookUpPath } from '../../src/connection/facts.ts';
import {
  findMount,
  kindOfFileSystem,
  nameOfStatfsType,
  parseMountInfo,
  storageOfWindowsPath,
} from '../../src/connection/storage.ts';
import { OptionError } from '../../src/errors.ts';

let directory: string;
beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'sluice-facts-')));
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

describe('lookUpPath refuses', () => {
  const refused = (file: unknown, message: RegExp) => {
    const lookUp = () => lookUpPath(file as string);
    expect(lookUp).toThrow(OptionError);
    expect(lookUp).toThrow(message);
  };

  test('a URI string, which would become a file of that name', () => {
    refused('file:x?mode=memory&cache=shared', /'file:x\?mode=memory&cache=shared' is a URI/);
    expect(existsSync('file:x?mode=memory&cache=shared')).toBe(false);
  });
  test('a URL that is not a file', () => {
    refused(new URL('https://example.com/a.db'), /expected a file: URL, got 'https:\/\/example.com\/a.db'/);
    refused('libsql://example.com', /the URL of a server/);
  });
  test('a file URL with parameters or with a host', () => {
    refused(new URL('?mode=memory', pathToFileURL(join(directory, 'a.db'))), /carries '\?mode=memory'/);
    refused(new URL('file://elsewhere/a.db'), /does not name a file of this machine/);
  });
  test('what is not a path at all', () => {
    refused(42, /expected a path, a file: URL or ':memory:', got 42/);
    refused(undefined, /got undefined/);
  });
  test('a path with NUL, where SQLite would cut it off', () => {
    refused(join(directory, 'a\0b.db'), /NUL/);
  });
  test('white space at the end, which better-sqlite3 would trim', () => {
    refused(join(directory, 'a.db '), /ends in white space/);
    refused('  ', /only white space/);
  });
  test('a slip of :memory:', () => {
    refused(':memory', /did you mean ':memory:'/);
    refused(':MEMORY:', /did you mean ':memory:'/);
  });
  test('a directory', () => {
    refused(directory, /is a directory; name a file in it/);
  });
  test('a file whose directory does not exist, by its name', () => {
    refused(join(directory, 'none', 'a.db'), new RegExp(`the directory '${directory}/none' does not exist`));
  });
  test('a path through a file', () => {
    writeFileSync(join(directory, 'a'), '');
    refused(join(directory, 'a', 'b.db'), /leads through a file/);
  });
  test('a link that leads back to itself', () => {
    symlinkSync('loop', join(directory, 'loop'));
    refused(join(directory, 'loop'), /leads back to itself/);
  });
  test('a device and a pipe', () => {
    refused('/dev/null', /is a device/);
    spawnSync('mkfifo', [join(directory, 'pipe')]);
    refused(join(directory, 'pipe'), /is a pipe/);
  });
});

describe('lookUpPath', () => {
  test('knows :memory: and the temporary database, which have no file', () => {
    expect(lookUpPath(':memory:')).toMatchObject({ file: ':memory:', exists: false, storage: { kind: 'memory' } });
    expect(lookUpPath('')).toMatchObject({ file: '', exists: false, storage: { kind: 'temporary' } });
  });
  test('reports a file that does not exist yet, and does not create it', () => {
    const file = join(directory, 'a.db');
    const facts = lookUpPath(file);
    expect(facts).toMatchObject({ file, realPath: file, exists: false, hardLinks: 0, size: 0 });
    expect(facts).not.toHaveProperty('identity');
    expect(facts.writable).toEqual({ file: true, directory: true });
    expect(existsSync(file)).toBe(false);
  });
  test('takes a file URL for the path it names', () => {
    const file = join(directory, 'a b%.db');
    expect(lookUpPath(pathToFileURL(file)).file).toBe(file);
  });
  test('gives every name of one file the same identity, and counts the names', () => {
    const [one, two] = [join(directory, 'one.db'), join(directory, 'two.db')];
    writeFileSync(one, 'data');
    linkSync(one, two);
    const { dev, ino } = statSync(one);
    expect(lookUpPath(one)).toMatchObject({ identity: `${dev}:${ino}`, hardLinks: 2, size: 4, exists: true });
    expect(lookUpPath(two).identity).toBe(lookUpPath(one).identity);
  });
  test('resolves symbolic links of the file and of its directories', () => {
    mkdirSync(join(directory, 'real'));
    writeFileSync(join(directory, 'real', 'a.db'), '');
    symlinkSync('real', join(directory, 'folder'));
    symlinkSync('folder/a.db', join(directory, 'link.db'));
    expect(lookUpPath(join(directory, 'link.db'))).toMatchObject({
      file: join(directory, 'link.db'),
      realPath: join(directory, 'real', 'a.db'),
    });
  });
  test('resolves a chain of links to a file that does not exist yet', () => {
    mkdirSync(join(directory, 'real'));
    symlinkSync('second', join(directory, 'first'));
    symlinkSync('real/a.db', join(directory, 'second'));
    expect(lookUpPath(join(directory, 'first'))).toMatchObject({
      realPath: join(directory, 'real', 'a.db'),
      exists: false,
    });
  });
  test.skipIf(process.platform === 'win32')('sees that the file or the directory may not be written', () => {
    const file = join(directory, 'a.db');
    writeFileSync(file, '');
    chmodSync(file, 0o444);
    chmodSync(directory, 0o777);
    expect(writableAsOrdinaryUser(file)).toEqual({ file: false, directory: true });
    chmodSync(directory, 0o555);
    expect(writableAsOrdinaryUser(file)).toEqual({ file: false, directory: false });
    chmodSync(directory, 0o755);
  });
  test.runIf(process.platform === 'linux')('finds another file system by the mount table', () => {
    expect(lookUpPath('/dev/shm/sluice-none.db').storage).toEqual({
      kind: 'local',
      fileSystem: 'tmpfs',
      mountPoint: '/dev/shm',
      source: 'mount-table',
    });
    expect(lookUpPath('/proc/sluice-none.db').storage).toMatchObject({ kind: 'unknown', fileSystem: 'proc' });
  });
});

describe('the mount table', () => {
  const table = parseMountInfo(`
22 28 0:21 / /proc rw,relatime shared:12 - proc proc rw
28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 28 0:40 / /srv rw shared:2 master:3 - nfs4 server:/srv rw
41 40 254:0 /data /srv/data rw - ext4 /dev/vdb rw
42 28 0:42 / /mnt/with\\040space\\134 rw - 9p host rw,trans=virtio
43 28 254:1 /file /etc/app.db rw - xfs /dev/vdc rw
not a mount
`);
  const at = (path: string) => findMount(table, path)?.fileSystem;

  test('skips what is not a mount', () => {
    expect(table).toHaveLength(6);
  });
  test('gives a path to the deepest mount above it', () => {
    expect([at('/home/a.db'), at('/srv/a.db'), at('/srv/data/a.db')]).toEqual(['ext4', 'nfs4', 'ext4']);
    expect(findMount(table, '/srv/data/a.db')?.mountPoint).toBe('/srv/data');
  });
  test('does not take a path for a neighbour that begins alike', () => {
    expect(at('/srv-backup/a.db')).toBe('ext4');
    expect(at('/srv/database/a.db')).toBe('nfs4');
  });
  test('has spaces and backslashes in mount points', () => {
    expect(findMount(table, '/mnt/with space\\/a.db')?.fileSystem).toBe('9p');
  });
  test('knows a file that is a mount of its own', () => {
    expect(findMount(table, '/etc/app.db')?.mountPoint).toBe('/etc/app.db');
  });
  test('lets a later mount on the same point cover the earlier one', () => {
    const stacked = parseMountInfo(
      '1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / /a rw - nfs b rw\n3 2 0:3 / /a rw - tmpfs c rw',
    );
    expect(findMount(stacked, '/a/x.db')?.fileSystem).toBe('tmpfs');
    const siblings = parseMountInfo(
      '1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / /a rw - nfs b rw\n3 1 0:3 / /a rw - xfs c rw',
    );
    expect(findMount(siblings, '/a/x.db')?.fileSystem).toBe('xfs');
  });
  test('lets a mount over a directory hide the mounts that lay in it', () => {
    const hidden = parseMountInfo(
      '1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / /a/b rw - nfs b rw\n3 1 0:3 / /a rw - tmpfs c rw',
    );
    expect(findMount(hidden, '/a/b/x.db')?.fileSystem).toBe('tmpfs');
  });
  test('finds nothing in an empty table', () => {
    expect(findMount(parseMountInfo(''), '/a.db')).toBeUndefined();
  });
});

describe('file systems', () => {
  test.each(['ext4', 'xfs', 'btrfs', 'zfs', 'tmpfs', 'overlay', 'apfs', 'fuseblk'])('%s is local', (name) => {
    expect(kindOfFileSystem(name)).toBe('local');
  });
  test.each(['nfs', 'nfs4', 'cifs', 'smb3', '9p', 'virtiofs', 'vboxsf', 'ceph', 'fuse.sshfs', 'ocfs2'])(
    '%s is a network file system',
    (name) => {
      expect(kindOfFileSystem(name)).toBe('network');
    },
  );
  test.each(['fuse', 'fuse.mine', 'proc', '', '0x1234'])("'%s' is unknown", (name) => {
    expect(kindOfFileSystem(name)).toBe('unknown');
  });
  test('a number of statfs has a name on its own platform only, and a negative one is the same number', () => {
    expect(nameOfStatfsType(0xef53, 'linux')).toBe('ext4');
    expect(nameOfStatfsType(0xff534d42, 'linux')).toBe('cifs');
    expect(nameOfStatfsType(0xff534d42 | 0, 'linux')).toBe('cifs');
    expect(nameOfStatfsType(0xef53, 'darwin')).toBe('0xef53');
  });
  test('a Windows path is local on a drive and on the network under a server', () => {
    expect(storageOfWindowsPath('c:\\data\\a.db')).toMatchObject({ kind: 'local', fileSystem: 'drive C:' });
    expect(storageOfWindowsPath('\\\\?\\C:\\data\\a.db')).toMatchObject({ kind: 'local' });
    expect(storageOfWindowsPath('\\\\server\\share\\a.db')).toMatchObject({ kind: 'network' });
    expect(storageOfWindowsPath('\\\\?\\UNC\\server\\share\\a.db')).toMatchObject({ kind: 'network' });
    expect(storageOfWindowsPath('a.db')).toMatchObject({ kind: 'unknown' });
  });
});

test.each([
  ['3.6.23', false],
  ['3.7.0', true],
  ['3.50.4', true],
  ['3.51.2', true],
  ['3.51.3', false],
  ['3.54.1', false],
  ['4.0.0', false],
])('SQLite %s has the WAL-reset bug: %s', (version, expected) => {
  expect(hasWalResetBug(version)).toBe(expected);
});

/** Root may write everything, so where the tests run as root it is a child process without its rights that looks. */
function writableAsOrdinaryUser(file: string): unknown {
  const script = `
    const { lookUpPath } = await import(${JSON.stringify(new URL('../../src/connection/facts.ts', import.meta.url))});
    process.getuid() === 0 && process.setuid(65534);
    console.log(JSON.stringify(lookUpPath(${JSON.stringify(file)}).writable));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  return JSON.parse(stdout);
}
