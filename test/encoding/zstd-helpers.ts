/** What must hold for the portable decoder of zstd, whatever it is given; how much is tried is up to the tests. */

import type { ExecutionContext } from 'ava';
import fc from 'fast-check';
import type { EncoderOptions } from '../../src/encoding/codec.ts';
import { nativeZstd } from '../../src/encoding/native.ts';
import { portableZstd } from '../../src/encoding/portable.ts';
import { concat, decodeAll, encodeAll, LIMITS, noise, text } from './helpers.ts';

export const ROOMY = { ...LIMITS, maxDecodedSize: 64 << 20, maxDecodedRatio: 1e9 };

/** The data is longer than the window, and comes again. */
const LONG = concat([
  text(400_000, 1),
  noise(200_000, 2),
  text(400_000, 1),
  noise(200_000, 2),
  text(300_000, 3),
]);

/** A long stream in frames of `cut` bytes comes back from the portable decoder. */
export function slides(t: ExecutionContext, options: EncoderOptions, cut: number): void {
  const frames = Array.from({ length: Math.ceil(LONG.length / cut) }, (_, i) =>
    LONG.subarray(i * cut, (i + 1) * cut),
  );
  const decoded = decodeAll(portableZstd, encodeAll(nativeZstd, frames, options), ROOMY);
  t.true(Buffer.from(concat(decoded)).equals(LONG), `${JSON.stringify(options)}, cut ${cut}`);
}

/** Tries data and levels up to `maxLevel`, `numRuns` times. @throws when the portable decoder makes something else of them. */
export function decodersAgree(maxLevel: number, numRuns: number): void {
  const skewed = fc
    .tuple(fc.integer({ min: 1, max: 20_000 }), fc.integer({ min: 1, max: 255 }), fc.nat(1000))
    .map(([length, symbols, seed]) => noise(length, seed).map((byte) => (byte * byte) % symbols));
  const runs = fc
    .array(fc.tuple(fc.nat(255), fc.integer({ min: 1, max: 3000 })), { maxLength: 20 })
    .map((parts) => concat(parts.map(([byte, length]) => new Uint8Array(length).fill(byte))));
  const repeats = fc
    .tuple(fc.uint8Array({ minLength: 1, maxLength: 100 }), fc.integer({ min: 1, max: 300 }))
    .map(([part, times]) => concat(new Array<Uint8Array>(times).fill(part)));
  const options = fc.record({
    level: fc.integer({ min: -7, max: maxLevel }),
    windowLog: fc.integer({ min: 10, max: 18 }),
  });
  fc.assert(
    fc.property(
      fc.array(fc.oneof(skewed, runs, repeats), { minLength: 1, maxLength: 6 }),
      options,
      (frames, o) => {
        const payloads = encodeAll(nativeZstd, frames, o, true);
        const decoded = decodeAll(portableZstd, payloads, ROOMY);
        frames.forEach((frame, i) => {
          if (!Buffer.from(frame).equals(decoded[i]!)) throw new Error(`frame ${i} differs`);
        });
      },
    ),
    { numRuns },
  );
}
