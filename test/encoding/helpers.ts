/** What the encoding tests share: every codec we have, frames to encode, and zstd frames made by hand. */

import { createHash } from 'node:crypto';
import type { ExecutionContext } from 'ava';
import type { Codec, DecoderLimits, EncoderOptions } from '../../src/encoding/codec.ts';
import { FINISH_BOUND } from '../../src/encoding/codec.ts';
import { identityCodec } from '../../src/encoding/identity.ts';
import { minizlibZlib, minizlibZstd } from '../../src/encoding/minizlib.ts';
import { nativeZlib, nativeZstd } from '../../src/encoding/native.ts';
import { portableZlib, portableZstd } from '../../src/encoding/portable.ts';
import { DEFAULT_LIMITS } from '../../src/wire/limits.ts';
import { randomNumbers } from '../helpers/random.ts';

export const CODECS: readonly Codec[] = [
  nativeZstd,
  minizlibZstd,
  portableZstd,
  nativeZlib,
  minizlibZlib,
  portableZlib,
  identityCodec,
];
export const ZSTD_DECODERS = CODECS.filter((codec) => codec.profile === 'zstd-8mb');
export const ZLIB_CODECS = CODECS.filter((codec) => codec.profile === 'zlib');

export interface Pair {
  readonly name: string;
  readonly from: Codec;
  readonly to: Codec;
}

/** Every encoder with every decoder of its profile. */
export const PAIRS: readonly Pair[] = CODECS.filter((codec) => codec.createEncoder).flatMap((from) =>
  CODECS.filter((to) => to.profile === from.profile).map((to) => ({
    name: `${from.profile}, ${from.implementation} to ${to.implementation}`,
    from,
    to,
  })),
);

export const LIMITS: DecoderLimits = DEFAULT_LIMITS;

/** The payloads of `frames` on one context; with `finish`, the last payload finishes the format. */
export function encodeAll(
  codec: Codec,
  frames: readonly Uint8Array[],
  options?: EncoderOptions,
  finish = false,
): Uint8Array[] {
  const encoder = codec.createEncoder!(options);
  try {
    return frames.map((frame, i) => {
      const target = new Uint8Array(encoder.bound(frame.length) + FINISH_BOUND);
      let length = encoder.encode(frame, target, 0);
      if (finish && i === frames.length - 1) length += encoder.finish(target, length);
      return target.slice(0, length);
    });
  } finally {
    encoder.close();
  }
}

/** What each payload decodes to, copied, on one context. */
export function decodeAll(codec: Codec, payloads: readonly Uint8Array[], limits = LIMITS): Uint8Array[] {
  const decoder = codec.createDecoder(limits);
  try {
    return payloads.map((payload) => decoder.decode(payload).slice());
  } finally {
    decoder.close();
  }
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function noise(length: number, seed = 1): Uint8Array {
  const next = randomNumbers(seed);
  return Uint8Array.from({ length }, () => next() * 256);
}

const WORDS = 'stream frame request lane batch router flush window credit drain encoder decoder reset'.split(
  ' ',
);

/** Compressible text of exactly `length` bytes. */
export function text(length: number, seed = 1): Uint8Array {
  const next = randomNumbers(seed);
  let line = '';
  while (line.length < length)
    line += `${WORDS[Math.floor(next() * WORDS.length)]} ${Math.floor(next() * 1000)}, `;
  return new TextEncoder().encode(line.slice(0, length));
}

/** `length` small JSON-like records. */
export function records(length: number): Uint8Array[] {
  return Array.from({ length }, (_, i) => text(100 + ((i * 37) % 800), i + 1));
}

export const MAGIC = [0x28, 0xb5, 0x2f, 0xfd];

/** A zstd header with a window of 2^log bytes. */
export function zstdHeader(windowLog: number): number[] {
  return [...MAGIC, 0, (windowLog - 10) << 3];
}

/** A zstd block: type 0 raw, 1 run, 2 compressed; `size` is how many times a run's byte counts. */
export function zstdBlock(
  type: number,
  content: readonly number[],
  last = false,
  size = content.length,
): number[] {
  const header = (size << 3) | (type << 1) | (last ? 1 : 0);
  return [header & 255, (header >> 8) & 255, header >> 16, ...content];
}

/** One zstd frame that decodes to `count` × 128 KiB of zeros from 4 bytes each. */
export function zstdBomb(count: number): Uint8Array {
  const run = zstdBlock(1, [0], false, 128 << 10);
  return Uint8Array.from([...zstdHeader(17), ...Array.from({ length: count }, () => run).flat()]);
}

/** Compares lists of bytes. */
export function same(t: ExecutionContext, got: readonly Uint8Array[], wanted: readonly Uint8Array[]): void {
  t.deepEqual(got.map(digest), wanted.map(digest));
}

/** Length and hash: a difference of 200 000 bytes is no message. */
function digest(bytes: Uint8Array): string {
  return `${bytes.length} ${createHash('sha1').update(bytes).digest('hex')}`;
}
