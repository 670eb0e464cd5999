/** The reader of strace's output: what it makes of each call, and that it overlooks nothing. */
import { expect, test } from 'vitest';
import { parseTrace } from './power-cut/trace.ts';

const FOLDER = '/tmp/disk';

test('a process that creates, writes, syncs, acknowledges and removes is read in that order', () => {
  const lines = [
    `7 openat(AT_FDCWD<${hex('/tmp')}>, "${hex('/tmp/disk/f')}", O_RDWR|O_CREAT|O_CLOEXEC, 0644) = 3<${hex('/tmp/disk/f')}>`,
    `7 openat(AT_FDCWD<${hex('/tmp')}>, "${hex('/tmp/disk/f')}", O_RDWR|O_CREAT|O_CLOEXEC, 0644) = 4<${hex('/tmp/disk/f')}>`,
    `7 pwrite64(3<${hex('/tmp/disk/f')}>, "${hex('abc')}", 3, 512) = 2`,
    `7 ftruncate(3<${hex('/tmp/disk/f')}>, 100) = 0`,
    `7 fdatasync(3<${hex('/tmp/disk/f')}>)  = 0`,
    `7 fsync(5<${hex('/tmp/disk')}>)      = 0`,
    `7 write(1<${hex('pipe:[1]')}>, "${hex('ack x\nack y\n')}", 12) = 12`,
    `7 unlink("${hex('/tmp/disk/f')}") = 0`,
  ];
  expect(parseTrace(lines.join('\n'), FOLDER)).toEqual([
    { kind: 'create', name: 'f' },
    { kind: 'write', name: 'f', at: 512, bytes: Buffer.from('ab') },
    { kind: 'truncate', name: 'f', length: 100 },
    { kind: 'sync', name: 'f' },
    { kind: 'sync-names' },
    { kind: 'ack', id: 'x' },
    { kind: 'ack', id: 'y' },
    { kind: 'remove', name: 'f' },
  ]);
});

test('a sync counts from its end, an acknowledgement from its beginning', () => {
  const lines = [
    `7 fsync(3<${hex('/tmp/disk/f')}> <unfinished ...>`,
    `8 write(1<${hex('pipe:[1]')}>, "${hex('ack x\n')}", 6 <unfinished ...>`,
    '7 <... fsync resumed>) = 0',
    '8 <... write resumed>) = 6',
  ];
  expect(parseTrace(lines.join('\n'), FOLDER)).toEqual([
    { kind: 'ack', id: 'x' },
    { kind: 'sync', name: 'f' },
  ]);
});

test('a call that failed, one elsewhere and what happens to the shared memory are nothing', () => {
  const lines = [
    `7 unlink("${hex('/tmp/disk/f')}") = -1 ENOENT (No such file or directory)`,
    `7 pwrite64(3<${hex('/tmp/other')}>, "${hex('a')}", 1, 0) = 1`,
    `7 pwrite64(3<${hex('/tmp/disk/f-shm')}>, "${hex('a')}", 1, 0) = 1`,
    `7 mmap(NULL, 32768, PROT_READ|PROT_WRITE, MAP_SHARED, 3<${hex('/tmp/disk/f-shm')}>, 0) = 0x7f`,
  ];
  expect(parseTrace(lines.join('\n'), FOLDER)).toEqual([]);
});

test.for([
  ['a renaming', `7 rename("${hex('/tmp/disk/f')}", "${hex('/tmp/disk/g')}") = 0`],
  ['a write without a place', `7 write(3<${hex('/tmp/disk/f')}>, "${hex('a')}", 1) = 1`],
  ['a write that strace cut short', `7 pwrite64(3<${hex('/tmp/disk/f')}>, "${hex('a')}"..., 9, 0) = 9`],
  [
    'memory that writes to a file',
    `7 mmap(NULL, 8, PROT_READ|PROT_WRITE, MAP_SHARED, 3<${hex('/tmp/disk/f')}>, 0) = 0x7f`,
  ],
] as const)('%s in the folder is refused', ([, line]) => {
  expect(() => parseTrace(line, FOLDER)).toThrow('a system call that the model does not know');
});

test('two threads that change the folder at the same time are refused', () => {
  const lines = [
    `7 fsync(3<${hex('/tmp/disk/f')}> <unfinished ...>`,
    `8 pwrite64(3<${hex('/tmp/disk/f')}>, "${hex('a')}", 1, 0) = 1`,
    '7 <... fsync resumed>) = 0',
  ];
  expect(() => parseTrace(lines.join('\n'), FOLDER)).toThrow('two threads');
});

function hex(text: string): string {
  return [...Buffer.from(text)].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
}
