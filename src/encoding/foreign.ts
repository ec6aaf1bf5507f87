/** Codecs that others have written: what they throw stays on this side of the connection. */

import { type Codec, DecodeError, type Decoder, type DecoderLimits } from './codec.ts';

/**
 * `codec` with decoders whose DecodeErrors say no more than which profile failed. They reach the peer, whom what a codec's
 * author wrote into an error is not meant for; that is their `cause`.
 */
export function foreign(codec: Codec): Codec {
  const { profile, implementation } = codec;
  return {
    profile,
    implementation,
    ...(codec.createEncoder && {
      createEncoder: (options) => (codec as Required<Codec>).createEncoder(options),
    }),
    createDecoder: (limits, settings) => quietly(profile, () => quiet(codec, limits, settings)),
    settings: (options) => codec.settings(options),
  };
}

function quiet(codec: Codec, limits: DecoderLimits, settings: Uint8Array | undefined): Decoder {
  const decoder = codec.createDecoder(limits, settings);
  return {
    decode: (payload) => quietly(codec.profile, () => decoder.decode(payload)),
    close: () => decoder.close(),
  };
}

function quietly<T>(profile: string, step: () => T): T {
  try {
    return step();
  } catch (cause) {
    const code = cause instanceof DecodeError ? cause.code : 'corrupt';
    throw new DecodeError(code, `the codec of profile '${profile}' has failed`, { cause });
  }
}
