import zlib from 'node:zlib';
import test from 'ava';
import fc from 'fast-check';
import { decompress as fzstdDecompress } from 'fzstd';
import { inflate as pakoInflate } from 'pako';
import { CORPORA, type CorpusName, corpus } from '../../bench/corpora.ts';
import type { Codec, EncoderOptions } from '../../src/encoding/codec.ts';
import { FINISH_BOUND } from '../../src/encoding/codec.ts';
import { identityCodec } from '../../src/encoding/identity.ts';
import { nativeCodecs, nativeZlib, nativeZstd } from '../../src/encoding/native.ts';
import { portableCodecs } from '../../src/encoding/portable.ts';
import { CodecRegistry } from '../../src/encoding/registry.ts';
import { isSound } from '../../src/encoding/self-check.ts';
import { compressWhole } from '../../src/encoding/whole.ts';
import {
  CODECS,
  concat,
  decodeAll,
  encodeAll,
  LIMITS,
  noise,
  PAIRS,
  records,
  same,
  text,
} from './helpers.ts';

/** Some levels and windows of each profile; encoding.slow.ts has all. */
const LIGHT: Readonly<Record<string, EncoderOptions[]>> = {
  'zstd-8mb': [
    ...[-7, 1, 9].map((level) => ({ level })),
    ...[10, 15].map((windowLog) => ({ windowLog })),
    { tuning: 'records', level: 9, windowLog: 12 },
  ],
  zlib: [{ level: 0 }, { level: 9 }, { windowLog: 9 }, { windowLog: 12 }],
  identity: [{}],
};

/** Frames of all kinds; `same` must hold whatever comes before or after each of them. */
const FRAMES: Uint8Array[] = [
  text(889),
  new Uint8Array(0),
  Uint8Array.of(7),
  Uint8Array.of(7),
  text(32_768),
  noise(32_768),
  new Uint8Array(0),
  new Uint8Array(0),
  new Uint8Array(32_768),
  text(889),
  noise(1),
  text(200_000, 2),
];

for (const { name, from, to } of PAIRS) {
  test(`${name}: payload k decodes at once to exactly frame k`, (t) => {
    same(t, decodeAll(to, encodeAll(from, FRAMES)), FRAMES);
  });

  test(`${name}: the very first frame may be empty or one byte long`, (t) => {
    for (const first of [new Uint8Array(0), Uint8Array.of(1)]) {
      const frames = [first, new Uint8Array(0), text(50)];
      same(t, decodeAll(to, encodeAll(from, frames)), frames);
    }
  });

  test(`${name}: the last payload may finish the format or not`, (t) => {
    const frames = [text(500), text(40_000, 3)];
    same(t, decodeAll(to, encodeAll(from, frames, {}, true)), frames);
    same(t, decodeAll(to, encodeAll(from, [...frames, new Uint8Array(0)], {}, true)), [
      ...frames,
      new Uint8Array(0),
    ]);
  });

  test(`${name}: 1 000 small frames on one context`, (t) => {
    const frames = records(1000);
    same(t, decodeAll(to, encodeAll(from, frames)), frames);
  });

  test(`${name}: a stream begun again takes new contexts on both sides`, (t) => {
    const frames = records(20);
    const once = encodeAll(from, frames);
    same(t, encodeAll(from, frames), once);
    same(t, decodeAll(to, once), frames);
    same(t, decodeAll(to, once), frames);
  });

  test(`${name}: two streams of one thread do not mix`, (t) => {
    const [left, right] = [records(40), records(80).slice(40)];
    const [a, b] = [encodeAll(from, left), encodeAll(from, right)];
    const [one, other] = [to.createDecoder(LIMITS), to.createDecoder(LIMITS)];
    for (let i = 0; i < left.length; i++) {
      t.deepEqual(Buffer.from(one.decode(a[i]!)), Buffer.from(left[i]!));
      t.deepEqual(Buffer.from(other.decode(b[i]!)), Buffer.from(right[i]!));
    }
    one.close();
    other.close();
  });

  test(`${name}: levels and windows`, (t) => {
    const frames = [text(3000), noise(3000), text(32_768), text(889)];
    for (const options of LIGHT[from.profile]!)
      same(t, decodeAll(to, encodeAll(from, frames, options)), frames);
  });

  test(`${name}: any bytes, split in any way`, (t) => {
    const chunk = fc.oneof(
      fc.uint8Array({ maxLength: 600 }),
      fc.tuple(fc.nat(9000), fc.nat(9)).map(([length, seed]) => text(length, seed)),
      fc.tuple(fc.nat(9000), fc.nat(255)).map(([length, byte]) => new Uint8Array(length).fill(byte)),
    );
    fc.assert(
      fc.property(fc.array(chunk, { maxLength: 12 }), fc.boolean(), (frames, finish) => {
        same(t, decodeAll(to, encodeAll(from, frames, {}, finish)), frames);
      }),
      { numRuns: 20 },
    );
  });
}

for (const codec of CODECS.filter(({ createEncoder }) => createEncoder)) {
  const name = `${codec.profile}, ${codec.implementation}`;

  test(`${name}: libraries that know nothing of us decode the whole stream`, (t) => {
    const payloads = encodeAll(codec, FRAMES, {}, true);
    const stream = concat(payloads);
    const decoded = {
      'zstd-8mb': () => [fzstdDecompress(stream), zlib.zstdDecompressSync(stream)],
      zlib: () => [pakoInflate(stream), zlib.inflateSync(stream)],
      identity: () => [stream],
    }[codec.profile]!();
    for (const bytes of decoded) same(t, [bytes], [concat(FRAMES)]);
  });

  test(`${name}: encoding writes at its offset, within its bound, and nowhere else`, (t) => {
    const encoder = codec.createEncoder!();
    for (const frame of [...FRAMES, noise(131_072), noise(1 << 20)]) {
      const bound = encoder.bound(frame.length);
      const target = new Uint8Array(100 + bound + 100).fill(0xaa);
      const length = encoder.encode(frame, target.subarray(0, 100 + bound), 100);
      t.true(length <= bound);
      t.true(target.subarray(0, 100).every((byte) => byte === 0xaa));
      t.true(target.subarray(100 + bound).every((byte) => byte === 0xaa));
    }
    const end = new Uint8Array(FINISH_BOUND);
    t.true(encoder.finish(end, 0) <= FINISH_BOUND);
    encoder.close();
  });

  test(`${name}: incompressible data stays within the bound`, (t) => {
    for (const options of LIGHT[codec.profile]!) {
      const encoder = codec.createEncoder!(options);
      for (const length of [1, 100, 889, 32_768, 65_536, 300_000]) {
        const target = new Uint8Array(encoder.bound(length));
        t.notThrows(() => encoder.encode(noise(length, length), target, 0));
      }
      encoder.close();
    }
  });

  test(`${name}: the chunk may be reused as soon as encode() returns`, (t) => {
    const encoder = codec.createEncoder!();
    const chunk = text(5000);
    const [first, second] = [new Uint8Array(8000), new Uint8Array(8000)];
    const a = encoder.encode(chunk, first, 0);
    chunk.fill(0);
    const b = encoder.encode(chunk, second, 0);
    encoder.close();
    same(
      t,
      decodeAll(codec.profile === 'zstd-8mb' ? nativeZstd : codec, [first.slice(0, a), second.slice(0, b)]),
      [text(5000), chunk],
    );
  });

  test(`${name}: closing twice is fine, encoding afterwards is not`, (t) => {
    const encoder = codec.createEncoder!();
    encoder.close();
    encoder.close();
    if (codec.profile !== 'identity') t.throws(() => encoder.encode(text(10), new Uint8Array(1000), 0));
    const decoder = codec.createDecoder(LIMITS);
    decoder.close();
    decoder.close();
    if (codec.profile !== 'identity') t.throws(() => decoder.decode(text(10)), { name: 'DecodeError' });
    t.pass();
  });

  test(`${name}: proves itself sound`, (t) => {
    if (codec.profile !== 'identity') t.true(isSound(codec));
    else t.pass();
  });
}

test('a zlib encoder that has finished throws, a zstd encoder begins a new zstd frame', (t) => {
  for (const codec of CODECS.filter(({ createEncoder }) => createEncoder)) {
    const encoder = codec.createEncoder!();
    const target = new Uint8Array(8192);
    const first = encoder.encode(text(100), target, 0);
    const end = first + encoder.finish(target, first);
    if (codec.profile === 'zlib') {
      t.throws(() => encoder.encode(text(889), target, end));
    } else {
      const second = encoder.encode(text(889), target, end);
      const payloads = [target.slice(0, end), target.slice(end, end + second)];
      same(t, decodeAll(codec, payloads), [text(100), text(889)]);
    }
    encoder.close();
  }
});

test('the self-check finds out a codec that holds back, garbles, or accepts anything', (t) => {
  const altered = (change: (payload: Uint8Array) => Uint8Array): Codec => ({
    ...nativeZlib,
    createDecoder: () => {
      const decoder = nativeZlib.createDecoder(LIMITS);
      return { decode: (payload) => change(decoder.decode(payload)), close: () => decoder.close() };
    },
  });
  t.true(isSound(altered((bytes) => bytes)));
  t.false(isSound(altered((bytes) => bytes.subarray(0, -1))));
  t.false(isSound(altered((bytes) => bytes.map((byte) => byte ^ 1))));
  const gullible: Codec = {
    ...identityCodec,
    createDecoder: () => ({ decode: (payload) => payload, close() {} }),
  };
  t.false(isSound(gullible));
  t.false(isSound({ ...nativeZlib, createEncoder: undefined }));
});

test('whoever says that it can do without a context makes payloads that each stand alone, equal ones of what is equal', (t) => {
  for (const codec of CODECS.filter(({ contextFree }) => contextFree)) {
    const frames = [text(900), text(900), new Uint8Array(0), text(60_000), text(900)];
    const payloads = encodeAll(codec, frames, { contextFree: true });
    t.deepEqual(payloads[1], payloads[0], codec.implementation);
    t.deepEqual(payloads[4], payloads[0], codec.implementation);
    for (const [i, payload] of payloads.entries()) same(t, decodeAll(nativeZstd, [payload]), [frames[i]!]);
  }
});

test('too little room throws before anything is written, and does not end the process', (t) => {
  for (const codec of [nativeZstd, nativeZlib]) {
    const encoder = codec.createEncoder!();
    const target = new Uint8Array(1000);
    t.throws(() => encoder.encode(text(889), target, 900), { instanceOf: RangeError });
    t.throws(() => encoder.encode(text(10), target, 1001), { instanceOf: RangeError });
    t.throws(() => encoder.finish(target, 990), { instanceOf: RangeError });
    encoder.close();
  }
});

test('options out of range throw and name the range', (t) => {
  const make = (codec: Codec, options: EncoderOptions) => () => codec.createEncoder!(options);
  t.throws(make(nativeZstd, { level: 23 }), { instanceOf: RangeError, message: /zstd level.* to 22/ });
  t.throws(make(nativeZstd, { windowLog: 24 }), { instanceOf: RangeError, message: /from 10 to 23/ });
  t.throws(make(nativeZstd, { level: 1.5 }), { instanceOf: RangeError });
  t.throws(make(nativeZlib, { level: 10 }), { instanceOf: RangeError, message: /from 0 to 9/ });
  t.throws(make(nativeZlib, { windowLog: 8 }), { instanceOf: RangeError, message: /from 9 to 15/ });
  t.throws(make(nativeZlib, { tuning: 'records' }), { instanceOf: RangeError, message: /no tuning/ });
});

test('zstd announces its window log where it is not the level’s own, the others announce nothing', (t) => {
  t.deepEqual([...nativeZstd.settings()], []);
  t.deepEqual([...nativeZstd.settings({ windowLog: 17 })], [17]);
  t.deepEqual([...nativeZstd.settings({ level: 22 })], [23]);
  t.deepEqual([...nativeZstd.settings({ tuning: 'records' })], [22]);
  t.deepEqual([...nativeZstd.settings({ tuning: 'records', windowLog: 17 })], [17]);
  t.deepEqual([...nativeZlib.settings({ windowLog: 10 })], []);
});

test('tuning records takes fewer bytes of small responses than its level, and of none of six kinds more', (t) => {
  const target = new Uint8Array(1 << 16);
  const lengthWith = (responses: Uint8Array[], options: EncoderOptions) => {
    const encoder = nativeZstd.createEncoder!(options);
    const length = responses.reduce((sum, each) => sum + encoder.encode(each, target, 0), 0);
    encoder.close();
    return length;
  };
  const ratios = (Object.keys(CORPORA) as CorpusName[]).map((name) => {
    const responses = corpus(name, name === 'dashboards' ? 250 : 2500);
    const ratio = lengthWith(responses, { tuning: 'records' }) / lengthWith(responses, {});
    t.true(ratio < 1.001, `${name}: ${ratio}`);
    return ratio;
  });
  t.true(ratios.reduce((product, ratio) => product * ratio) < 0.985, `${ratios}`);
});

test('decoders take the settings of their profile and refuse others', (t) => {
  for (const codec of CODECS) {
    const zstd = codec.profile === 'zstd-8mb';
    const open = (settings: number[]) => () => codec.createDecoder(LIMITS, Uint8Array.from(settings)).close();
    t.notThrows(open([]));
    if (zstd) t.notThrows(open([23]));
    if (zstd) t.throws(open([24]), { code: 'limit', message: /maxWindowSize/ });
    t.throws(open(zstd ? [20, 20] : [20]), { code: 'corrupt' });
  }
});

test('an encoded zstd stream takes complete zstd frames between its own', (t) => {
  const shared = text(100_000, 9);
  const pieces = compressWhole(nativeZstd, shared, 19);
  const frames = records(3);
  const encoder = nativeZstd.createEncoder!();
  const target = new Uint8Array(8192);
  const payloads: Uint8Array[] = [];
  for (const frame of frames) {
    let length = encoder.encode(frame, target, 0);
    length += encoder.finish(target, length);
    payloads.push(target.slice(0, length), ...pieces);
  }
  const wanted = frames.flatMap((frame) => [
    frame,
    ...[0, 1, 2, 3].map((k) => shared.slice(k << 15, (k + 1) << 15)),
  ]);
  encoder.close();
  for (const to of CODECS.filter(({ profile }) => profile === 'zstd-8mb'))
    same(t, decodeAll(to, payloads), wanted);
});

test('several complete zstd frames, and skippable ones, may share one payload', (t) => {
  const skippable = [0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
  const parts = [text(100), noise(5), text(70_000)].map((bytes) => zlib.zstdCompressSync(bytes));
  const payload = concat([parts[0]!, Uint8Array.from(skippable), parts[1]!, parts[2]!]);
  const wanted = concat([text(100), noise(5), text(70_000)]);
  for (const to of CODECS.filter(({ profile }) => profile === 'zstd-8mb')) {
    same(t, decodeAll(to, [payload, Uint8Array.from(skippable), payload]), [
      wanted,
      new Uint8Array(0),
      wanted,
    ]);
  }
});

test('zstd frames with a checksum and a content size decode', (t) => {
  const bytes = text(90_000);
  const params = { [zlib.constants.ZSTD_c_checksumFlag]: 1 };
  const payload = zlib.zstdCompressSync(bytes, { params, pledgedSrcSize: bytes.length });
  for (const to of CODECS.filter(({ profile }) => profile === 'zstd-8mb'))
    same(t, decodeAll(to, [payload]), [bytes]);
});

for (const length of [0, 1, 889, 32_767, 32_768, 32_769, 65_536, 100_000, 1 << 20]) {
  test(`${length} bytes compressed whole: piece k decodes to exactly its 32 KiB`, (t) => {
    const bytes = text(length);
    const wanted = Array.from({ length: Math.max(1, Math.ceil(length / 32_768)) }, (_, k) =>
      bytes.subarray(k * 32_768, (k + 1) * 32_768),
    );
    const pieces = compressWhole(nativeZstd, bytes, 3);
    for (const to of CODECS.filter(({ profile }) => profile === 'zstd-8mb'))
      same(t, decodeAll(to, pieces), wanted);
    same(t, [fzstdDecompress(concat(pieces)), zlib.zstdDecompressSync(concat(pieces))], [bytes, bytes]);
  });
}

test('more than 8 MiB compressed whole is cut like less', (t) => {
  const bytes = concat(Array.from({ length: 9 }, (_, i) => text(1 << 20, i)));
  const decoded = decodeAll(nativeZstd, compressWhole(nativeZstd, bytes, 1));
  t.is(decoded.length, 288);
  t.true(Buffer.from(concat(decoded)).equals(bytes));
});

test('only zstd can be compressed whole', (t) => {
  t.throws(() => compressWhole(nativeZlib, text(10)), { instanceOf: TypeError });
  t.throws(() => compressWhole(portableCodecs()[0]!, text(10)), { instanceOf: TypeError });
});

test('this runtime gets its native codecs, best first', (t) => {
  t.deepEqual(
    nativeCodecs().map(({ profile, implementation }) => `${profile} ${implementation}`),
    ['zstd-8mb native', 'zlib native', 'identity identity'],
  );
  t.is(nativeCodecs(), nativeCodecs());
});

test('a registry keeps the order, says what it can encode, and takes new names', (t) => {
  const registry = new CodecRegistry(portableCodecs());
  t.deepEqual(registry.profiles(), ['zstd-8mb', 'zlib', 'identity']);
  t.deepEqual(registry.encodable(), ['zlib', 'identity']);
  registry.register(nativeZstd);
  t.is(registry.get('zstd-8mb'), nativeZstd);
  registry.register({ ...nativeZlib, profile: 'x-zlib-tiny' });
  t.deepEqual(registry.profiles(), ['zstd-8mb', 'zlib', 'identity', 'x-zlib-tiny']);
  t.is(registry.get('brotli'), undefined);
  t.throws(() => registry.register({ ...nativeZlib, profile: 'naïve' }), { instanceOf: RangeError });
  t.throws(() => registry.register({ ...nativeZlib, profile: '' }), { instanceOf: RangeError });
});
