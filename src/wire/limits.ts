/** Limits on everything that a peer can make us hold (protocol.md, B-limits). Passing one names it in the error. */
export interface Limits {
  /** Payload bytes of one frame on the wire. */
  maxPayload: number;
  /** Bytes of a command's name. */
  maxCommandName: number;
  /** Arguments of one command. */
  maxArguments: number;
  /** Bytes of all argument names and values of one command. */
  maxArgumentBytes: number;
  /** Requests being received or running on one connection. */
  maxConcurrentRequests: number;
  /** Open incoming streams of one connection. */
  maxIncomingStreams: number;
  /** Bytes that one encoded frame may decode to. */
  maxDecodedSize: number;
  /** Above 64 KiB: decoded bytes per byte on the wire of one frame. */
  maxDecodedRatio: number;
  /** Bytes of window that a peer's encoder may ask of our decoder. */
  maxWindowSize: number;
  /** Milliseconds that a peer may pause in the middle of a frame or of a command. */
  idleTimeout: number;
  /** Bytes of output that one connection may hold before its handlers wait. */
  maxBufferedOutput: number;
  /** Bytes of command data that one connection may hold before we stop reading. */
  maxBufferedInput: number;
  /** Empty command-data frames in a row. */
  maxEmptyDataFrames: number;
  /** Stream begins per second. */
  maxStreamBegins: number;
}

export const DEFAULT_LIMITS: Readonly<Limits> = {
  maxPayload: 65_535,
  maxCommandName: 255,
  maxArguments: 128,
  maxArgumentBytes: 1 << 20,
  maxConcurrentRequests: 128,
  maxIncomingStreams: 16,
  maxDecodedSize: 1 << 20,
  maxDecodedRatio: 1000,
  maxWindowSize: 8 << 20,
  idleTimeout: 30_000,
  maxBufferedOutput: 16 << 20,
  maxBufferedInput: 1 << 20,
  maxEmptyDataFrames: 100,
  maxStreamBegins: 1000,
};
