/** Whether a codec does on this runtime what an Encoder and a Decoder promise. */

import { type Codec, DecodeError, type EncoderOptions, FINISH_BOUND } from './codec.ts';

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

/**
 * Whether a codec of `zstd-dict` does the same with this dictionary, with a context and without one: without one, two equal
 * frames are encoded alike, and each is decoded where no other came before it.
 */
export function isSoundWith(codec: Codec, dictionary: string): boolean {
  try {
    const options = { level: 1, windowLog: 10, dictionary };
    return keepsContext(codec, options) && isContextFree(codec, { ...options, contextFree: true });
  } catch {
    return false;
  }
}

const SAMPLE = Uint8Array.from({ length: 600 }, (_, i) => 32 + ((i * i) % 89));

function keepsContext(codec: Codec, options: EncoderOptions): boolean {
  const [first, second] = encodedTwice(codec, options);
  const decoder = codec.createDecoder(LIMITS, codec.settings(options));
  const same = [first, second].every((frame) => equal(decoder.decode(frame), SAMPLE));
  decoder.close();
  return same;
}

function isContextFree(codec: Codec, options: EncoderOptions): boolean {
  const [first, second] = encodedTwice(codec, options);
  const decoder = codec.createDecoder(LIMITS, codec.settings(options));
  const alone = equal(decoder.decode(second), SAMPLE);
  decoder.close();
  return alone && equal(first, second);
}

function encodedTwice(codec: Codec, options: EncoderOptions): Uint8Array[] {
  const encoder = (codec as Required<Codec>).createEncoder(options);
  const frames = [1, 2].map(() => {
    const target = new Uint8Array(2048);
    return target.slice(0, encoder.encode(SAMPLE, target, 0));
  });
  encoder.close();
  return frames;
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
