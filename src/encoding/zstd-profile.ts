/** `zstd-8mb` and `zstd-dict`, apart from who encodes and decodes: bounds, and what settings say (protocol B-profiles, C9). */

import { DICTIONARY_ID_SIZE, decodeDictionaryHeld } from '../wire/payloads.ts';
import { DecodeError, type DecoderLimits } from './codec.ts';
import { type Dictionaries, type Dictionary, zstdNumberOf } from './dictionary.ts';
import { NO_SETTINGS, ZSTD, ZSTD_DICT } from './profiles.ts';
import { ZstdWalker } from './zstd-blocks.ts';

/** `zstd-8mb` promises a window of at most 2^23 bytes. */
export const ZSTD_MAX_WINDOW_LOG = 23;
export const ZSTD_MIN_WINDOW_LOG = 10;
export const ZSTD_DEFAULT_LEVEL = 3;
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
