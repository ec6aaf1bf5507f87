import zlib from 'node:zlib';
import test from 'ava';
import fc from 'fast-check';
import { DecodeError } from '../../src/encoding/codec.ts';
import { nativeZstd } from '../../src/encoding/native.ts';
import { portableZstd } from '../../src/encoding/portable.ts';
import { ZstdWalker } from '../../src/encoding/zstd-blocks.ts';
import { FseTable } from '../../src/encoding/zstd-entropy.ts';
import {
  CodeTables,
  LITERAL_LENGTH_BASES,
  LITERAL_LENGTH_BITS,
  MATCH_LENGTH_BASES,
  MATCH_LENGTH_BITS,
  SEQUENCE_CODES,
  type SequenceCode,
} from '../../src/encoding/zstd-sequences.ts';
import { concat, decodeAll, encodeAll, MAGIC, noise, text, zstdBlock, zstdHeader } from './helpers.ts';
import { decodersAgree, ROOMY, slides } from './zstd-helpers.ts';

/** A frame header: taken for one only where a frame may begin. */
const NEXT_FRAME = [...MAGIC, 4, 0x38];

/** The elements of a payload, each as its kind and length. */
function elements(walker: ZstdWalker, payload: readonly number[]): string[] {
  const found: string[] = [];
  const bytes = Uint8Array.from(payload);
  for (let at = 0; at < bytes.length; ) {
    const end = walker.step(bytes, at);
    found.push(
      `${walker.element} ${end - at}${walker.element === 'block' && walker.lastBlock ? ' last' : ''}`,
    );
    at = end;
  }
  return found;
}

test('the walker tells headers, blocks, checksums and skippable frames apart', (t) => {
  const walker = new ZstdWalker(8 << 20);
  const payload = [
    ...[0x5f, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9],
    ...[...MAGIC, 4, 0x38],
    ...zstdBlock(0, [1, 2, 3]),
    ...zstdBlock(1, [7], false, 1000),
    ...zstdBlock(0, [], true),
    ...[1, 2, 3, 4],
    ...zstdHeader(10),
    ...zstdBlock(0, [5], true),
  ];
  t.deepEqual(elements(walker, payload), [
    'skippable 9',
    'header 6',
    'block 6',
    'block 4',
    'block 3 last',
    'checksum 4',
    'header 6',
    'block 4 last',
  ]);
  t.deepEqual(elements(walker, NEXT_FRAME), ['header 6']);
});

test('the walker goes on where the last payload ended', (t) => {
  const walker = new ZstdWalker(8 << 20);
  t.deepEqual(elements(walker, NEXT_FRAME), ['header 6']);
  t.deepEqual(elements(walker, zstdBlock(0, [1])), ['block 4']);
  t.deepEqual(elements(walker, zstdBlock(0, [1], true)), ['block 4 last']);
  t.deepEqual(elements(walker, [0, 0, 0, 0]), ['checksum 4']);
  t.deepEqual(elements(walker, NEXT_FRAME), ['header 6']);
});

test('the walker reads every form of window and content size', (t) => {
  const windowOf = (header: number[]) => {
    const walker = new ZstdWalker(2 ** 42);
    t.deepEqual(elements(walker, header), [`header ${header.length}`]);
    return [walker.windowSize, walker.maxBlock];
  };
  const largest = 128 << 10;
  t.deepEqual(windowOf([...MAGIC, 0x00, 0x00]), [1024, 1024]);
  t.deepEqual(windowOf([...MAGIC, 0x00, 0x07]), [1920, 1920]);
  t.deepEqual(windowOf([...MAGIC, 0x00, 0x68]), [8 << 20, largest]);
  t.deepEqual(windowOf([...MAGIC, 0x00, 0xff]), [2 ** 41 * 1.875, largest]);
  t.deepEqual(windowOf([...MAGIC, 0x20, 200]), [200, 200]);
  t.deepEqual(windowOf([...MAGIC, 0x60, 1, 1]), [513, 513]);
  t.deepEqual(windowOf([...MAGIC, 0xa0, 0, 0, 1, 0]), [65_536, 65_536]);
  t.deepEqual(windowOf([...MAGIC, 0xe0, 0, 0, 0, 0, 2, 0, 0, 0]), [2 ** 33, largest]);
  t.deepEqual(windowOf([...MAGIC, 0x40, 0x10, 1, 1]), [4096, 4096]);
  t.deepEqual(windowOf([...MAGIC, 0x83, 0x10, 0, 0, 0, 0, 1, 1, 1, 1]), [4096, 4096]);
});

test('the walker agrees with libzstd on where a frame ends', (t) => {
  for (const length of [0, 1, 300, 70_000, 300_000]) {
    for (const checksum of [0, 1]) {
      const params = { [zlib.constants.ZSTD_c_checksumFlag]: checksum };
      const whole = zlib.zstdCompressSync(text(length), { params });
      const walker = new ZstdWalker(8 << 20);
      walker.walk(whole);
      t.deepEqual(elements(walker, NEXT_FRAME), ['header 6']);
      t.throws(() => new ZstdWalker(8 << 20).walk(whole.subarray(0, -1)), {
        code: 'corrupt',
        message: /ends inside/,
      });
    }
  }
});

test('the portable decoder slides its window over long streams', (t) => {
  for (const windowLog of [10, 17]) slides(t, { level: 1, windowLog }, 32_768);
});

test('the portable decoder reaches back 8 MiB', (t) => {
  const far = noise((8 << 20) - 70_000);
  const frames = [far, text(1000), far.subarray(0, 50_000), text(10_000), far, far.subarray(0, 100)];
  const payloads = encodeAll(nativeZstd, frames, { level: 12, windowLog: 23 });
  t.true(payloads[4]!.length < 20_000, 'the test does not test what it says');
  const decoded = decodeAll(portableZstd, payloads, ROOMY);
  for (const [i, frame] of frames.entries()) t.true(Buffer.from(decoded[i]!).equals(frame), `frame ${i}`);
});

test('portable and native decoders agree on any data', (t) => {
  t.notThrows(() => decodersAgree(9, 40));
});

test('where both decoders accept damaged data they make the same of it', (t) => {
  const payloads = encodeAll(nativeZstd, [text(2000), text(2000, 2), noise(500).map((byte) => byte & 31)]);
  const outcome = (codec: typeof nativeZstd, damaged: Uint8Array[]) => {
    try {
      return Buffer.from(concat(decodeAll(codec, damaged))).toString('latin1');
    } catch {
      return undefined;
    }
  };
  const change = fc.tuple(fc.nat(payloads.length - 1), fc.nat(), fc.nat(255));
  let accepted = 0;
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 2 }), (changes) => {
      const damaged = payloads.map((payload) => payload.slice());
      for (const [k, at, byte] of changes) damaged[k]![at % damaged[k]!.length] = byte;
      const [ours, theirs] = [outcome(portableZstd, damaged), outcome(nativeZstd, damaged)];
      if (ours === undefined || theirs === undefined) return;
      accepted++;
      if (ours !== theirs) throw new Error('the decoders differ');
    }),
    { numRuns: 1000 },
  );
  t.true(accepted > 50, `only ${accepted} of 1000 were accepted`);
});

const CODES = Object.keys(SEQUENCE_CODES) as SequenceCode[];
const NOTHING = new Uint8Array(0);
const PREDEFINED = 0;
const RUN = 1;
const COMPRESSED = 2;
const REPEAT = 3;

test('lengths of the last codes are those of RFC 8878, and each code begins where the one before it ends', (t) => {
  t.deepEqual([LITERAL_LENGTH_BASES[0], LITERAL_LENGTH_BASES[16], LITERAL_LENGTH_BASES[35]], [0, 16, 65_536]);
  t.deepEqual([MATCH_LENGTH_BASES[0], MATCH_LENGTH_BASES[32], MATCH_LENGTH_BASES[52]], [3, 35, 65_539]);
  for (const [bases, bits] of [
    [LITERAL_LENGTH_BASES, LITERAL_LENGTH_BITS],
    [MATCH_LENGTH_BASES, MATCH_LENGTH_BITS],
  ])
    for (let code = 1; code < bases.length; code++)
      t.is(bases[code], bases[code - 1] + 2 ** bits[code - 1], String(code));
});

for (const code of CODES) {
  test(`the predefined table of ${code} has all its states, and none of a code that does not exist`, (t) => {
    const { log, frequencies, maxSymbol } = SEQUENCE_CODES[code];
    const states = frequencies.reduce((sum: number, each) => sum + Math.abs(each), 0);
    t.is(states, 2 ** log);
    t.true(frequencies.length <= maxSymbol + 1);
    const tables = new CodeTables(code);
    t.is(tables.select(PREDEFINED, NOTHING, 0, 0), 0);
    t.is(tables.table.log, log);
  });

  test(`a table of ${code} is repeated when there was one, of a block or of a dictionary, and refused when not`, (t) => {
    const tables = new CodeTables(code);
    t.throws(() => tables.select(REPEAT, NOTHING, 0, 0), { instanceOf: DecodeError });
    t.is(tables.select(RUN, Uint8Array.of(9, 1), 1, 2), 2);
    const { table } = tables;
    t.deepEqual([table.log, table.symbols[0]], [0, 1]);
    t.is(tables.select(REPEAT, NOTHING, 0, 0), 0);
    t.is(tables.table, table);
    tables.reset(undefined);
    t.throws(() => tables.select(REPEAT, NOTHING, 0, 0), { instanceOf: DecodeError });
    const dictionary = new FseTable(1, 1);
    tables.reset(dictionary);
    tables.select(REPEAT, NOTHING, 0, 0);
    t.is(tables.table, dictionary);
  });

  test(`a table of ${code} that is cut off is refused`, (t) => {
    const tables = new CodeTables(code);
    t.throws(() => tables.select(RUN, Uint8Array.of(1), 1, 1), { message: /cut off/ });
    t.throws(() => tables.select(COMPRESSED, Uint8Array.of(0x30), 0, 1), { instanceOf: DecodeError });
  });
}
