import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Reader, Writer } from '../../src/executor/wire.ts';

const get = { repository: 'accounts', name: 'get' };
const put = { repository: 'accounts', name: 'put' };

/** Everything that one port carries, as the other end finds it. */
function across(writer: Writer, reader: Reader<object, string>): unknown[] {
  heard = [];
  reader.read(structuredClone(writer.take()));
  return heard;
}

let heard: unknown[] = [];

function newReader(): Reader<object, string> {
  return new Reader<object, string>({
    message: (message) => heard.push(message),
    method: (repository, name) => `${repository}.${name}`,
    call: (method, id, word, args) => heard.push({ method, id, word, args }),
    value: (id, value) => heard.push({ id, value }),
  });
}

describe('a batch', () => {
  it('arrives as it left: calls, answers and whole messages, in their order', () => {
    const [writer, reader] = [new Writer(), newReader()];
    expect(writer.call(get, 1, 0, [7])).toBe(true);
    writer.message(['abort', 1]);
    expect(writer.call(put, 2, 1, [7, { owner: 'ann', cents: null }])).toBe(true);
    expect(writer.call(get, 3, 2, [])).toBe(true);
    expect(writer.value(get, 4, undefined)).toBe(true);
    expect(writer.value(get, 5, { id: 7, owner: 'ann' })).toBe(true);
    expect(
      writer.value(put, 6, [
        { id: 1, owner: 'ann' },
        { id: 2, owner: 'bob' },
      ]),
    ).toBe(true);
    expect(across(writer, reader)).toEqual([
      { method: 'accounts.get', id: 1, word: 0, args: [7] },
      ['abort', 1],
      { method: 'accounts.put', id: 2, word: 1, args: [7, { owner: 'ann', cents: null }] },
      { method: 'accounts.get', id: 3, word: 2, args: [] },
      { id: 4, value: undefined },
      { id: 5, value: { id: 7, owner: 'ann' } },
      {
        id: 6,
        value: [
          { id: 1, owner: 'ann' },
          { id: 2, owner: 'bob' },
        ],
      },
    ]);
  });

  it('holds nothing of what it cannot lay out', () => {
    const [writer, reader] = [new Writer(), newReader()];
    const refused = [
      [{ nested: {} }],
      [{ when: new Date(0) }],
      [{ owner: 'ann' }, 1],
      [new Map()],
      [[1, 2]],
      [Object.defineProperty({}, '__proto__', { value: 1, enumerable: true })],
      [() => undefined],
      [new Proxy({}, {})],
    ];
    for (const args of refused) expect(writer.call(get, 1, 0, args)).toBe(false);
    for (const value of [[], [1], [{ id: 1 }, { other: 2 }], [{ id: 1 }, null], Buffer.from('a')]) {
      expect(writer.value(get, 1, value)).toBe(false);
    }
    expect(across(writer, reader)).toEqual([]);
  });

  it('reads a getter once: what it gives the second time could be a message', () => {
    const [writer, reader] = [new Writer(), newReader()];
    const args = (): readonly unknown[] => {
      let reads = 0;
      return [{ get owner() { return reads++ === 0 ? 'ann' : ['abort', 1]; } }]; // prettier-ignore
    };
    // The first call makes the shape known.
    for (const id of [1, 2]) writer.call(get, id, 0, args());
    for (const each of across(writer, reader)) expect(each).toMatchObject({ args: [{ owner: 'ann' }] });
  });

  it('arrives as it left, whatever rows it has', () => {
    const primitive = fc.oneof(
      fc.string(),
      fc.double(),
      fc.boolean(),
      fc.bigInt(),
      fc.constant(null),
      fc.constant(undefined),
    );
    const row = fc.dictionary(fc.oneof(fc.constantFrom('id', 'owner', '1', '0'), fc.string()), primitive, {
      noNullPrototype: true,
    });
    const call = fc.record({ method: fc.constantFrom(get, put), args: fc.array(fc.oneof(primitive, row)) });
    fc.assert(
      fc.property(fc.array(fc.array(call)), (batches) => {
        const [writer, reader] = [new Writer(), newReader()];
        for (const calls of batches) {
          const sent: unknown[] = [];
          for (const [id, { method, args }] of calls.entries()) {
            if (!writer.call(method, id, 0, args)) continue;
            sent.push({ method: `${method.repository}.${method.name}`, id, word: 0, args });
          }
          for (const [id, { method, args }] of calls.entries()) {
            if (writer.value(method, id, args)) sent.push({ id, value: args });
          }
          expect(across(writer, reader)).toStrictEqual(sent);
        }
      }),
    );
  });
});
