/** Limits on everything that a peer can make us hold or do (protocol B-limits). Passing one names it in the error. */

import { ProtocolError } from './errors.ts';

export interface Limits {
  /** Payload bytes of one frame on the wire; default 65 535. */
  maxPayload: number;
  /** Bytes of a command's name; default 255. */
  maxCommandName: number;
  /** Arguments of one command; default 128. */
  maxArguments: number;
  /** Bytes of all argument names and values of one command; default 1 MiB. */
  maxArgumentBytes: number;
  /**
   * Bytes of the arguments of all commands that are being received or running on one connection, and of cancelled ones
   * until their handler has really ended; default 16 MiB.
   */
  maxHeldArgumentBytes: number;
  /**
   * Requests being received or running on one connection; default 128. A cancelled request counts until its handler
   * has really ended.
   */
  maxConcurrentRequests: number;
  /** Open incoming streams of one connection; default 16. */
  maxIncomingStreams: number;
  /** Bytes that one encoded frame may decode to; default 1 MiB. */
  maxDecodedSize: number;
  /** Above 64 KiB: decoded bytes per byte on the wire of one frame; default 1 000. */
  maxDecodedRatio: number;
  /** Bytes of window that a peer's encoder may ask of our decoder; default 8 MiB. */
  maxWindowSize: number;
  /** Milliseconds that a peer may pause in the middle of a frame or of a command; default 30 000. */
  idleTimeout: number;
  /** Milliseconds from the first byte of a frame to its last, however it trickles; default 60 000. */
  frameTimeout: number;
  /** Milliseconds from a command's name to the end of its arguments, however they trickle; default 60 000. */
  commandTimeout: number;
  /** Bytes of output that one connection may hold before its handlers wait; default 16 MiB. */
  maxBufferedOutput: number;
  /**
   * Bytes of command data that one connection may hold before we stop reading, where the client does not speak
   * `data-credit`; for all, of frames that wait for a decoder; default 1 MiB.
   */
  maxBufferedInput: number;
  /** Bytes of one request's command data that a client may send before its handler reads (protocol C4); default 512 KiB. */
  maxRequestData: number;
  /** The same for all requests of a connection together; default 16 MiB. */
  maxConnectionData: number;
  /** Bytes of one message that is published to a topic (protocol C10), at most 2^30; default 1 MiB. */
  maxMessageBytes: number;
  /**
   * Bytes of a topic's messages that are kept for subscribers which do not take them, once for all of these; who is further
   * behind has lost some (protocol C10); default 4 MiB.
   */
  maxTopicBacklog: number;
  /** Empty frames of command data, or of an argument that goes on, in a row; default 100. */
  maxEmptyDataFrames: number;
  /** Stream begins per second; default 1 000. */
  maxStreamBegins: number;
  /** Pings, or replies to ours, per second; default 10 000. Our client sends one for every 256 KiB of data. */
  maxPings: number;
  /** Credit frames per second; default 10 000. */
  maxCredits: number;
  /** Cancel frames per second; default 1 000. */
  maxCancels: number;
  /** Least `maxFrameSize` that a peer may announce: smaller frames cost more than they carry; default 256. */
  minFrameSize: number;
  /**
   * Milliseconds that a connection may take for the first 3 bytes, which tell frames from HTTP, once it has sent one
   * (protocol C8), and for the head of an HTTP request; default 10 000.
   */
  openingTimeout: number;
  /** Bytes of one WebSocket message, which is one or more whole frames (protocol C7), at least 61 440; default 1 MiB. */
  maxMessage: number;
  /** Bytes of the head of one HTTP request; default 16 KiB. */
  maxRequestHead: number;
  /** Bytes of the body of one HTTP request; default 1 GiB. One of arguments in JSON: `maxArgumentBytes`. */
  maxBody: number;
}

export const DEFAULT_LIMITS: Readonly<Limits> = {
  maxPayload: 65_535,
  maxCommandName: 255,
  maxArguments: 128,
  maxArgumentBytes: 1 << 20,
  maxHeldArgumentBytes: 16 << 20,
  maxConcurrentRequests: 128,
  maxIncomingStreams: 16,
  maxDecodedSize: 1 << 20,
  maxDecodedRatio: 1000,
  maxWindowSize: 8 << 20,
  idleTimeout: 30_000,
  frameTimeout: 60_000,
  commandTimeout: 60_000,
  maxBufferedOutput: 16 << 20,
  maxBufferedInput: 1 << 20,
  maxRequestData: 512 << 10,
  maxConnectionData: 16 << 20,
  maxMessageBytes: 1 << 20,
  maxTopicBacklog: 4 << 20,
  maxEmptyDataFrames: 100,
  maxStreamBegins: 1000,
  maxPings: 10_000,
  maxCredits: 10_000,
  maxCancels: 1000,
  minFrameSize: 256,
  openingTimeout: 10_000,
  maxMessage: 1 << 20,
  maxRequestHead: 16 << 10,
  maxBody: 1 << 30,
};

/** The error of a peer that has passed the limit `name` (protocol B9). */
export function overLimit(name: keyof Limits, what: string): ProtocolError {
  return new ProtocolError('limit', `${name}: ${what}`);
}

/**
 * What small things cost beside their bytes, in bytes: a frame or a piece of data that has to be kept also takes an
 * object or two, so a flood of tiny ones counts as what it is.
 */
export const PIECE_COST = 256;
