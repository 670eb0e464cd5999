/**
 * On what kind of storage a path lies.
 *
 * 1. The kernel's mount table is asked first: `statfs` on 9p answers with the host's file system, not with 9p.
 * 2. Where there is no mount table (macOS), `statfs` is asked.
 * 3. On Windows neither says anything; there a path resolved by the system begins with a drive or with a server.
 *
 * A file system that is on neither list below is `unknown` and is treated like a network one: WAL needs memory shared by
 * everybody who has the file open, and a file system nobody vouches for may be served to a second host.
 */
import { readFileSync, statfsSync } from 'node:fs';

/** What a database is stored on. `unknown` is an answer too: nothing vouches that the storage is local. */
export type StorageKind = 'memory' | 'temporary' | 'local' | 'network' | 'unknown';

/** Where a database is stored, and what says so. */
export interface StorageFacts {
  readonly kind: StorageKind;
  /** As the system calls it (`ext4`, `nfs4`, `fuse.sshfs`); `none` for a database without a file. */
  readonly fileSystem: string;
  /** Where the file system is mounted. Only the mount table knows it. */
  readonly mountPoint?: string;
  /** Who said so: the kernel's mount table, `statfs`, or the form of the path alone. */
  readonly source: 'mount-table' | 'statfs' | 'path';
}

/** One line of the mount table. */
export interface Mount {
  readonly id: string;
  /** The mount that this one lies on. */
  readonly parent: string;
  readonly mountPoint: string;
  readonly fileSystem: string;
}

const local = new Set(
  (
    'ext2 ext3 ext4 xfs btrfs bcachefs zfs f2fs jfs nilfs2 reiserfs tmpfs ramfs devtmpfs rootfs overlay aufs ' +
    'vfat msdos exfat ntfs ntfs3 fuseblk apfs hfs hfsplus ufs squashfs erofs iso9660 udf'
  ).split(' '),
);

const network = new Set(
  (
    'nfs nfs4 cifs smb smb2 smb3 smbfs 9p virtiofs vboxsf prl_fs drvfs afs kafs coda ceph glusterfs lustre gpfs beegfs ' +
    'ocfs2 gfs2 orangefs pvfs2 davfs ncpfs afpfs webdav fuse.sshfs fuse.glusterfs fuse.ceph fuse.ceph-fuse fuse.s3fs ' +
    'fuse.rclone fuse.gcsfuse fuse.goofys fuse.juicefs fuse.davfs fuse.davfs2 fuse.curlftpfs fuse.smbnetfs ' +
    'fuse.vmhgfs-fuse fuse.osxfs fuse.grpcfuse'
  ).split(' '),
);

/** Whether one host alone can have a file on this file system open, by the name the kernel gives the file system. */
export function kindOfFileSystem(name: string): 'local' | 'network' | 'unknown' {
  if (local.has(name)) return 'local';
  return network.has(name) ? 'network' : 'unknown';
}

/**
 * Reads the text of `/proc/self/mountinfo`.
 *
 * @see https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
 */
export function parseMountInfo(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split('\n')) {
    // The number of fields in front of the lone hyphen varies, so the file system is found from the hyphen on.
    const fields = line.split(' ');
    const [id, parent, , , mountPoint] = fields;
    const fileSystem = fields[fields.indexOf('-', 6) + 1];
    if (id === undefined || parent === undefined || mountPoint === undefined) continue;
    if (fileSystem === undefined || !fields.includes('-', 6)) continue;
    mounts.push({ id, parent, mountPoint: unescapeOctal(mountPoint), fileSystem });
  }
  return mounts;
}

/**
 * The mount that serves a real path.
 *
 * The table is walked as the kernel walks it, from the root mount down. The longest matching mount point would not do: a
 * later mount over `/srv` hides the one at `/srv/data` that is still listed.
 */
export function findMount(mounts: readonly Mount[], realPath: string): Mount | undefined {
  const ids = new Set(mounts.map((mount) => mount.id));
  let unseen = mounts.filter((mount) => covers(mount.mountPoint, realPath));
  let here: Mount | undefined;
  for (;;) {
    const above = here;
    const next = unseen
      .filter((mount) => (above ? mount.parent === above.id : mount.parent === mount.id || !ids.has(mount.parent)))
      // On one point the last mounted lies on top; of two points the walk comes to the shorter one first.
      .reduce<Mount | undefined>(
        (best, mount) => (best && best.mountPoint.length < mount.mountPoint.length ? best : mount),
        undefined,
      );
    if (!next) return here;
    unseen = unseen.filter((mount) => mount !== next);
    here = next;
  }
}

/** What `statfs` reports, by platform: the numbers are the kernel's own and mean nothing on another one. */
const statfsTypes: Partial<Record<NodeJS.Platform, ReadonlyMap<number, string>>> = {
  linux: new Map([
    [0xef53, 'ext4'],
    [0x58465342, 'xfs'],
    [0x9123683e, 'btrfs'],
    [0x2fc12fc1, 'zfs'],
    [0xf2f52010, 'f2fs'],
    [0x01021994, 'tmpfs'],
    [0x858458f6, 'ramfs'],
    [0x794c7630, 'overlay'],
    [0x6969, 'nfs'],
    [0xff534d42, 'cifs'],
    [0xfe534d42, 'smb3'],
    [0x517b, 'smbfs'],
    [0x01021997, '9p'],
    [0x00c36400, 'ceph'],
    [0x65735546, 'fuse'],
  ]),
  darwin: new Map([[0x1a, 'apfs']]),
};

/** The file system that a `statfs` type number stands for, or the number itself where nobody knows it. */
export function nameOfStatfsType(type: number, platform: NodeJS.Platform): string {
  // SMB's number has its top bit set and arrives negative where the C field is a signed one.
  const unsigned = type >>> 0;
  return statfsTypes[platform]?.get(unsigned) ?? `0x${unsigned.toString(16)}`;
}

/** Windows: what the beginning of a path resolved by the system says. A mapped drive is resolved to its server. */
export function storageOfWindowsPath(realPath: string): StorageFacts {
  const withoutPrefix = realPath.replace(/^\\\\[?.]\\(UNC\\)?/i, (_, unc?: string) => (unc ? '\\\\' : ''));
  if (withoutPrefix.startsWith('\\\\')) return { kind: 'network', fileSystem: 'UNC', source: 'path' };
  const drive = /^[a-z]:/i.exec(withoutPrefix)?.[0];
  return drive
    ? { kind: 'local', fileSystem: `drive ${drive.toUpperCase()}`, source: 'path' }
    : { kind: 'unknown', fileSystem: 'unknown', source: 'path' };
}

/** Looks up what serves `realPath`; `directory` is the deepest directory of it that exists. Opens neither. */
export function lookUpStorage(realPath: string, directory: string): StorageFacts {
  if (process.platform === 'win32') return storageOfWindowsPath(realPath);
  const mount = findMount(parseMountInfo(readMountTable()), realPath);
  if (mount) {
    const { fileSystem, mountPoint } = mount;
    return { kind: kindOfFileSystem(fileSystem), fileSystem, mountPoint, source: 'mount-table' };
  }
  const fileSystem = nameOfStatfsType(statfsSync(directory).type, process.platform);
  return { kind: kindOfFileSystem(fileSystem), fileSystem, source: 'statfs' };
}

function readMountTable(): string {
  if (process.platform !== 'linux') return '';
  try {
    return readFileSync('/proc/self/mountinfo', 'utf8');
  } catch {
    return ''; // A sandbox without /proc: statfs is the next best witness.
  }
}

function covers(mountPoint: string, path: string): boolean {
  return mountPoint === '/' || path === mountPoint || path.startsWith(`${mountPoint}/`);
}

/** The kernel writes a space, tab, newline or backslash in a path as `\040` and the like. Other bytes come as they are. */
function unescapeOctal(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}
