/** `zstd-8mb` and `zstd-dict`, apart from who encodes and decodes: options, bounds, settings (protocol B-profiles, C9). */

import { DICTIONARY_ID_SIZE, decodeDictionaryHeld, encodeDictionaryHeld } from '../wire/payloads.ts';
import { DecodeError, type DecoderLimits, type EncoderOptions, type Tuning } from './codec.ts';
import { type Dictionaries, type Dictionary, zstdNumberOf } from './dictionary.ts';
import { inRange, NO_SETTINGS, ZSTD, ZSTD_DICT } from './profiles.ts';
import { ZstdWalker } from './zstd-blocks.ts';

/** `zstd-8mb` promises a window of at most 2^23 bytes. */
export const ZSTD_MAX_WINDOW_LOG = 23;
export const ZSTD_MIN_WINDOW_LOG = 10;
export const ZSTD_DEFAULT_LEVEL = 3;
/** From this level on libzstd would take a window over the promise. */
const ZSTD_WIDE_LEVEL = 20;

/** libzstd's numbers for its compression parameters (zstd.h). */
export const ZSTD_PARAMETER = {
  level: 100,
  windowLog: 101,
  hashLog: 102,
  chainLog: 103,
  minMatch: 105,
  strategy: 107,
  dictionaryNumber: 202,
} as const;
const ZSTD_STRATEGY_DFAST = 2;

/**
 * What stands in for the level's own parameters, by tuning. `records` searches as level 3 does, with a table for long matches that
 * is twice as large (log 18), one for short matches that is half as large (the log of its chains), and a window of 4 MiB: what
 * comes again from far back is long, and what is near is short.
 */
export const ZSTD_TUNINGS: Record<Tuning, Record<number, number>> = {
  records: {
    [ZSTD_PARAMETER.windowLog]: 22,
    [ZSTD_PARAMETER.hashLog]: 18,
    [ZSTD_PARAMETER.chainLog]: 15,
    [ZSTD_PARAMETER.minMatch]: 5,
    [ZSTD_PARAMETER.strategy]: ZSTD_STRATEGY_DFAST,
  },
};

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

export function zstdWindowLog(options: EncoderOptions): number | undefined {
  const { level = ZSTD_DEFAULT_LEVEL, windowLog, tuning } = options;
  if (windowLog !== undefined) {
    return inRange('zstd window log', windowLog, ZSTD_MIN_WINDOW_LOG, ZSTD_MAX_WINDOW_LOG);
  }
  if (tuning !== undefined) return ZSTD_TUNINGS[tuning][ZSTD_PARAMETER.windowLog];
  return level >= ZSTD_WIDE_LEVEL ? ZSTD_MAX_WINDOW_LOG : undefined;
}
