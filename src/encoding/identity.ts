/** The profile of streams without settings: the bytes themselves (protocol A5, B-profiles). */

import { type Codec, DecodeError, type DecoderLimits } from './codec.ts';
import { IDENTITY, NO_SETTINGS, refuseSettings } from './profiles.ts';

export const identityCodec: Codec = {
  profile: IDENTITY,
  implementation: 'identity',
  createEncoder: () => ({
    bound: (length) => length,
    encode(chunk, target, offset) {
      target.set(chunk, offset);
      return chunk.length;
    },
    finish: () => 0,
    close() {},
  }),
  createDecoder(limits, settings) {
    refuseSettings(IDENTITY, settings);
    return { decode: (payload) => withinLimits(payload, limits), close() {} };
  },
  settings: () => NO_SETTINGS,
};

function withinLimits(payload: Uint8Array, { maxDecodedSize }: DecoderLimits): Uint8Array {
  if (payload.length <= maxDecodedSize) return payload;
  throw new DecodeError('limit', `maxDecodedSize: a frame decodes to more than ${maxDecodedSize} bytes`);
}
