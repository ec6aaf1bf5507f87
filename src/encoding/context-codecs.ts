/** The profiles of protocol B-profiles by the contexts of a library, native or not, that has them in C's form. */

import { type Codec, DecodeError, type EncoderOptions } from './codec.ts';
import { type Context, ContextDecoder, ContextEncoder, type PayloadCheck } from './context.ts';
import type { Dictionaries, Dictionary } from './dictionary.ts';
import {
  inRange,
  NO_SETTINGS,
  namedDictionary,
  refuseSettings,
  refuseTuning,
  ZLIB,
  ZLIB_DEFAULT_LEVEL,
  ZSTD,
  ZSTD_DEFAULT_LEVEL,
  ZSTD_DICT,
  ZSTD_MIN_WINDOW_LOG,
  ZSTD_PARAMETER,
  ZSTD_TUNINGS,
  zstdDictSettings,
  zstdDictWalker,
  zstdSettings,
  zstdWalker,
  zstdWindowLog,
} from './profiles.ts';
import type { ZstdWalker } from './zstd-blocks.ts';

const ZSTD_MIN_LEVEL = -131_072;
const ZSTD_MAX_LEVEL = 22;

const ZLIB_MIN_WINDOW_BITS = 9;
const ZLIB_MAX_WINDOW_BITS = 15;

// Flush values of the libraries' own headers, zlib.h and zstd.h.
const Z_SYNC_FLUSH = 2;
const Z_FINISH = 4;
const ZSTD_E_CONTINUE = 0;
const ZSTD_E_FLUSH = 1;
const ZSTD_E_END = 2;

/** What a library brings for `zstd-8mb`. */
export interface ZstdContexts {
  /** `parameters` by libzstd's numbers; `contentSize` is missing where it is not known. */
  compress(
    parameters: Record<number, number>,
    contentSize: number | undefined,
    dictionary?: Uint8Array,
  ): Context;
  /** `maxOutput`: bytes that one write() may make, for a library that makes output before there is room for it. */
  decompress(maxWindowLog: number, maxOutput: number, dictionary?: Uint8Array): Context;
}

/** What a library brings for `zlib`; `memLevel` is zlib's default, 8. */
export interface ZlibContexts {
  compress(level: number, windowBits: number): Context;
  /** `maxOutput` as in {@link ZstdContexts}. */
  decompress(windowBits: number, maxOutput: number): Context;
}

const ZSTD_FORMAT = {
  flush: ZSTD_E_FLUSH,
  finish: ZSTD_E_END,
  // ZSTD_compressBound, and room for a frame header and a split block that a flush may add.
  bound: (length: number) => length + (length >>> 8) + 128,
};

/** Every payload a zstd frame of its own. */
const ZSTD_WHOLE_FORMAT = { ...ZSTD_FORMAT, flush: ZSTD_E_END };

const ZLIB_FORMAT = {
  flush: Z_SYNC_FLUSH,
  finish: Z_FINISH,
  // deflateBound for any window and memory level (a literal may take 9 bits), header, empty block of the flush.
  bound: (length: number) => length + (length >>> 3) + (length >>> 6) + 64,
};

export function zstdCodec(implementation: string, contexts: ZstdContexts): Codec {
  return {
    profile: ZSTD,
    implementation,
    contextFree: true,
    createEncoder(options = {}) {
      const context = contexts.compress(zstdParameters(options), options.contentSize);
      return new ContextEncoder(context, zstdFormat(options));
    },
    createDecoder(limits, settings) {
      const check = new ZstdCheck(zstdWalker(limits, settings));
      const context = contexts.decompress(
        windowLogOf(limits.maxWindowSize, ZSTD_MIN_WINDOW_LOG, 31),
        limits.maxDecodedSize,
      );
      return new ContextDecoder(context, ZSTD_E_CONTINUE, check, limits);
    },
    settings: zstdSettings,
  };
}

/** `zstd-dict` with any of `dictionaries`. */
export function zstdDictCodec(
  implementation: string,
  contexts: ZstdContexts,
  dictionaries: Dictionaries,
): Codec {
  return {
    profile: ZSTD_DICT,
    implementation,
    contextFree: true,
    createEncoder(options = {}) {
      const { bytes } = dictionaryOf(dictionaries, options.dictionary);
      const parameters = {
        ...zstdParameters(options),
        // The stream has named it: not every frame needs to.
        [ZSTD_PARAMETER.dictionaryNumber]: 0,
      };
      return new ContextEncoder(contexts.compress(parameters, undefined, bytes), zstdFormat(options));
    },
    createDecoder(limits, settings) {
      const { bytes } = namedDictionary(dictionaries, settings);
      const check = new ZstdCheck(zstdDictWalker(limits, dictionaries, settings));
      const maxWindowLog = windowLogOf(limits.maxWindowSize, ZSTD_MIN_WINDOW_LOG, 31);
      const context = contexts.decompress(maxWindowLog, limits.maxDecodedSize, bytes);
      return new ContextDecoder(context, ZSTD_E_CONTINUE, check, limits);
    },
    settings: zstdDictSettings,
  };
}

function zstdFormat({ contextFree }: EncoderOptions): typeof ZSTD_FORMAT {
  return contextFree ? ZSTD_WHOLE_FORMAT : ZSTD_FORMAT;
}

/** @throws RangeError when there is none of this ID. */
function dictionaryOf(dictionaries: Dictionaries, id: string | undefined): Dictionary {
  const dictionary = id === undefined ? undefined : dictionaries.get(id);
  if (dictionary === undefined) throw new RangeError(`${ZSTD_DICT} has no dictionary ${id}`);
  return dictionary;
}

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
        windowLogOf(limits.maxWindowSize, 8, ZLIB_MAX_WINDOW_BITS),
        limits.maxDecodedSize,
      );
      return new ContextDecoder(context, Z_SYNC_FLUSH, new ZlibCheck(limits.maxWindowSize), limits);
    },
    settings: () => NO_SETTINGS,
  };
}

/**
 * libzstd's parameters, by its numbers, for what an encoder is to do.
 * @throws RangeError for what libzstd, or the profile's promise, does not take.
 */
export function zstdParameters(options: EncoderOptions): Record<number, number> {
  const { level = ZSTD_DEFAULT_LEVEL, tuning } = options;
  const windowLog = zstdWindowLog(options);
  const parameters: Record<number, number> = {
    ...(tuning && ZSTD_TUNINGS[tuning]),
    [ZSTD_PARAMETER.level]: inRange('zstd level', level, ZSTD_MIN_LEVEL, ZSTD_MAX_LEVEL),
  };
  if (windowLog !== undefined) parameters[ZSTD_PARAMETER.windowLog] = windowLog;
  return parameters;
}

class ZstdCheck implements PayloadCheck {
  readonly #walker: ZstdWalker;

  constructor(walker: ZstdWalker) {
    this.#walker = walker;
  }

  before(payload: Uint8Array): void {
    this.#walker.walk(payload);
  }

  /** The walk has shown that it ends with an element. */
  endsAtFlush(): boolean {
    return true;
  }
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

/** The smallest window log that covers `size` bytes, within the range that a library takes. */
function windowLogOf(size: number, min: number, max: number): number {
  return Math.min(max, Math.max(min, Math.ceil(Math.log2(size))));
}
