/** Fields of payloads that more than one layout has: little-endian u16, checked sizes (protocol A2, A3, C). */

import { ProtocolError } from './errors.ts';

/** The u16 at `offset`; the caller has made sure that two bytes are there. */
export function readU16(bytes: Uint8Array, offset: number): number {
  return bytes[offset] | (bytes[offset + 1] << 8);
}

/** Writes a u16, cut to its width without complaint. */
export function writeU16(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value;
  bytes[offset + 1] = value >>> 8;
}

/** @throws RangeError when `size`, ours to choose, is not a whole number from 0 to `max`. */
export function checkSize(what: string, size: number, max: number): void {
  if (!Number.isInteger(size) || size < 0 || size > max) {
    throw new RangeError(`${what}: ${size} is not a whole number from 0 to ${max}`);
  }
}

/** The error for a payload that is not laid out as its type says. */
export function badPayload(message: string): ProtocolError {
  return new ProtocolError('bad-payload', message);
}
