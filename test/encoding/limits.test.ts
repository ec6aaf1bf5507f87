import { setImmediate } from 'node:timers/promises';
import zlib from 'node:zlib';
import test from 'ava';
import fc from 'fast-check';
import { type Codec, DecodeError, type DecoderLimits } from '../../src/encoding/codec.ts';
import { costsNoMore } from './bomb.ts';
import {
  CODECS,
  concat,
  encodeAll,
  LIMITS,
  MAGIC,
  noise,
  records,
  text,
  ZLIB_CODECS,
  ZSTD_DECODERS,
  zstdBlock,
  zstdHeader,
} from './helpers.ts';

/** CPU time in which whatever is corrupt is refused: a thousandth of what it would take to believe it. */
const MOST_MICROS = 1_000_000;

/** A codec of the same profile that can encode. */
function encoderOf({ profile }: Codec): Codec {
  return CODECS.find((codec) => codec.profile === profile && codec.createEncoder)!;
}

function decode(
  codec: Codec,
  payloads: readonly Uint8Array[],
  limits: Partial<DecoderLimits> = {},
): Uint8Array {
  const decoder = codec.createDecoder({ ...LIMITS, ...limits });
  try {
    return concat(payloads.map((payload) => decoder.decode(payload).slice()));
  } finally {
    decoder.close();
  }
}

const nameOf = ({ profile, implementation }: Codec) => `${profile}, ${implementation}`;
const COMPRESSING = CODECS.filter(({ profile }) => profile !== 'identity');

for (const codec of CODECS) {
  test(`${nameOf(codec)}: a frame may decode to maxDecodedSize, and not to a byte more`, (t) => {
    for (const maxDecodedSize of [1, 4095, 4096, 5000, 65_536, 100_000]) {
      const payloads = (length: number) => encodeAll(encoderOf(codec), [text(length)]);
      for (const length of [maxDecodedSize - 1, maxDecodedSize]) {
        t.is(decode(codec, payloads(length), { maxDecodedSize }).length, length);
      }
      const over = () => decode(codec, payloads(maxDecodedSize + 1), { maxDecodedSize });
      t.throws(over, {
        name: 'DecodeError',
        code: 'limit',
        message: /^maxDecodedSize.*\b\d+ bytes|^maxDecodedSize/,
      });
    }
  });

  test(`${nameOf(codec)}: the limit counts for each frame, not for the stream`, (t) => {
    const frames = [text(4000), text(4000, 2), text(4000, 3)];
    t.is(decode(codec, encodeAll(encoderOf(codec), frames), { maxDecodedSize: 4000 }).length, 12_000);
  });
}

for (const codec of COMPRESSING) {
  const name = nameOf(codec);

  test(`${name}: above 64 KiB a frame may decode to maxDecodedRatio times its size`, (t) => {
    const [payload] = encodeAll(encoderOf(codec), [new Uint8Array(200_000)]);
    const ratio = 200_000 / payload!.length;
    t.is(decode(codec, [payload!], { maxDecodedRatio: ratio * 1.0001 }).length, 200_000);
    const over = () => decode(codec, [payload!], { maxDecodedRatio: ratio * 0.999 });
    t.throws(over, { name: 'DecodeError', code: 'limit', message: /^maxDecodedRatio/ });
  });

  test(`${name}: up to 64 KiB any ratio is fine`, (t) => {
    for (const [length, fine] of [
      [65_536, true],
      [65_537, false],
    ] as const) {
      const payloads = encodeAll(encoderOf(codec), [new Uint8Array(length)]);
      const attempt = () => decode(codec, payloads, { maxDecodedRatio: 1 }).length;
      if (fine) t.is(attempt(), length);
      else t.throws(attempt, { code: 'limit', message: /^maxDecodedRatio/ });
    }
  });

  test(`${name}: a payload cut anywhere is corrupt`, (t) => {
    const payloads = encodeAll(encoderOf(codec), [text(889), text(889, 2)]);
    const [first, second] = [payloads[0]!, payloads[1]!];
    for (let length = 1; length < second.length; length++) {
      const error = t.throws(() => decode(codec, [first, second.subarray(0, length)]), {
        name: 'DecodeError',
      });
      t.is((error as DecodeError).code, 'corrupt');
    }
    // The first payload carries the header; a cut exactly behind it looks like a flush of nothing.
    for (let length = 7; length < first.length; length++) {
      t.throws(() => decode(codec, [first.subarray(0, length)]), { name: 'DecodeError' });
    }
  });

  test(`${name}: a payload that is missing its start, or comes too early, is corrupt`, (t) => {
    const [first, second] = encodeAll(encoderOf(codec), [text(889), text(889, 2)]);
    t.throws(() => decode(codec, [second!, first!]), { name: 'DecodeError', code: 'corrupt' });
    t.throws(() => decode(codec, [first!.subarray(1)]), { name: 'DecodeError', code: 'corrupt' });
    t.throws(() => decode(codec, [first!, second!.subarray(1)]), { name: 'DecodeError' });
  });

  test(`${name}: noise is corrupt`, (t) => {
    for (let seed = 1; seed < 50; seed++) {
      t.throws(() => decode(codec, [noise(200, seed)]), { name: 'DecodeError' });
    }
  });

  test(`${name}: a decoder that has thrown throws ever after, and nothing else happens`, async (t) => {
    const [payload] = encodeAll(encoderOf(codec), [text(889)]);
    const decoder = codec.createDecoder(LIMITS);
    t.throws(() => decoder.decode(noise(100)), { name: 'DecodeError' });
    t.throws(() => decoder.decode(payload!), { name: 'DecodeError' });
    t.throws(() => decoder.decode(payload!), { name: 'DecodeError' });
    decoder.close();
    // An 'error' event that nobody hears would end the test run now.
    await setImmediate();
    await setImmediate();
  });

  test(`${name}: whatever the bytes, they decode or throw a DecodeError`, async (t) => {
    const payloads = encodeAll(encoderOf(codec), [text(600), ...records(3), new Uint8Array(40_000)]);
    const change = fc.tuple(fc.nat(payloads.length - 1), fc.nat(), fc.nat(255));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), fc.boolean(), (changes, swap) => {
        const damaged = payloads.map((payload) => payload.slice());
        for (const [k, at, byte] of changes) damaged[k]![at % damaged[k]!.length] = byte;
        if (swap) damaged.push(damaged.shift()!);
        decodesOrRefuses(codec, damaged);
      }),
      { numRuns: 100 },
    );
    await setImmediate();
    t.pass();
  });
}

// Ours; those of Node.js are in limits.slow.ts.
for (const codec of COMPRESSING.filter(({ implementation }) => implementation === 'portable'))
  test(`${nameOf(codec)}: a bomb costs no more memory than the limit`, (t) => costsNoMore(t, codec));

function decodesOrRefuses(codec: Codec, payloads: readonly Uint8Array[]): void {
  try {
    decode(codec, payloads);
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
  }
}

for (const codec of ZSTD_DECODERS) {
  const name = nameOf(codec);
  const abc = [97, 98, 99];

  test(`${name}: the window may be as large as maxWindowSize and no larger`, (t) => {
    const payload = Uint8Array.from([...zstdHeader(23), ...zstdBlock(0, abc)]);
    t.is(decode(codec, [payload]).length, 3);
    for (const maxWindowSize of [(8 << 20) - 1, 1 << 20]) {
      const over = () => decode(codec, [payload], { maxWindowSize });
      t.throws(over, { name: 'DecodeError', code: 'limit', message: /^maxWindowSize.*8388608 bytes/ });
    }
    const larger = Uint8Array.from([...zstdHeader(24), ...zstdBlock(0, abc)]);
    t.throws(() => decode(codec, [larger]), { code: 'limit', message: /^maxWindowSize/ });
    const eighthMore = Uint8Array.from([...MAGIC, 0, (13 << 3) | 1, ...zstdBlock(0, abc)]);
    t.throws(() => decode(codec, [eighthMore]), { code: 'limit', message: /^maxWindowSize.*9437184/ });
    const largest = Uint8Array.from([...MAGIC, 0, 0xff, ...zstdBlock(0, abc)]);
    t.throws(() => decode(codec, [largest]), { code: 'limit', message: /^maxWindowSize/ });
  });

  test(`${name}: a single segment counts as a window of its content`, (t) => {
    // Descriptor 0xa0: single segment, content size in 4 bytes; 0xe0: in 8 bytes.
    const segment = (descriptor: number, size: number[]) =>
      Uint8Array.from([...MAGIC, descriptor, ...size, ...zstdBlock(0, abc)]);
    t.is(decode(codec, [segment(0xa0, [0, 0, 0x80, 0])]).length, 3);
    t.throws(() => decode(codec, [segment(0xa0, [1, 0, 0x80, 0])]), {
      code: 'limit',
      message: /^maxWindowSize/,
    });
    t.throws(() => decode(codec, [segment(0xe0, [3, 0, 0, 0, 0, 0, 0, 1])]), { code: 'limit' });
    const params = { [zlib.constants.ZSTD_c_windowLog]: 24 };
    const whole = zlib.zstdCompressSync(new Uint8Array(9 << 20), { params });
    const roomy = { maxDecodedSize: 16 << 20, maxDecodedRatio: 1e6 };
    t.is(decode(codec, [whole], { ...roomy, maxWindowSize: 9 << 20 }).length, 9 << 20);
    t.throws(() => decode(codec, [whole], roomy).length, { code: 'limit', message: /^maxWindowSize/ });
  });

  test(`${name}: a later zstd frame is held to the window, too`, (t) => {
    const small = zlib.zstdCompressSync(text(100));
    const large = Uint8Array.from([...zstdHeader(24), ...zstdBlock(0, abc)]);
    t.throws(() => decode(codec, [small, large]), { code: 'limit', message: /^maxWindowSize/ });
    t.throws(() => decode(codec, [concat([small, large])]), { code: 'limit', message: /^maxWindowSize/ });
  });

  test(`${name}: a zstd frame that needs a dictionary is refused, dictionary 0 is none`, (t) => {
    const withId = (field: number, id: number[]) =>
      Uint8Array.from([...MAGIC, field, 0x38, ...id, ...zstdBlock(0, abc)]);
    t.is(decode(codec, [withId(1, [0])]).length, 3);
    t.throws(() => decode(codec, [withId(1, [5])]), { code: 'corrupt', message: /dictionary/ });
    t.throws(() => decode(codec, [withId(2, [0, 1])]), { code: 'corrupt', message: /dictionary/ });
    t.throws(() => decode(codec, [withId(3, [0, 0, 0, 1])]), { code: 'corrupt', message: /dictionary/ });
  });

  test(`${name}: what no zstd encoder makes is corrupt`, (t) => {
    const bad: Record<string, number[]> = {
      'a reserved block type': [...zstdHeader(17), ...zstdBlock(3, abc)],
      'a reserved bit': [...MAGIC, 8, 0x38, ...zstdBlock(0, abc)],
      'a block over 128 KiB': [...zstdHeader(20), ...zstdBlock(1, [0], false, (128 << 10) + 1)],
      'a block over its window': [...zstdHeader(10), ...zstdBlock(1, [0], false, 1025)],
      'another magic': [0x28, 0xb5, 0x2f, 0xfe, 0, 0x38, ...zstdBlock(0, abc)],
      'bytes behind the end': [...zstdHeader(17), ...zstdBlock(0, abc, true), 1, 2, 3, 4, 5, 6],
      'a skippable frame that is cut off': [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3],
      'a checksum that is cut off': [...MAGIC, 4, 0x38, ...zstdBlock(0, abc, true), 1, 2, 3],
      // 98 047 sequences of 131 075 bytes out of two dozen bytes; fzstd works on it for minutes.
      'sequences without bits': [
        ...zstdHeader(23),
        ...zstdBlock(2, [8, 97, 255, 255, 255, 0x54, 35, 0, 52, 1]),
      ],
      // A Huffman table whose weights take no bits; fzstd never returns from it.
      'weights without bits': [
        ...zstdHeader(23),
        ...zstdBlock(2, [0x42, 0x01, 0x02, 4, 0xf0, 0x03, 0, 0x80, 1, 1, 1, 0]),
      ],
    };
    for (const [what, bytes] of Object.entries(bad)) {
      const before = process.threadCpuUsage();
      t.throws(() => decode(codec, [Uint8Array.from(bytes)]), { name: 'DecodeError', code: 'corrupt' }, what);
      const { user, system } = process.threadCpuUsage(before);
      t.true(user + system < MOST_MICROS, what);
    }
  });
}

for (const codec of ZLIB_CODECS) {
  const name = nameOf(codec);

  test(`${name}: the window may be as large as maxWindowSize and no larger`, (t) => {
    const payloads = encodeAll(codec, [text(100)]);
    t.is(decode(codec, payloads, { maxWindowSize: 32_768 }).length, 100);
    const over = () => decode(codec, payloads, { maxWindowSize: 32_767 });
    t.throws(over, { name: 'DecodeError', code: 'limit', message: /^maxWindowSize/ });
    t.is(
      decode(codec, encodeAll(codec, [text(100)], { windowLog: 12 }), { maxWindowSize: 4096 }).length,
      100,
    );
  });

  test(`${name}: a stream that needs a dictionary is refused`, (t) => {
    const payload = zlib.deflateSync(text(100), { dictionary: text(50) });
    t.throws(() => decode(codec, [payload]), { code: 'corrupt', message: /dictionary/ });
  });

  test(`${name}: nothing may follow the end of the zlib stream`, (t) => {
    const whole = zlib.deflateSync(text(300));
    t.is(decode(codec, [whole]).length, 300);
    t.is(decode(codec, [whole, new Uint8Array(0)]).length, 300);
    for (const after of [whole, Uint8Array.of(0), zlib.gzipSync(text(10))]) {
      t.throws(() => decode(codec, [concat([whole, after])]), { code: 'corrupt', message: /follow the end/ });
      t.throws(() => decode(codec, [whole, after]), { code: 'corrupt', message: /follow the end/ });
    }
  });

  test(`${name}: a wrong checksum is corrupt, and so are gzip and raw deflate`, (t) => {
    const whole = zlib.deflateSync(text(300));
    whole[whole.length - 1]! ^= 1;
    t.throws(() => decode(codec, [whole]), { code: 'corrupt' });
    t.throws(() => decode(codec, [zlib.gzipSync(text(300))]), { name: 'DecodeError' });
    t.throws(() => decode(codec, [zlib.deflateRawSync(text(300))]), { name: 'DecodeError' });
  });
}
