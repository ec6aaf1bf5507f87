/** `zstd-8mb` and `zstd-dict` by the contexts of a library, native or not, that has them in C's form (protocol B-profiles). */

import type { Codec, EncoderOptions } from './codec.ts';
import {
  type Context,
  ContextDecoder,
  ContextEncoder,
  coveringWindowLog,
  type PayloadCheck,
} from './context.ts';
import type { Dictionaries, Dictionary } from './dictionary.ts';
import { ZSTD, ZSTD_DICT } from './profiles.ts';
import type { ZstdWalker } from './zstd-blocks.ts';
import { zstdDictParameters, zstdDictSettings, zstdParameters, zstdSettings } from './zstd-parameters.ts';
import { namedDictionary, ZSTD_MIN_WINDOW_LOG, zstdDictWalker, zstdWalker } from './zstd-profile.ts';

// Flush values of zstd.h.
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

const ZSTD_FORMAT = {
  flush: ZSTD_E_FLUSH,
  finish: ZSTD_E_END,
  // ZSTD_compressBound, and room for a frame header and a split block that a flush may add.
  bound: (length: number) => length + (length >>> 8) + 128,
};

/** Every payload a zstd frame of its own. */
const ZSTD_WHOLE_FORMAT = { ...ZSTD_FORMAT, flush: ZSTD_E_END };

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
        coveringWindowLog(limits.maxWindowSize, ZSTD_MIN_WINDOW_LOG, 31),
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
      const context = contexts.compress(zstdDictParameters(options), undefined, bytes);
      return new ContextEncoder(context, zstdFormat(options));
    },
    createDecoder(limits, settings) {
      const { bytes } = namedDictionary(dictionaries, settings);
      const check = new ZstdCheck(zstdDictWalker(limits, dictionaries, settings));
      const maxWindowLog = coveringWindowLog(limits.maxWindowSize, ZSTD_MIN_WINDOW_LOG, 31);
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
