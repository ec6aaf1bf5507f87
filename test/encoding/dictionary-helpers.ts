/** What the tests of dictionaries share: native contexts with one, and what must hold for the portable decoder. */

import zlib from 'node:zlib';
import fc from 'fast-check';
import { DictionaryError, parseDictionary } from '../../src/encoding/dictionary/format.ts';
import { HandleContext } from '../../src/encoding/native.ts';
import { portableDictionaryDecoder } from '../../src/encoding/portable.ts';
import { zstdParameters } from '../../src/encoding/zstd-parameters.ts';
import { ROOMY } from './zstd-helpers.ts';

export interface NativeOptions {
  readonly level?: number;
  readonly windowLog?: number;
  /** Each payload finishes its zstd frame; otherwise the context goes on. */
  readonly contexts: 'none' | 'kept';
}

/** The payloads that node:zlib makes of `frames` with a dictionary. */
export function encodeWith(
  dictionary: Uint8Array,
  frames: readonly Uint8Array[],
  { contexts, ...options }: NativeOptions,
): Uint8Array[] {
  const params = zstdParameters(options);
  const context = new HandleContext(() => zlib.createZstdCompress({ chunkSize: 64, params, dictionary }));
  try {
    return frames.map((frame) => {
      const target = new Uint8Array(frame.length + (frame.length >>> 7) + 256);
      context.write(contexts === 'none' ? 2 : 1, frame, 0, frame.length, target, 0, target.length);
      return target.slice(0, target.length - context.roomLeft);
    });
  } finally {
    context.close();
  }
}

/** What node:zlib makes of payloads with a dictionary. @throws Error what it refuses them with. */
export function decodeNatively(
  dictionary: Uint8Array,
  payloads: readonly Uint8Array[],
  most = 1 << 20,
): Buffer[] {
  const context = new HandleContext(() => zlib.createZstdDecompress({ chunkSize: 64, dictionary }));
  const target = Buffer.alloc(most);
  try {
    return payloads.map((payload) => {
      context.write(0, payload, 0, payload.length, target, 0, target.length);
      if (context.inputLeft > 0) throw new Error('more than fits');
      return Buffer.from(target.subarray(0, target.length - context.roomLeft));
    });
  } finally {
    context.close();
  }
}

/** What our decoder makes of payloads with a dictionary. @throws DictionaryError, DecodeError */
export function decodePortably(dictionary: Uint8Array, payloads: readonly Uint8Array[]): Buffer[] {
  const decoder = portableDictionaryDecoder(ROOMY, parseDictionary(dictionary));
  return payloads.map((payload) => Buffer.from(decoder.decode(payload)));
}

/** @throws Error where our decoder makes anything else than `frames` of what node:zlib has made of them. */
export function comesBack(
  dictionary: Uint8Array,
  frames: readonly Uint8Array[],
  options: NativeOptions,
): void {
  const decoded = decodePortably(dictionary, encodeWith(dictionary, frames, options));
  for (const [i, frame] of frames.entries()) {
    if (!decoded[i]?.equals(frame)) throw new Error(`${JSON.stringify(options)}: frame ${i} differs`);
  }
}

/**
 * Changes bytes of a dictionary: it is refused, or does with frames what node:zlib does. @returns how many were taken.
 * @throws Error
 */
export function damagedAgree(dictionary: Uint8Array, frames: readonly Uint8Array[], numRuns: number): number {
  const headBytes = dictionary.length - parseDictionary(dictionary).content.length;
  const change = fc.tuple(fc.integer({ min: 4, max: headBytes - 1 }), fc.nat(255));
  let taken = 0;
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), (changes) => {
      const damaged = dictionary.slice();
      for (const [at, byte] of changes) damaged[at] = byte;
      try {
        parseDictionary(damaged);
      } catch (error) {
        if (error instanceof DictionaryError) return;
        throw error;
      }
      taken++;
      comesBack(damaged, frames, { contexts: 'none' });
    }),
    { numRuns },
  );
  return taken;
}
