/** The profiles of protocol B-profiles: their names, and what all codecs check alike. */

import { DecodeError, type EncoderOptions } from './codec.ts';

export const IDENTITY = 'identity';
export const ZLIB = 'zlib';
export const ZSTD = 'zstd-8mb';
/** `zstd-8mb` with a dictionary (protocol C9). */
export const ZSTD_DICT = 'zstd-dict';

/** Base-2 logarithm of the window that browsers ask servers to keep to, unless they are told otherwise. */
export const BROWSER_WINDOW_LOG = 20;

/** Whether a stream of the profile may hold what is complete in itself, one after the other (protocol B-profiles). */
export function canBeginAfresh(profile: string): boolean {
  return profile === ZSTD || profile === ZSTD_DICT;
}

export const NO_SETTINGS = new Uint8Array(0);

/** @throws DecodeError when there are any. */
export function refuseSettings(profile: string, settings?: Uint8Array): void {
  if (settings?.length) throw new DecodeError('corrupt', `${profile} has no settings`);
}

/** @throws RangeError where a tuning is asked of a profile that has none. */
export function refuseTuning(profile: string, { tuning }: EncoderOptions): void {
  if (tuning !== undefined) throw new RangeError(`${profile} has no tuning '${tuning}'`);
}

/** `value`. @throws RangeError when it is none that `what` may have. */
export function inRange(what: string, value: number, min: number, max: number): number {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${what} must be a whole number from ${min} to ${max}, not ${value}`);
  }
  return value;
}
