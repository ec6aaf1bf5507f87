/** Messages on a way that knows only bytes. */

import test from 'ava';
import fc from 'fast-check';
import { CommandError, records } from '../../src/index.ts';
import { dial, failure, servingOnSharedLanes } from '../helpers/serving.ts';

const serving = servingOnSharedLanes(test);

/** `bytes` in pieces that end at the given places. */
async function* cutAt(bytes: Uint8Array, places: readonly number[]): AsyncGenerator<Uint8Array> {
  const ends = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  let from = 0;
  for (const end of [...ends, bytes.length]) {
    yield bytes.subarray(from, end);
    from = end;
  }
}

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) items.push(item);
  return items;
}

const written = async (messages: (Uint8Array | string)[]) => Buffer.concat(await all(records(messages)));
const read = (bytes: Uint8Array, maxBytes?: number, places: number[] = []) =>
  all(records(cutAt(bytes, places), maxBytes === undefined ? {} : { maxBytes }));

test('messages come out as they were put in, however their bytes are cut', async (t) => {
  const message = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.nat(40_000).map((length) => new Uint8Array(length).fill(length)),
  );
  const places = fc.array(fc.nat(200_000), { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(fc.array(message, { maxLength: 8 }), places, async (messages, cuts) => {
      const found = await read(await written(messages), undefined, cuts);
      t.is(found.length, messages.length);
      t.true(found.every((each, i) => Buffer.compare(each, messages[i]) === 0));
    }),
    { numRuns: 60 },
  );
});

test('every single cut, one byte at a time included, changes nothing', async (t) => {
  const bytes = await written(['', 'a', 'b'.repeat(127), 'c'.repeat(128), '', 'd'.repeat(2_000)]);
  const whole = await read(bytes);
  t.deepEqual(
    whole.map(({ length }) => length),
    [0, 1, 127, 128, 0, 2_000],
  );
  t.deepEqual(
    await read(
      bytes,
      undefined,
      Array.from(bytes, (_, at) => at),
    ),
    whole,
  );
  for (let at = 0; at < 300; at++) t.deepEqual(await read(bytes, undefined, [at]), whole);
});

test('a record is its length as LEB128, and its bytes', async (t) => {
  t.deepEqual([...(await written(['', 'hi']))], [0, 2, 104, 105]);
  t.deepEqual([...(await written(['x'.repeat(300)])).subarray(0, 3)], [0xac, 0x02, 120]);
  t.deepEqual([...(await written([Uint8Array.of(1), 'é']))], [1, 1, 2, 0xc3, 0xa9]);
});

test('a record may have maxBytes and no byte more, and the error names both', async (t) => {
  const bytes = await written(['12345']);
  t.is((await read(bytes, 5)).length, 1);
  const error = await failure(read(bytes, 4));
  t.true(error instanceof CommandError && error.code === 'invalid-argument');
  t.is(error.message, 'maxBytes: a record of 5 bytes is longer than 4');
  t.regex((await failure(read(Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x0f)))).message, /than 1048576$/);
  t.is((await read(await written([new Uint8Array(1 << 20)]))).length, 1);
  t.regex((await failure(read(await written([new Uint8Array((1 << 20) + 1)])))).message, /^maxBytes/);
});

test('a record over maxBytes is refused before it has come', async (t) => {
  let asked = 0;
  const endless = {
    async *[Symbol.asyncIterator]() {
      for (;;) {
        asked++;
        yield Uint8Array.of(0x80, 0x80, 0x80, 0x7f);
      }
    },
  };
  await failure(all(records(endless, { maxBytes: 1000 })));
  t.is(asked, 1);
});

test('what is no record is refused, and says why', async (t) => {
  const overlong = Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0x80, 0);
  t.regex((await failure(read(overlong, 9))).message, /takes more than 5 bytes/);
  for (const cutOff of [Uint8Array.of(0x80), Uint8Array.of(3, 1, 2), Uint8Array.of(1, 1, 1)])
    t.is((await failure(read(cutOff))).message, 'the bytes end in the middle of a record');
  t.deepEqual(await read(new Uint8Array(0)), []);
});

test('what is no message, and what is no limit, is refused', async (t) => {
  for (const message of [7, null, undefined, [1], {}]) {
    const error = await failure(written([message as unknown as string]));
    t.regex(error.message, /^a record is made of bytes or a string, not of /);
  }
  for (const maxBytes of [-1, Number.NaN, 0.5, '9' as unknown as number])
    t.throws(() => records(cutAt(new Uint8Array(0), []), { maxBytes }), { instanceOf: RangeError });
  const misspelt = { maxbytes: 5 } as object;
  t.throws(() => records(cutAt(new Uint8Array(0), []), misspelt), {
    message: /^option maxbytes: records takes no such/,
  });
});

test('a handler and its client exchange messages, both ways', async (t) => {
  const { address } = await serving(t, {
    commands: {
      async *shout({ data }) {
        async function* shouted() {
          for await (const message of records(data, { maxBytes: 100 }))
            yield new TextDecoder().decode(message).toUpperCase();
        }
        yield* records(shouted());
      },
      numbers: () => records(Array.from({ length: 1000 }, (_, i) => new Uint32Array([i]))),
    },
  });
  const client = await dial(t, address);
  const response = client.call('shout', { data: records(['one', '', 'three'.repeat(9)]) });
  const text = (await all(records(response, { maxBytes: 100 }))).map((each) => Buffer.from(each).toString());
  t.deepEqual(text, ['ONE', '', 'THREE'.repeat(9)]);
  const numbers = await all(records(client.call('numbers'), {}));
  t.deepEqual(
    numbers.map((each) => new Uint32Array(each.buffer)[0]),
    Array.from({ length: 1000 }, (_, i) => i),
  );
  const error = await failure(client.call('shout', { data: records(['x'.repeat(101)]) }).bytes());
  t.is(error.message, 'maxBytes: a record of 101 bytes is longer than 100');
});

test('who leaves a loop over records early cancels the call', async (t) => {
  const ended = Promise.withResolvers<void>();
  const { address } = await serving(t, {
    commands: {
      async *endless() {
        try {
          for (;;) {
            yield* records(['again']);
            await new Promise((resolve) => setImmediate(resolve));
          }
        } finally {
          ended.resolve();
        }
      },
    },
  });
  const client = await dial(t, address);
  for await (const message of records(client.call('endless'), { maxBytes: 9 })) {
    t.is(Buffer.from(message).toString(), 'again');
    break;
  }
  await t.notThrowsAsync(ended.promise);
});
