/** Whether a codec does on this runtime what an Encoder and a Decoder promise. */

import { type Codec, DecodeError, FINISH_BOUND } from './codec.ts';

const LIMITS = { maxDecodedSize: 1 << 16, maxDecodedRatio: 1000, maxWindowSize: 1 << 16 };
/** Cheap contexts: this runs at every start of a process or thread. */
const OPTIONS = { level: 1, windowLog: 10 };

/** Several frames on one context, each out at once and whole, then a corrupt one that must be refused. */
export function isSound(codec: Codec): boolean {
  try {
    return roundTrips(codec) && refusesCorruption(codec);
  } catch {
    return false;
  }
}

function roundTrips(codec: Codec): boolean {
  const encoder = codec.createEncoder?.(OPTIONS);
  if (encoder === undefined) return false;
  const decoder = codec.createDecoder(LIMITS);
  const frames = [1, 0, 3000, 3000].map((length) => Uint8Array.from({ length }, (_, i) => (i * i) % 251));
  const target = new Uint8Array(8192);
  const same = frames.every((frame, i) => {
    let length = encoder.encode(frame, target, i);
    if (i === frames.length - 1)
      length += encoder.finish(target.subarray(0, i + length + FINISH_BOUND), i + length);
    return equal(decoder.decode(target.subarray(i, i + length)), frame);
  });
  encoder.close();
  decoder.close();
  return same;
}

function refusesCorruption(codec: Codec): boolean {
  const encoder = codec.createEncoder?.(OPTIONS);
  if (encoder === undefined) return false;
  const target = new Uint8Array(8192);
  const length = encoder.encode(
    new Uint8Array(3000).map((_, i) => (i * i) % 251),
    target,
    0,
  );
  encoder.close();
  // Behind the headers, where each format keeps its Huffman tables.
  target.fill(0xff, 12, length - 8);
  const decoder = codec.createDecoder(LIMITS);
  try {
    decoder.decode(target.subarray(0, length));
    return false;
  } catch (error) {
    return error instanceof DecodeError && error.code === 'corrupt';
  } finally {
    decoder.close();
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
