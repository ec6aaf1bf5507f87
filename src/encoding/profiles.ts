/** The profiles of protocol B-profiles, apart from the library that does the work: options, bounds, settings, checks. */

import { DICTIONARY_ID_SIZE, decodeDictionaryHeld, encodeDictionaryHeld } from '../wire/payloads.ts';
import { type Codec, DecodeError, type DecoderLimits, type EncoderOptions, type Tuning } from './codec.ts';
import { type Context, ContextDecoder, ContextEncoder, type PayloadCheck } from './context.ts';
import { type Dictionaries, type Dictionary, zstdNumberOf } from './dictionary.ts';
import { ZstdWalker } from './zstd-blocks.ts';

export const IDENTITY = 'identity';
export const ZLIB = 'zlib';
export const ZSTD = 'zstd-8mb';
/** `zstd-8mb` with a dictionary (protocol C9). */
export const ZSTD_DICT = 'zstd-dict';

/** Whether a stream of the profile may hold what is complete in itself, one after the other (protocol B-profiles). */
export function canBeginAfresh(profile: string): boolean {
  return profile === ZSTD || profile === ZSTD_DICT;
}

/** `zstd-8mb` promises a window of at most 2^23 bytes. */
export const ZSTD_MAX_WINDOW_LOG = 23;
const ZSTD_MIN_WINDOW_LOG = 10;
const ZSTD_DEFAULT_LEVEL = 3;
const ZSTD_MIN_LEVEL = -131_072;
const ZSTD_MAX_LEVEL = 22;
/** From this level on libzstd would take a window over the promise. */
const ZSTD_WIDE_LEVEL = 20;

const ZLIB_MIN_WINDOW_BITS = 9;
const ZLIB_MAX_WINDOW_BITS = 15;
const ZLIB_DEFAULT_LEVEL = 6;

// Flush values of the libraries' own headers, zlib.h and zstd.h.
const Z_SYNC_FLUSH = 2;
const Z_FINISH = 4;
const ZSTD_E_CONTINUE = 0;
const ZSTD_E_FLUSH = 1;
const ZSTD_E_END = 2;

const NO_SETTINGS = new Uint8Array(0);

/** libzstd's numbers for its compression parameters (zstd.h). */
const ZSTD_PARAMETER = {
  level: 100,
  windowLog: 101,
  hashLog: 102,
  minMatch: 105,
  strategy: 107,
  dictionaryNumber: 202,
} as const;
const ZSTD_STRATEGY_FAST = 1;

/** What stands in for the level's own parameters, by tuning. */
const ZSTD_TUNINGS: Record<Tuning, Record<number, number>> = {
  records: {
    [ZSTD_PARAMETER.windowLog]: 22,
    [ZSTD_PARAMETER.hashLog]: 18,
    [ZSTD_PARAMETER.minMatch]: 7,
    [ZSTD_PARAMETER.strategy]: ZSTD_STRATEGY_FAST,
  },
};

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

/** Window logs that levels have by themselves, or more. */
const ZSTD_LEVEL_WINDOW_LOG = 21;
const ZSTD_HIGH_LEVEL = 9;
const ZSTD_HIGH_WINDOW_LOG = 22;
const ZSTD_HIGHEST_LEVEL = 17;
/** A payload before encoding is at most so large (protocol A1). */
const PAYLOAD_LOG = 15;

/** The settings bytes of `zstd-dict`: u8 window log, 16 bytes ID (protocol C9). @throws RangeError without a dictionary. */
export function zstdDictSettings(options: EncoderOptions = {}): Uint8Array {
  const { dictionary = '', level = ZSTD_DEFAULT_LEVEL, contextFree } = options;
  const byLevel =
    level >= ZSTD_HIGHEST_LEVEL
      ? ZSTD_MAX_WINDOW_LOG
      : level >= ZSTD_HIGH_LEVEL
        ? ZSTD_HIGH_WINDOW_LOG
        : ZSTD_LEVEL_WINDOW_LOG;
  const windowLog = contextFree ? PAYLOAD_LOG : (zstdWindowLog(options) ?? byLevel);
  return Uint8Array.of(windowLog, ...encodeDictionaryHeld(dictionary));
}

/** The ID in the settings bytes of `zstd-dict`. @throws DecodeError when there is none. */
export function dictionaryNamedIn(settings: Uint8Array = NO_SETTINGS): string {
  if (settings.length !== 1 + DICTIONARY_ID_SIZE)
    throw new DecodeError('corrupt', `${ZSTD_DICT} has ${1 + DICTIONARY_ID_SIZE} settings bytes`);
  return decodeDictionaryHeld(settings.subarray(1));
}

/** The dictionary that the settings bytes name. @throws DecodeError when it is not held here. */
export function namedDictionary(dictionaries: Dictionaries, settings: Uint8Array | undefined): Dictionary {
  const id = dictionaryNamedIn(settings);
  const dictionary = dictionaries.get(id);
  if (dictionary === undefined) throw new DecodeError('corrupt', `dictionary ${id} is not held here`);
  return dictionary;
}

/** The walker over one `zstd-dict` stream's payloads. @throws DecodeError as {@link zstdWalker} does. */
export function zstdDictWalker(
  limits: DecoderLimits,
  dictionaries: Dictionaries,
  settings: Uint8Array = NO_SETTINGS,
): ZstdWalker {
  const { bytes } = namedDictionary(dictionaries, settings);
  return zstdWalker(limits, settings.subarray(0, 1), zstdNumberOf(bytes));
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

/** @throws RangeError where a tuning is asked of a profile that has none. */
export function refuseTuning(profile: string, { tuning }: EncoderOptions): void {
  if (tuning !== undefined) throw new RangeError(`${profile} has no tuning '${tuning}'`);
}

/** The one settings byte of `zstd-8mb`: the window log, where it is not the level's own. @throws RangeError */
export function zstdSettings(options?: EncoderOptions): Uint8Array {
  const windowLog = zstdWindowLog(options ?? {});
  return windowLog === undefined ? NO_SETTINGS : Uint8Array.of(windowLog);
}

/**
 * The walker over one `zstd-8mb` stream's payloads.
 * @throws DecodeError when the settings are malformed or announce a window over the limit.
 */
export function zstdWalker(
  limits: DecoderLimits,
  settings: Uint8Array = NO_SETTINGS,
  dictionaryNumber = 0,
): ZstdWalker {
  if (settings.length > 1) throw new DecodeError('corrupt', `${ZSTD} has at most one settings byte`);
  if (settings.length === 1 && 2 ** settings[0] > limits.maxWindowSize) {
    throw new DecodeError(
      'limit',
      `maxWindowSize: a window of 2^${settings[0]} bytes, over ${limits.maxWindowSize}`,
    );
  }
  return new ZstdWalker(limits.maxWindowSize, dictionaryNumber);
}

/** @throws DecodeError when there are any. */
export function refuseSettings(profile: string, settings?: Uint8Array): void {
  if (settings?.length) throw new DecodeError('corrupt', `${profile} has no settings`);
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

function zstdWindowLog(options: EncoderOptions): number | undefined {
  const { level = ZSTD_DEFAULT_LEVEL, windowLog, tuning } = options;
  if (windowLog !== undefined) {
    return inRange('zstd window log', windowLog, ZSTD_MIN_WINDOW_LOG, ZSTD_MAX_WINDOW_LOG);
  }
  if (tuning !== undefined) return ZSTD_TUNINGS[tuning][ZSTD_PARAMETER.windowLog];
  return level >= ZSTD_WIDE_LEVEL ? ZSTD_MAX_WINDOW_LOG : undefined;
}

/** The smallest window log that covers `size` bytes, within the range that a library takes. */
function windowLogOf(size: number, min: number, max: number): number {
  return Math.min(max, Math.max(min, Math.ceil(Math.log2(size))));
}

function inRange(what: string, value: number, min: number, max: number): number {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${what} must be a whole number from ${min} to ${max}, not ${value}`);
  }
  return value;
}
