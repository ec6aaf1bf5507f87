/**
 * What is inside a payload, type by type (protocol A2, A3, C). Little endian throughout.
 *
 * Every decoder takes bytes that a hostile peer may have chosen and throws nothing but ProtocolError. Views that
 * it returns share memory with the payload. Every encoder throws RangeError for what the layout cannot hold.
 */

import { ProtocolError } from './errors.ts';
import { badPayload, checkSize, readU16, writeU16 } from './fields.ts';
import { decodeName } from './names.ts';
import { decodeAscii, isAscii } from './utf8.ts';

export * from './extensions.ts';
export * from './failure.ts';
export {
  decodeTextOutput,
  encodeTextOutput,
  encodeTextWithin,
  renderTextOutput,
  type TextAtom,
  TextOutputError,
  type TextOutputErrorCode,
} from './text-output.ts';
export { cutUtf8, decodeUtf8, encodeUtf8 } from './utf8.ts';

/** Bytes before an argument's name: u16 name length, u16 value length (protocol A2). */
export const ARGUMENT_HEADER_SIZE = 4;

/** Most bytes of an argument's name, and of its value (protocol A2). */
export const MAX_ARGUMENT_FIELD = 0xffff;

/** The first frame of an argument (protocol A2, B2). */
export interface ArgumentHead {
  readonly name: string;
  /** Bytes of the whole value, over all of the argument's frames: 0 … 65 535. */
  readonly valueLength: number;
  /** The part of the value that is in this frame. */
  readonly piece: Uint8Array;
}

/**
 * Payload of an argument's first frame (protocol B2): `valueLength` is that of the whole value, `piece` what this frame has
 * of it. Frames that follow are raw value bytes.
 * @throws RangeError when the name is not ASCII, a length does not fit a u16, or the piece is longer than the value.
 */
export function encodeArgumentHead(
  name: string,
  valueLength: number,
  piece: Uint8Array,
): Uint8Array<ArrayBuffer> {
  if (!isAscii(name)) throw new RangeError('argument name is not ASCII');
  checkSize('argument name', name.length, MAX_ARGUMENT_FIELD);
  checkSize('argument value', valueLength, MAX_ARGUMENT_FIELD);
  checkSize('piece of an argument value', piece.length, valueLength);
  const payload = new Uint8Array(ARGUMENT_HEADER_SIZE + name.length + piece.length);
  writeU16(payload, 0, name.length);
  writeU16(payload, 2, valueLength);
  for (let i = 0; i < name.length; i += 1) payload[ARGUMENT_HEADER_SIZE + i] = name.charCodeAt(i);
  payload.set(piece, ARGUMENT_HEADER_SIZE + name.length);
  return payload;
}

/**
 * The first frame of an argument (protocol A2, B2). `continued` says that the frame carries the continuation flag: only then
 * may a part of the value be missing.
 * @throws ProtocolError `bad-payload`, `partial-argument-name`, `bad-argument-name` or `partial-argument-value`
 * (the value is shorter or longer than announced).
 */
export function decodeArgumentHead(payload: Uint8Array, continued: boolean): ArgumentHead {
  if (payload.length < ARGUMENT_HEADER_SIZE) {
    throw badPayload(`command-argument payload of ${payload.length} bytes is shorter than its header`);
  }
  const valueStart = ARGUMENT_HEADER_SIZE + readU16(payload, 0);
  if (valueStart > payload.length) {
    throw new ProtocolError('partial-argument-name', 'argument name is longer than its frame');
  }
  const name = decodeName(payload, ARGUMENT_HEADER_SIZE, valueStart);
  if (name === undefined) throw new ProtocolError('bad-argument-name', 'argument name is not ASCII');
  const valueLength = readU16(payload, 2);
  const pieceLength = payload.length - valueStart;
  if (pieceLength > valueLength || (pieceLength < valueLength && !continued)) {
    throw new ProtocolError(
      'partial-argument-value',
      `argument value has ${pieceLength} bytes, not the ${valueLength} that were announced`,
    );
  }
  return { name, valueLength, piece: payload.subarray(valueStart) };
}

/** What a stream-settings frame says of the frames that follow it on its stream (protocol A2, B-profiles). */
export interface StreamSettings {
  /** Name of an encoding profile; whether we know it is for the registry to say. */
  readonly profile: string;
  /** Profile-specific bytes. */
  readonly bytes: Uint8Array;
}

/** @throws RangeError when the profile's name is not 0 … 255 ASCII characters. */
export function encodeStreamSettings(profile: string, bytes?: Uint8Array): Uint8Array<ArrayBuffer> {
  if (!isAscii(profile)) throw new RangeError('profile name is not ASCII');
  checkSize('profile name', profile.length, 0xff);
  const payload = new Uint8Array(1 + profile.length + (bytes?.length ?? 0));
  payload[0] = profile.length;
  for (let i = 0; i < profile.length; i += 1) payload[1 + i] = profile.charCodeAt(i);
  if (bytes !== undefined) payload.set(bytes, 1 + profile.length);
  return payload;
}

/** @throws ProtocolError `bad-payload` when the profile's name is cut off or not ASCII. */
export function decodeStreamSettings(payload: Uint8Array): StreamSettings {
  const nameEnd = 1 + (payload[0] ?? 0);
  if (nameEnd > payload.length) throw badPayload('stream-settings payload ends before the profile name does');
  const profile = decodeAscii(payload, 1, nameEnd);
  if (profile === undefined) throw badPayload('stream-settings: profile name is not ASCII');
  return { profile, bytes: payload.subarray(nameEnd) };
}
