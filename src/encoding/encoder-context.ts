/** An encoder, and what a stream says of it when it begins. */

import type { Codec, Encoder, EncoderOptions } from './codec.ts';

export interface EncoderContext {
  readonly encoder: Encoder;
  /** The profile's own bytes of the stream-settings frame (protocol A5). */
  readonly settings: Uint8Array;
}

/**
 * The server's level and window are meant for one profile; where they are out of another's range it takes its own. What is to stand
 * alone does so all the same.
 */
export function encoderContext(codec: Codec, asked: EncoderOptions): EncoderContext | undefined {
  let options = asked;
  let encoder: Encoder | undefined;
  try {
    encoder = codec.createEncoder?.(options);
  } catch {
    const { contextFree, dictionary } = asked;
    options = { contextFree, dictionary };
    encoder = codec.createEncoder?.(options);
  }
  return encoder && { encoder, settings: codec.settings(options) };
}
