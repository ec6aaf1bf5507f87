/** What encoders of `zstd-8mb` and `zstd-dict` are made with: libzstd's parameters, and what the stream says of them (protocol B-profiles, C9). */

import { encodeDictionaryHeld } from '../wire/payloads.ts';
import type { EncoderOptions, Tuning } from './codec.ts';
import { inRange, NO_SETTINGS } from './profiles.ts';
import { ZSTD_DEFAULT_LEVEL, ZSTD_MAX_WINDOW_LOG, ZSTD_MIN_WINDOW_LOG } from './zstd-profile.ts';

/** libzstd's numbers for its compression parameters (zstd.h). */
const ZSTD_PARAMETER = {
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
const ZSTD_TUNINGS: Record<Tuning, Record<number, number>> = {
  records: {
    [ZSTD_PARAMETER.windowLog]: 22,
    [ZSTD_PARAMETER.hashLog]: 18,
    [ZSTD_PARAMETER.chainLog]: 15,
    [ZSTD_PARAMETER.minMatch]: 5,
    [ZSTD_PARAMETER.strategy]: ZSTD_STRATEGY_DFAST,
  },
};

/** Which of its parameters libzstd may change in a later version: ZSTD_c_forceAttachDict, and ZSTD_dictForceLoad. */
export const ZSTD_ATTACH_DICTIONARY = 1001;
const ZSTD_DICTIONARY_LOADED = 3;
const ZSTD_MIN_LEVEL = -131_072;
const ZSTD_MAX_LEVEL = 22;

/** From this level on libzstd would take a window over the promise. */
const ZSTD_WIDE_LEVEL = 20;

/** Window logs that levels have by themselves, or more. */
const ZSTD_LEVEL_WINDOW_LOG = 21;
const ZSTD_HIGH_LEVEL = 9;
const ZSTD_HIGH_WINDOW_LOG = 22;
const ZSTD_HIGHEST_LEVEL = 17;
/** A payload before encoding is at most so large (protocol A1). */
const PAYLOAD_LOG = 15;

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

/**
 * The same for a context that begins with a dictionary. libzstd sizes its tables by the dictionary, unless it is to load that:
 * with those of one of 4 KiB a kept context forgets so soon that pages and source
 * text took 12 % more bytes than without a dictionary. Where each frame stands alone, loading takes too long.
 * @throws RangeError as {@link zstdParameters} does.
 */
export function zstdDictParameters(options: EncoderOptions): Record<number, number> {
  const parameters = zstdParameters(options);
  // The stream has named it: not every frame needs to.
  parameters[ZSTD_PARAMETER.dictionaryNumber] = 0;
  if (!options.contextFree) parameters[ZSTD_ATTACH_DICTIONARY] = ZSTD_DICTIONARY_LOADED;
  return parameters;
}

/** The window that an encoder takes where the stream has to say so, base-2 logarithm of bytes; undefined: its level's own. @throws RangeError */
export function zstdWindowLog(options: EncoderOptions): number | undefined {
  const { level = ZSTD_DEFAULT_LEVEL, windowLog, tuning } = options;
  if (windowLog !== undefined) {
    return inRange('zstd window log', windowLog, ZSTD_MIN_WINDOW_LOG, ZSTD_MAX_WINDOW_LOG);
  }
  if (tuning !== undefined) return ZSTD_TUNINGS[tuning][ZSTD_PARAMETER.windowLog];
  return level >= ZSTD_WIDE_LEVEL ? ZSTD_MAX_WINDOW_LOG : undefined;
}

/** The one settings byte of `zstd-8mb`: the window log, where it is not the level's own. @throws RangeError */
export function zstdSettings(options?: EncoderOptions): Uint8Array {
  const windowLog = zstdWindowLog(options ?? {});
  return windowLog === undefined ? NO_SETTINGS : Uint8Array.of(windowLog);
}

/** The settings bytes of `zstd-dict`: u8 window log, 16 bytes ID (protocol C9). @throws RangeError without a dictionary. */
export function zstdDictSettings(options: EncoderOptions = {}): Uint8Array {
  const { dictionary = '', level = ZSTD_DEFAULT_LEVEL, contextFree } = options;
  const byLevel =
    level >= ZSTD_HIGHEST_LEVEL
      ? ZSTD_MAX_WINDOW_LOG
      : level >= ZSTD_HIGH_LEVEL
        ? ZSTD_HIGH_WINDOW_LOG
        : ZSTD_LEVEL_WINDOW_LOG;
  const own = zstdWindowLog(options) ?? byLevel;
  const windowLog = contextFree ? Math.min(PAYLOAD_LOG, own) : own;
  return Uint8Array.of(windowLog, ...encodeDictionaryHeld(dictionary));
}
