// Profile zstd-dict: what our codec makes, others read, and the other way round; what it must not take.
import { readFileSync } from 'node:fs';
import zlib from 'node:zlib';
import test from 'ava';
import fc from 'fast-check';
import { DecodeError, type EncoderOptions } from '../../src/encoding/codec.ts';
import { DictionaryError } from '../../src/encoding/dictionary/format.ts';
import { dictionaryIdOf } from '../../src/encoding/dictionary.ts';
import { nativeZstd, nativeZstdDict } from '../../src/encoding/native.ts';
import { dictionaryIdNow, readDictionary } from '../../src/encoding/read-dictionary.ts';
import { Random } from '../../src/experiment/traffic/random.ts';
import { DEFAULT_LIMITS } from '../../src/wire/limits.ts';
import { millRecord } from '../helpers/mill.ts';

const BYTES = readFileSync(new URL('../fixtures/mill.dict', import.meta.url));
const DICTIONARY = readDictionary(BYTES);
const CODEC = nativeZstdDict(new Map([[DICTIONARY.id, DICTIONARY]]));
const NAMED = { dictionary: DICTIONARY.id };

function encoded(options: EncoderOptions, pieces: readonly Uint8Array[]): Uint8Array[] {
  const encoder = (CODEC as Required<typeof CODEC>).createEncoder({ ...NAMED, ...options });
  const target = new Uint8Array(100_000);
  const frames = pieces.map((piece) => target.slice(0, encoder.encode(piece, target, 0)));
  encoder.close();
  return frames;
}

const RECORDS = Array.from({ length: 50 }, (_, i) => Buffer.from(millRecord(7000 + i)));

test('frames without a context are whole zstd frames, which node:zlib decodes by themselves', (t) => {
  for (const level of [-5, 1, 3, 9, 19]) {
    for (const [i, frame] of encoded({ level, contextFree: true }, RECORDS).entries())
      t.deepEqual(zlib.zstdDecompressSync(frame, { dictionary: BYTES }), RECORDS[i]);
  }
});

test('frames of a kept context are one zstd stream, which node:zlib decodes', async (t) => {
  for (const level of [1, 3, 9]) {
    const stream = zlib.createZstdDecompress({ dictionary: BYTES });
    const decoded: Buffer[] = [];
    stream.on('data', (piece: Buffer) => decoded.push(piece));
    for (const frame of encoded({ level }, RECORDS)) await new Promise((done) => stream.write(frame, done));
    await new Promise(setImmediate);
    t.deepEqual(Buffer.concat(decoded), Buffer.concat(RECORDS));
    stream.destroy();
  }
});

test('without a context nothing of one payload is in another: equal payloads are equal frames, in any order', (t) => {
  const options = { contextFree: true };
  const alone = RECORDS.map((record) => encoded(options, [record])[0]);
  t.deepEqual(encoded(options, RECORDS), alone);
  t.deepEqual(encoded(options, RECORDS.toReversed()).toReversed(), alone);
});

test('a dictionary makes first frames small, with a context and without', (t) => {
  const total = (frames: Uint8Array[]) => frames.reduce((sum, { length }) => sum + length, 0);
  const plain = RECORDS.map((record) => zlib.zstdCompressSync(record));
  t.true(total(encoded({ contextFree: true }, RECORDS)) < 0.65 * total(plain));
  t.true(encoded({}, RECORDS)[0].length < 0.65 * plain[0].length);
});

test('a kept context remembers with a small dictionary as much as without one', (t) => {
  const random = new Random(1);
  const records = Array.from({ length: 2000 }, () => Buffer.from(random.hex(600), 'hex'));
  const again = [...records, ...records];
  const target = new Uint8Array(1000);
  for (const options of [{ level: 3 }, { level: 6 }, { tuning: 'records' as const }]) {
    const plain = nativeZstd.createEncoder!(options);
    const without = again.reduce((sum, record) => sum + plain.encode(record, target, 0), 0);
    plain.close();
    const with_ = encoded(options, again).reduce((sum, { length }) => sum + length, 0);
    t.true(with_ < 1.02 * without, `${JSON.stringify(options)}: ${with_} instead of ${without}`);
  }
});

test('what node:zlib encodes with the dictionary is decoded, whether its header names the dictionary or not', (t) => {
  for (const named of [0, 1]) {
    const decoder = CODEC.createDecoder(DEFAULT_LIMITS, CODEC.settings(NAMED));
    for (const record of RECORDS) {
      const params = { [zlib.constants.ZSTD_c_dictIDFlag]: named };
      const frame = zlib.zstdCompressSync(record, { dictionary: BYTES, params });
      t.deepEqual(Buffer.from(decoder.decode(frame)), record);
    }
    decoder.close();
  }
});

test('a frame that names another dictionary is refused, and any that names one by zstd-8mb', (t) => {
  const other = Buffer.from(BYTES);
  other.writeUInt32LE(other.readUInt32LE(4) + 1, 4);
  const frame = zlib.zstdCompressSync(RECORDS[0], { dictionary: other });
  const decoder = CODEC.createDecoder(DEFAULT_LIMITS, CODEC.settings(NAMED));
  t.throws(() => decoder.decode(frame), {
    instanceOf: DecodeError,
    message: /needs another dictionary/,
  });
  const own = zlib.zstdCompressSync(RECORDS[0], { dictionary: BYTES });
  t.throws(() => nativeZstd.createDecoder(DEFAULT_LIMITS).decode(own), { instanceOf: DecodeError });
});

test('settings are a window log and an ID that is held, or they are refused', (t) => {
  const settings = CODEC.settings(NAMED);
  t.is(settings.length, 17);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      t.throws(() => CODEC.createDecoder(DEFAULT_LIMITS, bytes), { instanceOf: DecodeError });
    }),
  );
  fc.assert(
    fc.property(fc.nat(16), fc.integer({ min: 1, max: 255 }), (at, by) => {
      const wrong = settings.slice();
      wrong[at] ^= by;
      if (at === 0 && 2 ** wrong[0] <= DEFAULT_LIMITS.maxWindowSize) return;
      t.throws(() => CODEC.createDecoder(DEFAULT_LIMITS, wrong), { instanceOf: DecodeError });
    }),
  );
  t.throws(() => CODEC.settings({}), { instanceOf: RangeError });
  t.throws(() => CODEC.createEncoder?.({ dictionary: '00'.repeat(16) }), { instanceOf: RangeError });
});

test('damaged frames are refused, or decode to no more than the limits, and never end the process', (t) => {
  const [frame] = encoded({ contextFree: true }, [Buffer.concat(RECORDS)]);
  fc.assert(
    fc.property(
      fc.nat(frame.length - 1),
      fc.integer({ min: 1, max: 255 }),
      fc.nat(frame.length),
      (at, by, end) => {
        const damaged = frame.slice(0, Math.max(1, end));
        if (at < damaged.length) damaged[at] ^= by;
        const decoder = CODEC.createDecoder(DEFAULT_LIMITS, CODEC.settings(NAMED));
        try {
          t.true(decoder.decode(damaged).length <= DEFAULT_LIMITS.maxDecodedSize);
        } catch (error) {
          t.true(error instanceof DecodeError, String(error));
        } finally {
          decoder.close();
        }
      },
    ),
    { numRuns: 300 },
  );
});

test('what is no dictionary is refused with a reason', async (t) => {
  t.is(await dictionaryIdOf(BYTES), dictionaryIdNow(BYTES));
  const wrongs: [Uint8Array, RegExp][] = [
    [Buffer.from('hello, world, this is no dictionary'), /not a zstd dictionary/],
    [new Uint8Array(0), /too few/],
    [BYTES.subarray(0, 60), /damaged/],
    [Buffer.from(BYTES).fill(0xff, 8, 120), /damaged/],
    [Buffer.concat([BYTES, Buffer.alloc(1 << 20)]), /at most 1048576 bytes/],
    [Buffer.from(BYTES).fill(0, 4, 8), /its zstd ID is 0/],
  ];
  for (const [bytes, message] of wrongs)
    t.throws(() => readDictionary(bytes), { instanceOf: DictionaryError, message });
});
