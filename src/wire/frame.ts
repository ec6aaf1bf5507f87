/**
 * The frame: an 8-byte header and a payload (protocol A1, A2). Everything here is little endian.
 *
 * This module knows bytes and names of fields, nothing of streams, requests or contexts.
 */

/** Bytes of a frame header (protocol A1). */
export const HEADER_SIZE = 8;

/** Largest payload length that the header's u24 can say. */
export const MAX_PAYLOAD_LENGTH = 0xff_ffff;

/** Largest payload that we emit before encoding unless told otherwise, in bytes (protocol A1). */
export const DEFAULT_FRAME_SIZE = 32_768;

/** `frameSize`, or less: what fits the `maxFrameSize` that a peer has announced (protocol C2) once it is encoded, whatever it is. */
export function frameSizeWithin(maxFrameSize: number | undefined, frameSize: number): number {
  if (maxFrameSize === undefined) return frameSize;
  const roomForEncoding = maxFrameSize - (maxFrameSize >> 7) - 128;
  return Math.max(1, Math.min(frameSize, roomForEncoding));
}

/** Frame types, the high nibble of header byte 7 (protocol A2; 7 and 9–14 are extensions, protocol C). */
export const FrameType = {
  commandName: 1,
  commandArgument: 2,
  commandData: 3,
  bytesResponse: 4,
  errorResponse: 5,
  textOutput: 6,
  progress: 7,
  streamSettings: 8,
  senderSettings: 9,
  cancel: 10,
  credit: 11,
  ping: 12,
  goaway: 13,
  dictionaryHeld: 14,
} as const;

/** Stream flags, header byte 6 (protocol A1). */
export const StreamFlag = { begin: 0x01, end: 0x02, encoded: 0x04 } as const;

/** Flags of a command-name frame (protocol A2). */
export const CommandNameFlag = { eos: 1, haveArgs: 2, haveData: 4 } as const;
/** Flags of a command-argument frame (protocol A2). */
export const CommandArgumentFlag = { continuation: 1, eoa: 2 } as const;
/** Flags of a command-data frame (protocol A2). */
export const CommandDataFlag = { continuation: 1, eos: 2 } as const;
/** Flags of a bytes-response frame; exactly one is set (protocol A2). */
export const BytesResponseFlag = { continuation: 1, eos: 2 } as const;
/** Flags of an error-response frame; exactly one is set (protocol A2, B5). */
export const ErrorResponseFlag = { protocol: 1, application: 2 } as const;
/** Flags of a ping frame (protocol C). */
export const PingFlag = { reply: 1 } as const;

/** The fields of a header, without the payload. */
export interface FrameHeader {
  /** Payload bytes on the wire, 0 … 16 777 215. */
  readonly length: number;
  /** 0 … 65 535; 0 for frames that belong to no request (protocol C1). */
  readonly requestId: number;
  /** 0 … 255; odd: sent by the client, even: by the server. */
  readonly streamId: number;
  /** Bits of {@link StreamFlag}. */
  readonly streamFlags: number;
  /** One of {@link FrameType}, or a number 0 … 15 that we do not know. */
  readonly type: number;
  /** 0 … 15, meaning depends on the type. */
  readonly flags: number;
}

/** One whole frame. */
export interface Frame extends Omit<FrameHeader, 'length'> {
  /** The payload as it is on the wire: encoded where the stream flag says so. */
  readonly payload: Uint8Array;
}

/**
 * Writes a header at `offset` of `target`, which must have {@link HEADER_SIZE} bytes of room there.
 * Fields are cut to their width without complaint; {@link encodeFrame} is the checked way (protocol A1).
 */
export function writeHeader(
  target: Uint8Array,
  offset: number,
  length: number,
  requestId: number,
  streamId: number,
  streamFlags: number,
  type: number,
  flags: number,
): void {
  target[offset] = length;
  target[offset + 1] = length >>> 8;
  target[offset + 2] = length >>> 16;
  target[offset + 3] = requestId;
  target[offset + 4] = requestId >>> 8;
  target[offset + 5] = streamId;
  target[offset + 6] = streamFlags;
  target[offset + 7] = (type << 4) | (flags & 0x0f);
}

/** Reads the header at `offset`; the caller has made sure that {@link HEADER_SIZE} bytes are there (protocol A1). */
export function readHeader(bytes: Uint8Array, offset = 0): FrameHeader {
  return {
    length: bytes[offset] + bytes[offset + 1] * 0x100 + bytes[offset + 2] * 0x1_0000,
    requestId: bytes[offset + 3] + bytes[offset + 4] * 0x100,
    streamId: bytes[offset + 5],
    streamFlags: bytes[offset + 6],
    type: bytes[offset + 7] >>> 4,
    flags: bytes[offset + 7] & 0x0f,
  };
}

/**
 * One frame as bytes (protocol A1).
 * @throws RangeError when a field does not fit its width.
 */
export function encodeFrame(frame: Frame): Uint8Array<ArrayBuffer> {
  const { payload, requestId, streamId, streamFlags, type, flags } = frame;
  checkField('payload length', payload.length, MAX_PAYLOAD_LENGTH);
  checkField('request ID', requestId, 0xffff);
  checkField('stream ID', streamId, 0xff);
  checkField('stream flags', streamFlags, 0xff);
  checkField('type', type, 0x0f);
  checkField('flags', flags, 0x0f);
  const bytes = new Uint8Array(HEADER_SIZE + payload.length);
  writeHeader(bytes, 0, payload.length, requestId, streamId, streamFlags, type, flags);
  bytes.set(payload, HEADER_SIZE);
  return bytes;
}

function checkField(name: string, value: number, max: number): void {
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw new RangeError(`${name} ${value} is not a whole number from 0 to ${max}`);
  }
}
