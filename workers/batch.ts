/**
 * The batch layout: the one place where the main thread and a lane meet. Both sides import this file and nothing
 * else of each other.
 *
 * A batch is an ArrayBuffer that is transferred, never shared, and comes back empty to be filled again. Payloads grow
 * from its front; fixed-size records, one per payload, grow from its back:
 *
 *     | count u32 | end u32 | payload 0 | payload 1 | …  free  … | record 1 | record 0 |
 *
 * so a run of finished frames lies in one piece and goes to the socket as one.
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
  /** Number of the encoder as what may end the thread (trace.ts). */
  suspect: number;
}

/** Payload of `openShared`. */
export interface SharedSetup
  extends Pick<EncoderSetup, 'profile' | 'level' | 'windowLog' | 'tuning' | 'dictionary' | 'suspect'> {
  /** What makes payloads that stand alone; missing: nothing does. */
  alone?: Pick<EncoderSetup, 'level' | 'windowLog' | 'tuning' | 'dictionary' | 'contextFree'>;
}

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
  /** Heap and external memory of the thread, in bytes. */
  memoryBytes: number;
}

/**
 * Records after which a batch leaves although more are at hand. Small ones come by the hundred: were they all to travel
 * together, each thread would wait while another works.
 */
export const EARLY_RECORDS = 32;

/** Empty batches that a lane keeps for what it makes next. */
export const SPARE_BATCHES = 4;

/** Bytes of a recycled batch. */
export const BATCH_SIZE = 512 * 1024;

const PREFIX = 8;
const RECORD_WORDS = 6;
const RECORD_BYTES = RECORD_WORDS * 4;

/** Buffers come in whole words, so that records are aligned. */
function roundUp(bytes: number): number {
  return (bytes + 3) & ~3;
}

/**
 * Gives the memory of a batch back at once. A collector sees a small object and is in no hurry: a lane that has nothing
 * to do any more would keep some hundred of them.
 */
export function freeBatch(batch: ArrayBuffer): void {
  batch.transfer(0);
}

/** Fills one batch. */
export class BatchWriter {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #words: Uint32Array;
  #count = 0;
  #end = PREFIX;

  /** Takes a recycled buffer, or a new one with room for at least one payload of `room` bytes. */
  constructor(buffer: ArrayBuffer) {
    this.bytes = new Uint8Array(buffer);
    this.#words = new Uint32Array(buffer);
  }

  static allocate(room = 0): ArrayBuffer {
    return new ArrayBuffer(Math.max(BATCH_SIZE, roundUp(PREFIX + room + RECORD_BYTES)));
  }

  get empty(): boolean {
    return this.#count === 0;
  }

  /** Records so far. */
  get count(): number {
    return this.#count;
  }

  /** Where the next payload begins. */
  get end(): number {
    return this.#end;
  }

  /** Whether a payload of `length` bytes and its record still fit. */
  fits(length: number): boolean {
    return this.#end + length + (this.#count + 1) * RECORD_BYTES <= this.bytes.length;
  }

  /**
   * Adds a record for `length` payload bytes that the caller has written, or will write, at {@link end}. `op` and `flags`
   * have 8 bits, `type` 16, the others 32.
   */
  add(
    op: number,
    slot: number,
    requestId: number,
    type: number,
    flags: number,
    length: number,
    extra = 0,
  ): void {
    const words = this.#words;
    this.#count++;
    const at = words.length - this.#count * RECORD_WORDS;
    words[at] = op | (flags << 8) | (type << 16);
    words[at + 1] = slot;
    words[at + 2] = requestId;
    words[at + 3] = this.#end;
    words[at + 4] = length;
    words[at + 5] = extra;
    this.#end += length;
  }

  /** The filled buffer, ready to be transferred; the writer must not be used afterwards. */
  finish(): ArrayBuffer {
    this.#words[0] = this.#count;
    this.#words[1] = this.#end;
    return this.bytes.buffer;
  }
}

/** Reads one batch: `while (reader.next()) …`, the fields being those of the current record. */
export class BatchReader {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #words: Uint32Array;
  readonly #count: number;
  #index = 0;
  op = 0;
  type = 0;
  flags = 0;
  slot = 0;
  requestId = 0;
  offset = 0;
  length = 0;
  extra = 0;

  constructor(buffer: ArrayBuffer) {
    this.bytes = new Uint8Array(buffer);
    this.#words = new Uint32Array(buffer);
    this.#count = this.#words[0];
  }

  next(): boolean {
    if (this.#index >= this.#count) return false;
    this.#index++;
    const words = this.#words;
    const at = words.length - this.#index * RECORD_WORDS;
    const head = words[at];
    this.op = head & 0xff;
    this.flags = (head >>> 8) & 0xff;
    this.type = head >>> 16;
    this.slot = words[at + 1];
    this.requestId = words[at + 2];
    this.offset = words[at + 3];
    this.length = words[at + 4];
    this.extra = words[at + 5];
    return true;
  }

  /** The current record's payload, a view that is gone when the buffer is given back. */
  get payload(): Uint8Array {
    return this.bytes.subarray(this.offset, this.offset + this.length);
  }
}

/** Several byte strings in one payload: u32 count, u32 lengths, then the strings. */
export function packPieces(pieces: readonly Uint8Array[]): Uint8Array {
  const packed = new Uint8Array(packedSize(pieces));
  writePieces(packed, 0, pieces);
  return packed;
}

/** Bytes that {@link packPieces} makes of them. */
export function packedSize(pieces: readonly Uint8Array[]): number {
  let size = 4 + 4 * pieces.length;
  for (const { length } of pieces) size += length;
  return size;
}

/** {@link packPieces} into `target` at `at`, where there is room. */
export function writePieces(target: Uint8Array, at: number, pieces: readonly Uint8Array[]): void {
  writeUint32(target, at, pieces.length);
  let head = at + 4;
  let offset = head + 4 * pieces.length;
  for (const piece of pieces) {
    writeUint32(target, head, piece.length);
    target.set(piece, offset);
    head += 4;
    offset += piece.length;
  }
}

/** Little-endian; a DataView for one number would cost more than the number. */
function writeUint32(target: Uint8Array, at: number, value: number): void {
  target[at] = value;
  target[at + 1] = value >>> 8;
  target[at + 2] = value >>> 16;
  target[at + 3] = value >>> 24;
}

/** The byte strings of {@link packPieces}, copied out of the batch. */
export function unpackPieces(packed: Uint8Array): Uint8Array[] {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const count = view.getUint32(0, true);
  const pieces: Uint8Array[] = [];
  let offset = 4 + 4 * count;
  for (let i = 0; i < count; i++) {
    const length = view.getUint32(4 + 4 * i, true);
    pieces.push(packed.slice(offset, offset + length));
    offset += length;
  }
  return pieces;
}

/** What tells a call from others. */
export interface CallIdentity {
  /** The request's number within its connection, 0 … 2^53. */
  readonly serial: number;
  /** The call's mark on its lane, and its command's number as what may end the thread (trace.ts). */
  readonly mark: number;
  readonly suspect: number;
}

const identity = new Uint8Array(16);
const identityView = new DataView(identity.buffer);

/** The bytes are those of the next identity, too: to be copied at once. */
export function packIdentity({ serial, mark, suspect }: CallIdentity): Uint8Array {
  identityView.setFloat64(0, serial);
  identityView.setUint32(8, mark);
  identityView.setUint32(12, suspect);
  return identity;
}

export function unpackIdentity(packed: Uint8Array): CallIdentity {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  return { serial: view.getFloat64(0), mark: view.getUint32(8), suspect: view.getUint32(12) };
}

const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder('utf-8', { ignoreBOM: true });

/** What the peer is told when a call is stopped; nothing for undefined. */
export function packFailure(failure: { code: string; message: string } | undefined): Uint8Array {
  return utf8.encode(failure === undefined ? '' : `${failure.code}\0${failure.message}`);
}

/** The other way round. */
export function unpackFailure(packed: Uint8Array): { code: string; message: string } | undefined {
  const text = fromUtf8.decode(packed);
  const end = text.indexOf('\0');
  return end < 0 ? undefined : { code: text.slice(0, end), message: text.slice(end + 1) };
}
