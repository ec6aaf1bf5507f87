/**
 * What the main thread and a lane say to each other: by the records of a batch, with their flags and payloads, and by
 * messages beside them.
 */

/** What a record asks for. Main thread → lane up to 31, lane → main thread from 32. */
export const Op = {
  /** Payload: JSON {@link EncoderSetup}. Slot gets an encoder, in place of the one that it may have: the stream begins afresh. */
  openEncoder: 1,
  /** Payload is encoded on the slot and comes back as `frame`. */
  encode: 2,
  /** Payload goes out on the slot's stream as it is, in order with the encoded ones. */
  pass: 3,
  /** Frees the slot; answered by `closed`. */
  close: 4,
  /** Payload: JSON {@link DecoderSetup}. */
  openDecoder: 5,
  /** Payload is decoded on the slot; answered by `decoded` or `failed`, in order. */
  decode: 6,
  /**
   * Runs a handler whose output is encoded on the slot. Type: the handler's index; flags: {@link CallFlag}; extra:
   * the first grant; payload: {@link packPieces} of command, {@link packIdentity}, name, value, name, value … and perhaps
   * the input, by node:v8
   */
  call: 7,
  /** Payload: a piece of the call's command data; flags 1: the last. */
  callData: 8,
  /** Stops a call; payload: {@link packFailure}. Answered by `callEnded`. */
  callCancel: 9,
  /** extra: response bytes that the call may send on. */
  callGrant: 10,
  /** Answer to `lookup`; flags: a {@link LookupAnswer}. */
  lookupAnswer: 11,
  /** Payload is compressed whole, at the level in flags or the cache's (0); request ID: a token; answered by `pieces`. */
  compress: 12,
  /** The slot's stream ends with the last frame of the next response that ends on it, and then begins afresh. */
  renew: 13,
  /** Answer to `wantRoom`: the call may send as much again beside its bytes. */
  callRoom: 14,
  /** Whose calls those are that follow on the slot; payload: {@link packPieces} of remote, connection ID, principal. */
  caller: 15,
  /** Answer to `unencoded`: nothing more is handed in for that response. */
  failureSeen: 16,
  /** The server has begun to drain; payload: why, in UTF-8. */
  callDrain: 17,
  /** Payload: JSON {@link SharedSetup}. Slot gets an encoder whose payloads go to many connections; answered by `sharedSettings`. */
  openShared: 24,
  /** Payload is encoded on the slot, as {@link SharedFlag} says; answered by `shared`, in order. */
  share: 25,

  /** A finished frame, header included; extra: payload bytes before encoding. Flags: {@link FrameFlag}. */
  frame: 32,
  /** The slot is free: its context is, and the code of its calls has ended. */
  closed: 33,
  /** Decoded bytes of the slot's oldest undecoded frame. */
  decoded: 34,
  /**
   * The slot's oldest undecoded frame cannot be decoded; payload: {@link packPieces} of why, for the peer and for the
   * server's log; flags 1: a limit was passed.
   */
  failed: 35,
  /** A call wants to send `extra` more bytes than it has been granted. */
  want: 36,
  /**
   * A call yields cached output, flags 1: as its end; payload: the key; extra: what is left of its grant, which it gives
   * back. Answered by `lookupAnswer`.
   */
  lookup: 37,
  /**
   * A whole compressed for the cache; payload: {@link packPieces}; extra: its bytes before. Slot and request ID are
   * the call's, or those of the `compress` record. Flags 1: there are none, producing it failed.
   */
  pieces: 38,
  /** A call has read some of its command data; extra: how many bytes. */
  dataRead: 39,
  /**
   * A handler, or without a command an encoder, threw something that was not meant for the peer; payload: {@link packPieces} of its command and of the
   * JSON of an `ErrorText` for the server's log. Its response may be over, and the request ID another's.
   */
  report: 40,
  /** The answer to every `callCancel`: the call's code has ended. */
  callEnded: 41,
  /** A call has sent as much text and progress as it may; it waits for `callRoom`. */
  wantRoom: 42,
  /**
   * Instead of a frame: its encoder has failed, and so has the response. Extra: payload bytes; flags: {@link FrameFlag}.beside
   * or 0, and {@link FrameFlag}.last for the first of a response. Those that come after it are not encoded either.
   */
  unencoded: 43,
  /** The call's response is an error, whose frame follows; payload: its code. */
  callFailed: 48,
  /** Payload: what a stream says of itself that carries the payloads of the slot (protocol A5). */
  sharedSettings: 56,
  /** A payload without a header; flags: those of the `share` record, and {@link SharedFlag}.failed where there is none. */
  shared: 57,
} as const;

/** Flags of a `share` record, and of its answer. */
export const SharedFlag = {
  /** The payload begins an epoch: the decoder needs to know of nothing that came before it. */
  begins: 1,
  /** The payload ends an epoch. */
  ends: 2,
  /** The payload stands alone: no other is needed to decode it. */
  alone: 4,
  /** It could not be encoded, nor can what comes after it in its epoch. */
  failed: 8,
} as const;

/** Most handlers that a lane knows: a `call` record names its handler by index, in the 16 bits of `type`. */
export const MAX_HANDLERS = 2 ** 16;

/** Flags of a `frame` record. */
export const FrameFlag = {
  /** The frame ends its response. */
  last: 1,
  /** The frame ends its stream. */
  endsStream: 2,
  /** The frame is a call's: its bytes were granted, not handed in. */
  call: 4,
  /** The frame went beside the response's bytes and has used up no credit. */
  beside: 8,
} as const;

/** Flags of a `call` record. */
export const CallFlag = {
  /** Command data follows. */
  data: 1,
  /** The peer takes progress frames. */
  progress: 2,
  /** The peer takes error codes. */
  errorCodes: 4,
  /** The peer takes error codes and data. */
  errorData: 8,
} as const;

/** What a call should do with cached output. */
export const LookupAnswer = {
  /** The main thread has spliced it; go on. */
  spliced: 0,
  /** Produce it and send it compressed as `pieces`; the answer to those is `spliced` or `stream`. */
  produce: 1,
  /** Produce it and send it on the slot like any bytes. */
  stream: 2,
} as const;

/** Payload of `openEncoder`. */
export interface EncoderSetup {
  streamId: number;
  /** `identity` for a stream that runs calls and encodes nothing. */
  profile: string;
  /** Most payload bytes of one frame before encoding. */
  frameSize: number;
  /** The last frame of a response ends the stream. */
  perRequest: boolean;
  level?: number;
  windowLog?: number;
  tuning?: 'records';
  /** ID of the dictionary, one of the lane's. */
  dictionary?: string;
  /** No context of its own: one encoder does for all slots that want the same. */
  contextFree?: boolean;
  /** What the beginning of the stream may be encoded with, without a context: its own is then made late (beginnings.ts). */
  early?: SharedShape;
  /** Number of the encoder as what may end the thread (trace.ts). */
  suspect: number;
}

/** Payload of `openShared`. */
export interface SharedSetup extends Pick<EncoderSetup, 'profile' | 'suspect'> {
  /** What makes payloads that share a context; missing: there is no room for one. */
  kept?: SharedShape;
  /** What makes payloads that stand alone; missing: nothing does. */
  alone?: SharedShape;
}

type SharedShape = Pick<EncoderSetup, 'level' | 'windowLog' | 'tuning' | 'dictionary' | 'contextFree'>;

/** Payload of `openDecoder`. */
export interface DecoderSetup {
  profile: string;
  settings: number[];
  maxDecodedSize: number;
  maxDecodedRatio: number;
  maxWindowSize: number;
  /** Number of the decoder as what may end the thread (trace.ts). */
  suspect: number;
}

/** What crosses the MessagePort, in either direction. */
export interface LaneMessage {
  /** A filled batch. */
  batch?: ArrayBuffer;
  /** Main thread → lane: others were sent before it, and the thread is not about to be done with them. */
  isBehind?: boolean;
  /** An emptied batch of the main thread's, on its way home. */
  spare?: ArrayBuffer;
  /** Main thread → lane: emptied batches of the lane's. */
  spares?: ArrayBuffer[];
  /** Main thread → lane: report figures / give a sign of life / load all handlers / end the lane. */
  ask?: 'stats' | 'beat' | 'load' | 'end';
  /** Lane → main thread: a sign of life, with the ID of the thread. */
  alive?: number;
  stats?: LaneStats;
  /** Lane → main thread: what is wrong with the handlers' modules; empty: they are loaded. */
  loaded?: string;
}

/** Figures of one lane since it opened. */
export interface LaneStats {
  /** CPU seconds of the thread. */
  cpuSeconds: number;
  /** Seconds that its event loop was at work. */
  busySeconds: number;
  /** Seconds inside encoders and decoders, by slot, for slots still open. */
  slots: { slot: number; seconds: number }[];
  /** Response streams that go without their context as yet. */
  early: number;
  /** Heap and external memory of the thread, in bytes. */
  memoryBytes: number;
}
