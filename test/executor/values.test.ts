/** What crosses between threads, and how it arrives. */
import Sqlite from 'better-sqlite3';
import { describe, expect, test } from 'vitest';
import { HandlerError, OptionError } from '../../src/index.ts';
import { movable, pack, unpack } from '../../src/executor/values.ts';
import { Tantrum } from '../support/hostile.ts';
import { openHostile } from '../support/open-hostile.ts';
import { committed } from '../support/open-ledger.ts';
import { useTempDir } from '../support/temp-dir.ts';
import { rejection } from '../support/waiting.ts';

describe('a value that cannot cross is refused with its place', () => {
  class Money {
    readonly cents = 1;
  }
  class Own extends Error {}
  class Day extends Date {}
  class Rows extends Array {}
  test.for([
    ['a function', { when: [() => 1] }, /^argument\.when\[0\] is a function/],
    ['a symbol', [{ a: Symbol('s') }], /^argument\[0\]\.a is a symbol/],
    ['an instance of a class', { price: new Money() }, /^argument\.price is a Money/],
    ['a promise', Promise.resolve(1), /^argument is a Promise/],
    ['an error of a class of one’s own', [new Own('no')], /^argument\[0\] is a Own: an instance of a class/],
    [
      'an error with fields of its own',
      Object.assign(new Error('no'), { code: 1 }),
      /^argument is a Error: an instance/,
    ],
    ['a date of a class of one’s own', { at: new Day(0) }, /^argument\.at is a Day/],
    ['rows of a class of one’s own', { rows: Rows.from([1]) }, /^argument\.rows is /],
    ['a proxy', { rows: [new Proxy({ id: 1 }, {})] }, /^argument\.rows\[0\] is a proxy/],
    ['a proxy of an array', new Proxy([1], {}), /^argument is a proxy/],
    ['a function in a map', new Map([['k', () => 1]]), /^argument\[value 0\] is a function/],
  ] as const)('%s', ([, value, message]) => {
    expect(() => pack(value, 'argument')).toThrow(message);
  });
});

test('buffers are buffers again, among bytes that are not, wherever they stand', () => {
  const value = {
    rows: [{ a: Buffer.from('one') }, { a: new Uint8Array([1, 2]) }],
    map: new Map<string, unknown>([
      ['x', Buffer.from('two')],
      ['y', new Uint8Array([3])],
    ]),
    set: new Set([Buffer.from('three'), new Uint8Array([4])]),
  };
  const { value: sent, buffers } = pack(value, 'argument');
  const arrived = unpack(structuredClone(sent), buffers);
  expect(arrived).toEqual(value);
});

test('of a small buffer its own bytes are sent, and not the pool that it lies in', () => {
  const { value } = pack({ deep: [Buffer.from('secret')] }, 'argument');
  const [bytes] = (value as { deep: [Uint8Array] }).deep;
  expect(bytes.buffer.byteLength).toBe(6);
});

test('only large bytes that are all of their memory are moved, each once', () => {
  const handle = new Sqlite(':memory:');
  const row = handle.prepare("SELECT zeroblob(100000) AS large, zeroblob(10) AS small, 'x' AS text").get() as {
    large: Buffer;
    small: Buffer;
  };
  handle.close();
  const part = Buffer.from(new ArrayBuffer(100_000), 8);
  expect(movable({ rows: [row, row], part, bytes: new Uint8Array(40_000) })).toEqual([
    row.large.buffer,
    expect.any(ArrayBuffer),
  ]);
});

describe('through an executor', () => {
  const dir = useTempDir();

  test('values arrive as they left', async () => {
    const db = await openHostile(dir);
    const loop: Record<string, unknown> = { name: 'loop' };
    loop.self = loop;
    for (const value of [
      1.5,
      -0,
      10n ** 30n,
      null,
      undefined,
      'text',
      new Date(0),
      new Map([[{ a: 1 }, new Set([1n])]]),
      { nested: [{ deep: undefined }, [null]] },
      new Uint8Array([1, 2, 3]),
      Buffer.from('bytes'),
      { mixed: [Buffer.from('a'), new Uint8Array([9])] },
      /pattern/g,
    ]) {
      expect(await db.api.hostile.echo(value)).toEqual(value);
    }
    const back = (await db.api.hostile.echo(loop)) as typeof loop;
    expect(back.self).toBe(back);
    expect(await db.api.hostile.kinds(Buffer.from('x'))).toBe('[object Uint8Array] buffer');
    expect(await db.api.hostile.kinds(new Uint8Array(1))).toBe('[object Uint8Array]');
  });

  test('columns of every kind come back as they were stored', async () => {
    const db = await openHostile(dir);
    const row = { id: 1, at: new Date(1e12), big: 2n ** 70n, bytes: Buffer.alloc(200_000, 3), json: { tags: ['x'] } };
    expect(await db.api.things.insert(row)).toEqual(row);
    const got = await db.api.things.get(1);
    expect(got).toEqual(row);
    expect(Buffer.isBuffer(got?.bytes)).toBe(true);
    // Sent twice: what was moved to its first reader is not missing for the next.
    expect(await db.api.things.find({ id: 1 })).toEqual([row]);
  });

  test('what a handler goes on using is copied, however large', async () => {
    const db = await openHostile(dir);
    for (let round = 0; round < 2; round++) expect(await db.api.hostile.kept()).toEqual(Buffer.alloc(100_000, 7));
  });

  test('an argument that cannot cross is refused before anything is sent', async () => {
    const db = await openHostile(dir);
    const error = await rejection(db.api.hostile.echo({ a: [() => 1] }), OptionError);
    expect(error).toMatchObject({ outcome: 'not-started' });
    expect(error.message).toMatch(/^hostile\.echo: argument\[0\]\.a\[0\] is a function, and cannot cross a thread/);
    const proxy = new Proxy({}, {});
    const [refused, fine] = await Promise.allSettled([db.api.hostile.echo(proxy), db.api.hostile.echo(1)]);
    expect(refused.status).toBe('rejected');
    expect(fine).toMatchObject({ value: 1 });
  });

  test('a result that cannot cross is an error that says what became of the write', async () => {
    const db = await openHostile(dir);
    const read = await rejection(db.api.hostile.unsendable(), HandlerError);
    expect(read.message).toMatch(/hostile\.unsendable: the result\.rows\[0\]\.fn is a function/);
    await rejection(db.api.hostile.instance(), HandlerError);
    const write = await rejection(db.api.hostile.addUnsendable('a'), HandlerError);
    expect(write).toMatchObject({ outcome: 'committed' });
    expect(committed(dir)).toEqual(['a/1']);
  });

  test('an error of the handler’s own keeps its name, message, fields, cause and nearest class', async () => {
    const db = await openHostile(dir);
    const error = await rejection(db.api.hostile.rage('a'), RangeError);
    expect(error).not.toBeInstanceOf(Tantrum);
    expect(error).toMatchObject({
      name: 'Tantrum',
      message: 'no',
      degree: 3,
      where: { room: 'kitchen' },
      outcome: 'rolled-back',
    });
    expect(error.cause).toBeInstanceOf(TypeError);
  });

  test('the stack of an error is the handler’s, and then the caller’s', async () => {
    const db = await openHostile(dir);
    async function theCaller(): Promise<void> {
      await db.api.hostile.rage('a');
    }
    const { stack = '' } = await rejection(theCaller(), RangeError);
    const handler = stack.indexOf('hostile.ts');
    expect(handler).toBeGreaterThan(0);
    expect(stack.indexOf('theCaller')).toBeGreaterThan(handler);
  });
});

describe('what cannot be looked at, or not sent', () => {
  const dir = useTempDir();

  test('a result that throws when it is looked at is its own caller’s error, and the thread goes on', async () => {
    const db = await openHostile(dir);
    const others = [1, 2, 3].map((value) => db.api.hostile.echo({ value }));
    const failed = [db.api.hostile.thorny(), db.api.hostile.thorny()].map((call) => rejection(call, RangeError));
    for (const error of await Promise.all(failed)) expect(error.message).toBe('a thorn');
    expect(await Promise.all(others)).toEqual([{ value: 1 }, { value: 2 }, { value: 3 }]);
    const written = await rejection(db.api.hostile.addThorny('a'), RangeError);
    expect(written).toHaveProperty('outcome', 'committed');
    expect(committed(dir)).toEqual(['a/1']);
  });

  test('a result that cannot cross says of a write that it was committed, and of nothing else', async () => {
    const db = await openHostile(dir);
    expect(await rejection(db.api.hostile.proxied(), HandlerError)).toMatchObject({ outcome: undefined });
    await rejection(
      db.transaction(async (api) => {
        expect(await rejection(api.hostile.addUnsendable('a'), HandlerError)).toMatchObject({ outcome: undefined });
        throw new Error('undo');
      }),
      Error,
    );
    expect(committed(dir)).toEqual([]);
  });

  test('an argument that throws when it is looked at leaves nothing that a close would wait for', async () => {
    const db = await openHostile(dir);
    let looks = 0;
    const sly = {
      get value(): number {
        if (++looks > 1) throw new RangeError('a second look');
        return 1;
      },
    };
    await Promise.allSettled([db.api.hostile.echo(sly)]);
    await db.close();
  });

  test.for(['message', 'name'] as const)('an error whose %s is no text is an error all the same', async (what) => {
    const db = await openHostile(dir);
    await expect(db.api.hostile.failOddly(what)).rejects.toBeDefined();
    await expect(db.api.hostile.addAndFailOddly('a', what)).rejects.toHaveProperty('outcome', 'rolled-back');
    expect(committed(dir)).toEqual([]);
  });

  test('an argument of a stream that cannot be cloned is refused at once, and leaves its reader to others', async () => {
    const db = await openHostile(dir, { readers: 1 });
    const detached = new Uint8Array(8);
    structuredClone(detached, { transfer: [detached.buffer] });
    const stream = db.api.hostile.walked(detached as never)[Symbol.asyncIterator]();
    const since = performance.now();
    await rejection(stream.next(), OptionError);
    expect(performance.now() - since).toBeLessThan(1000);
    expect(await db.api.hostile.listed()).toEqual([]);
    await db.close();
  });

  test('an array arrives with what stands beside its items, however long the call took', async () => {
    const db = await openHostile(dir);
    for (let at = 0; at < 5; at++) expect(await db.api.hostile.numbered()).toHaveProperty('total', 7);
  });
});
