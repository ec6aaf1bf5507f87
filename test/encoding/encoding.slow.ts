/** Every level and every window, with every pair of implementations; encoding.test.ts has a few of each. */

import zlib from 'node:zlib';
import test from 'ava';
import { decompress as fzstdDecompress } from 'fzstd';
import type { EncoderOptions } from '../../src/encoding/codec.ts';
import { nativeZstd } from '../../src/encoding/native.ts';
import { compressWhole } from '../../src/encoding/whole.ts';
import { CODECS, concat, decodeAll, encodeAll, noise, PAIRS, same, text } from './helpers.ts';

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

const ALL: Readonly<Record<string, EncoderOptions[]>> = {
  'zstd-8mb': [
    ...[-100, ...range(-7, 22)].map((level) => ({ level })),
    ...range(10, 23).map((windowLog) => ({ windowLog })),
    { tuning: 'records' },
    { tuning: 'records', level: 9, windowLog: 12 },
  ],
  zlib: [...range(0, 9).map((level) => ({ level })), ...range(9, 15).map((windowLog) => ({ windowLog }))],
  identity: [{}],
};

for (const { name, from, to } of PAIRS) {
  test(`${name}: every level and window`, (t) => {
    const frames = [text(3000), noise(3000), text(32_768), text(889)];
    for (const options of ALL[from.profile]!)
      same(t, decodeAll(to, encodeAll(from, frames, options)), frames);
  });
}

for (const codec of CODECS.filter(({ createEncoder }) => createEncoder)) {
  const name = `${codec.profile}, ${codec.implementation}`;

  test(`${name}: incompressible data at every level stays within the bound`, (t) => {
    for (const options of ALL[codec.profile]!) {
      const encoder = codec.createEncoder!(options);
      for (const length of [1, 100, 889, 32_768, 65_536, 300_000]) {
        const target = new Uint8Array(encoder.bound(length));
        t.notThrows(() => encoder.encode(noise(length, length), target, 0));
      }
      encoder.close();
    }
  });
}

test('bytes compressed whole at level 19: piece k decodes to exactly its 32 KiB', (t) => {
  for (const length of [0, 1, 889, 32_767, 32_768, 32_769, 65_536, 100_000, 1 << 20]) {
    const bytes = text(length);
    const wanted = Array.from({ length: Math.max(1, Math.ceil(length / 32_768)) }, (_, k) =>
      bytes.subarray(k * 32_768, (k + 1) * 32_768),
    );
    const pieces = compressWhole(nativeZstd, bytes, 19);
    for (const to of CODECS.filter(({ profile }) => profile === 'zstd-8mb'))
      same(t, decodeAll(to, pieces), wanted);
    same(t, [fzstdDecompress(concat(pieces)), zlib.zstdDecompressSync(concat(pieces))], [bytes, bytes]);
  }
});

test('more than 8 MiB compressed whole keeps to a window of 8 MiB', (t) => {
  const bytes = concat(Array.from({ length: 10 }, (_, i) => text(1 << 20, i)));
  t.is(decodeAll(nativeZstd, compressWhole(nativeZstd, bytes, 22)).length, 320);
});
