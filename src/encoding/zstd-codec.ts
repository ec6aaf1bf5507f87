/** `zstd-8mb` and `zstd-dict` by the contexts of a library, native or not, that has them in C's form (protocol B-profiles). */

import type { Codec, DecoderLimits, EncoderOptions } from './codec.ts';
import {
  type Context,
  ContextDecoder,
  ContextEncoder,
  coveringWindowLog,
  type PayloadCheck,
} from './context.ts';
import type { Dictionaries, Dictionary } from './dictionary.ts';
import { ZSTD, ZSTD_DICT } from './profiles.ts';
import type { StandaloneContext, StandaloneContexts } from './standalone.ts';
import type { ZstdWalker } from './zstd-blocks.ts';
import { zstdDictParameters, zstdDictSettings, zstdParameters, zstdSettings } from './zstd-parameters.ts';
import { namedDictionary, ZSTD_MIN_WINDOW_LOG, zstdDictWalker, zstdWalker } from './zstd-profile.ts';

// Flush values of zstd.h.
const ZSTD_E_CONTINUE = 0;
const ZSTD_E_FLUSH = 1;
const ZSTD_E_END = 2;

/** What a library brings for `zstd-8mb`. */
export interface ZstdContexts {
  /** Those for payloads that stand alone, which all streams of a thread have in common. */
  readonly standalone: StandaloneContexts;
  /** `parameters` by libzstd's numbers; `contentSize` is missing where it is not known. */
  compress(
    parameters: Record<number, number>,
    contentSize: number | undefined,
    dictionary?: Uint8Array,
  ): Context;
  /** `maxOutput`: bytes that one write() may make, for a library that makes output before there is room for it. */
  decompress(maxWindowLog: number, maxOutput: number, dictionary?: Uint8Array): Context;
}

/**
 * The largest window that payloads of the shared context may ask for, in bytes. It keeps its buffers when the stream which
 * has asked for them is closed, and with it accounted for no more; with the largest windows that would be 8 MiB and more of a thread.
 */
const MAX_STANDALONE_WINDOW = 128 << 10;

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
      return zstdDecoder(contexts, zstdWalker(limits, settings), limits);
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
      const dictionary = namedDictionary(dictionaries, settings);
      const walker = zstdDictWalker(limits, dictionaries, settings);
      return zstdDecoder(contexts, walker, limits, dictionary);
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

function zstdDecoder(
  contexts: ZstdContexts,
  walker: ZstdWalker,
  limits: DecoderLimits,
  dictionary?: Dictionary,
): ContextDecoder {
  const { maxWindowSize, maxDecodedSize } = limits;
  const maxWindowLog = coveringWindowLog(maxWindowSize, ZSTD_MIN_WINDOW_LOG, 31);
  const make = () => contexts.decompress(maxWindowLog, maxDecodedSize, dictionary?.bytes);
  const standalone = contexts.standalone.for(`${maxWindowLog} ${maxDecodedSize}`, dictionary, make);
  const stream = new ZstdStream(walker, standalone, make);
  return new ContextDecoder(stream, ZSTD_E_CONTINUE, stream, limits);
}

/**
 * The context of one stream: that which streams have in common, for a payload that stands alone, or one of its own, which
 * is made when the first payload comes that does not, or with a large window. zstd frames are independent of each other, so it need not see all.
 */
class ZstdStream implements Context, PayloadCheck {
  readonly #walker: ZstdWalker;
  readonly #standalone: StandaloneContext;
  readonly #make: () => Context;
  /** The last payload has ended so. */
  #betweenFrames = true;
  #own: Context | undefined;
  /** What the payload at hand goes through. */
  #context: Context | undefined;

  constructor(walker: ZstdWalker, standalone: StandaloneContext, make: () => Context) {
    this.#walker = walker;
    this.#standalone = standalone;
    this.#make = make;
    standalone.enter();
  }

  before(payload: Uint8Array): void {
    const begins = this.#betweenFrames;
    this.#betweenFrames = this.#walker.walk(payload);
    const standsAlone = begins && this.#betweenFrames && this.#walker.largestWindow <= MAX_STANDALONE_WINDOW;
    if (standsAlone) this.#context = this.#standalone.context;
    else {
      this.#own ??= this.#make();
      this.#context = this.#own;
    }
  }

  /** The walk has shown that it ends with an element. */
  endsAtFlush(): boolean {
    this.#context = undefined;
    return true;
  }

  get inputLeft(): number {
    return (this.#context as Context).inputLeft;
  }

  get roomLeft(): number {
    return (this.#context as Context).roomLeft;
  }

  write(
    flush: number,
    input: Uint8Array,
    offset: number,
    length: number,
    output: Uint8Array,
    outputOffset: number,
    room: number,
  ): void {
    (this.#context as Context).write(flush, input, offset, length, output, outputOffset, room);
  }

  close(): void {
    // In the midst of a payload only where that has failed.
    if (this.#context !== undefined && this.#context !== this.#own) this.#standalone.drop();
    this.#standalone.leave();
    this.#own?.close();
  }
}
