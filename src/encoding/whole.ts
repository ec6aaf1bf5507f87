/**
 * A payload compressed once, elsewhere, for many connections (protocol B-profiles): one complete zstd frame, cut into
 * pieces that can each be the payload of an encoded frame on a stream whose encoder is between zstd frames.
 */

import { type Codec, FINISH_BOUND } from './codec.ts';
import { ZSTD } from './profiles.ts';

/** Bytes before encoding that one piece stands for; the last piece may stand for fewer. */
export const PIECE_SIZE = 32_768;
/** Off the hot path and done once, a slow level pays. */
const DEFAULT_LEVEL = 19;

/**
 * One zstd frame as pieces: piece k decodes to exactly `bytes[k * PIECE_SIZE .. (k + 1) * PIECE_SIZE)`, given the
 * pieces before it, and the last one finishes the zstd frame. No bytes make one piece, too. The window is as
 * small as holds `bytes`, at most 8 MiB.
 * @throws TypeError when `codec` is not an encoder of `zstd-8mb`: no other profile can begin afresh in mid-stream.
 * @throws RangeError when `level` is none of the codec's.
 */
export function compressWhole(codec: Codec, bytes: Uint8Array, level: number = DEFAULT_LEVEL): Uint8Array[] {
  if (codec.profile !== ZSTD || codec.createEncoder === undefined) {
    throw new TypeError(`${codec.profile} (${codec.implementation}) cannot make whole zstd frames`);
  }
  const encoder = codec.createEncoder({ level, contentSize: bytes.length });
  try {
    const target = new Uint8Array(encoder.bound(Math.min(bytes.length, PIECE_SIZE)) + FINISH_BOUND);
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < bytes.length || pieces.length === 0; at += PIECE_SIZE) {
      let length = encoder.encode(bytes.subarray(at, at + PIECE_SIZE), target, 0);
      if (at + PIECE_SIZE >= bytes.length) length += encoder.finish(target, length);
      pieces.push(target.slice(0, length));
    }
    return pieces;
  } finally {
    encoder.close();
  }
}
