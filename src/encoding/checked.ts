/** What codecs say, checked: they may be their user's, and what one does wrong must not become another's. */

import { MAX_PAYLOAD_LENGTH } from '../wire/frame.ts';
import { DecodeError, type Decoder, type DecoderLimits, type Encoder } from './codec.ts';
import { mostDecoded } from './output.ts';

/** The encoder's bound for `length` bytes. @throws RangeError when no frame can have it. */
export function checkedBound(encoder: Encoder, length: number): number {
  const bound = encoder.bound(length);
  if (Number.isInteger(bound) && bound >= 0 && bound <= MAX_PAYLOAD_LENGTH) return bound;
  throw new RangeError(`an encoder's bound for ${length} bytes is ${String(bound)}`);
}

/** How many bytes an encoder has written where it had `room`. @throws RangeError when that cannot be. */
export function checkedLength(length: number, room: number): number {
  if (Number.isInteger(length) && length >= 0 && length <= room) return length;
  throw new RangeError(`an encoder has written ${String(length)} bytes into ${room} bytes of room`);
}

/**
 * What a decoder makes of one frame. @throws DecodeError for what it throws, for what is no bytes and over a limit.
 */
export function checkedDecode(decoder: Decoder, payload: Uint8Array, limits: DecoderLimits): Uint8Array {
  let decoded: unknown;
  try {
    decoded = decoder.decode(payload);
  } catch (error) {
    throw decodeError(error);
  }
  if (!(decoded instanceof Uint8Array))
    throw new DecodeError('corrupt', 'the decoder made no bytes of a frame');
  if (decoded.length <= mostDecoded(limits, payload.length)) return decoded;
  throw new DecodeError('limit', `maxDecodedSize: a frame decodes to ${decoded.length} bytes`);
}

/** Frees a context; an error of its close() has nobody to go to. */
export function closeQuietly(context: { close(): void } | undefined): void {
  try {
    context?.close();
  } catch {
    // It is not used again.
  }
}

/** What it has thrown is not meant for the peer. */
function decodeError(error: unknown): DecodeError {
  if (error instanceof DecodeError) return error;
  return new DecodeError('corrupt', 'the decoder has failed', { cause: error });
}
