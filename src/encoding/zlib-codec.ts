/** `zlib` by the contexts of a library, native or not, that has them in C's form (protocol B-profiles). */

import { type Codec, DecodeError } from './codec.ts';
import {
  type Context,
  ContextDecoder,
  ContextEncoder,
  coveringWindowLog,
  type PayloadCheck,
} from './context.ts';
import { inRange, NO_SETTINGS, refuseSettings, refuseTuning, ZLIB } from './profiles.ts';

export const ZLIB_DEFAULT_LEVEL = 6;
const ZLIB_MIN_WINDOW_BITS = 9;
const ZLIB_MAX_WINDOW_BITS = 15;

// Flush values of zlib.h.
const Z_SYNC_FLUSH = 2;
const Z_FINISH = 4;

/** What a library brings for `zlib`; `memLevel` is zlib's default, 8. */
export interface ZlibContexts {
  compress(level: number, windowBits: number): Context;
  /** `maxOutput` as in {@link ZstdContexts}. */
  decompress(windowBits: number, maxOutput: number): Context;
}

const ZLIB_FORMAT = {
  flush: Z_SYNC_FLUSH,
  finish: Z_FINISH,
  // deflateBound for any window and memory level (a literal may take 9 bits), header, empty block of the flush.
  bound: (length: number) => length + (length >>> 3) + (length >>> 6) + 64,
};

export function zlibCodec(implementation: string, contexts: ZlibContexts): Codec {
  return {
    profile: ZLIB,
    implementation,
    createEncoder(options = {}) {
      const level = inRange('zlib level', options.level ?? ZLIB_DEFAULT_LEVEL, 0, 9);
      refuseTuning(ZLIB, options);
      const windowBits = options.windowLog ?? ZLIB_MAX_WINDOW_BITS;
      inRange('zlib window log', windowBits, ZLIB_MIN_WINDOW_BITS, ZLIB_MAX_WINDOW_BITS);
      return new ContextEncoder(contexts.compress(level, windowBits), ZLIB_FORMAT);
    },
    createDecoder(limits, settings) {
      refuseSettings(ZLIB, settings);
      const context = contexts.decompress(
        coveringWindowLog(limits.maxWindowSize, 8, ZLIB_MAX_WINDOW_BITS),
        limits.maxDecodedSize,
      );
      return new ContextDecoder(context, Z_SYNC_FLUSH, new ZlibCheck(limits.maxWindowSize), limits);
    },
    settings: () => NO_SETTINGS,
  };
}

/** RFC 1950: two header bytes, then deflate; Z_SYNC_FLUSH leaves an empty stored block, 00 00 ff ff, at the end. */
class ZlibCheck implements PayloadCheck {
  readonly #maxWindowSize: number;
  #started = false;

  constructor(maxWindowSize: number) {
    this.#maxWindowSize = maxWindowSize;
  }

  before(payload: Uint8Array): void {
    if (this.#started) return;
    this.#started = true;
    if (payload.length < 2) throw new DecodeError('corrupt', 'the payload ends inside the zlib header');
    const windowSize = 2 ** (8 + (payload[0] >> 4));
    if (windowSize > this.#maxWindowSize) {
      throw new DecodeError(
        'limit',
        `maxWindowSize: a window of ${windowSize} bytes, over ${this.#maxWindowSize}`,
      );
    }
    if (payload[1] & 0x20) throw new DecodeError('corrupt', 'a zlib stream that needs a dictionary');
  }

  endsAtFlush(payload: Uint8Array): boolean {
    const at = payload.length - 4;
    return payload[at] === 0 && payload[at + 1] === 0 && payload[at + 2] === 0xff && payload[at + 3] === 0xff;
  }
}
