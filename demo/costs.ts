/** What payloads take on the wire with contexts that forget sooner than a stream's. */

import type { Codec, Encoder } from '../src/encoding/codec.ts';
import { compressSamples } from '../src/encoding/dictionary/samples.ts';
import { trainDictionary } from '../src/encoding/dictionary/train.ts';
import { nativeCodecs } from '../src/encoding/native.ts';
import { DEFAULT_FRAME_SIZE, HEADER_SIZE } from '../src/wire/frame.ts';

export interface PayloadCosts {
  /** Bytes, frame headers included, with a new context for each payload: as HTTP has it. */
  readonly perRequestBytes: number;
  /** The same with a new context for each frame. */
  readonly perFrameBytes: number;
  /**
   * The same with a dictionary, whose own bytes count: trained on one payload in {@link TRAINED_SHARE}. Missing where these are too few
   * or have nothing in common.
   */
  readonly dictionaryBytes?: number;
}

const TRAINED_SHARE = 8;

/** Compresses the payloads for real; nothing of the settings and beginnings of streams is counted. */
export function payloadCosts(payloads: readonly Uint8Array[], profile: string, level: number): PayloadCosts {
  const codec = nativeCodecs().find((one) => one.profile === profile);
  if (codec?.createEncoder === undefined) throw new Error(`this runtime does not encode ${profile}`);
  let perRequestBytes = 0;
  let perFrameBytes = 0;
  for (const payload of payloads) {
    perRequestBytes += inOneContext(codec, level, framesOf(payload));
    for (const frame of framesOf(payload)) perFrameBytes += inOneContext(codec, level, [frame]);
  }
  return { perRequestBytes, perFrameBytes, dictionaryBytes: withDictionary(payloads, level) };
}

function withDictionary(payloads: readonly Uint8Array[], level: number): number | undefined {
  let dictionary: Uint8Array;
  try {
    dictionary = trainDictionary(
      payloads.filter((_, i) => i % TRAINED_SHARE === 1),
      { level },
    );
  } catch {
    return undefined;
  }
  const frames = payloads.flatMap((payload) => [...framesOf(payload)]);
  let total = dictionary.length;
  let at = 0;
  compressSamples(dictionary, frames, level, 'none', ({ length }) => {
    total += HEADER_SIZE + Math.min(frames[at++].length, length);
  });
  return total;
}

function* framesOf(payload: Uint8Array): Generator<Uint8Array> {
  yield payload.subarray(0, DEFAULT_FRAME_SIZE);
  for (let at = DEFAULT_FRAME_SIZE; at < payload.length; at += DEFAULT_FRAME_SIZE) {
    yield payload.subarray(at, at + DEFAULT_FRAME_SIZE);
  }
}

let target = new Uint8Array(2 * DEFAULT_FRAME_SIZE);

function inOneContext(codec: Codec, level: number, frames: Iterable<Uint8Array>): number {
  const encoder = codec.createEncoder!({ level });
  let total = 0;
  for (const frame of frames) total += HEADER_SIZE + encodedSize(encoder, frame);
  encoder.close();
  return total;
}

/** A frame that gets no smaller can go as it is. */
function encodedSize(encoder: Encoder, frame: Uint8Array): number {
  if (frame.length === 0) return 0;
  const bound = encoder.bound(frame.length);
  if (target.length < bound) target = new Uint8Array(bound);
  return Math.min(frame.length, encoder.encode(frame, target, 0));
}
