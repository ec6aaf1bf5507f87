/**
 * Bytes in, whole frames out (protocol A1). Knows lengths and, but for settings, nothing else: what a frame means, and
 * whether it may come now, is for the reactor.
 */

import { ProtocolError } from './errors.ts';
import { MAX_SENDER_SETTINGS } from './extensions.ts';
import { type Frame, FrameType, HEADER_SIZE, readHeader } from './frame.ts';

export interface SplitterOptions {
  /** Payload bytes on the wire that one frame may have (protocol B-limits); see {@link Splitter.maxPayload}. */
  readonly maxPayload: number;
  /** Called with each whole frame, in order. Returning false stops the splitter for good. */
  onFrame(frame: Frame): boolean | void;
}

/** Bytes of a header that say how long the payload is. */
const LENGTH_SIZE = 3;
/** Smallest buffer for the payload of a frame that comes in several chunks, in bytes. */
const MIN_GATHER = 1024;
/**
 * Room taken for each byte that has come. With 4, a 32 KiB payload in chunks of 16 KiB is copied once (6 µs; with 2
 * twice, 12 µs), and a peer pins at most four times what it sent.
 */
const GATHER_GROWTH = 4;

const EMPTY = new Uint8Array(0);

/**
 * Cuts a connection's incoming bytes into frames.
 *
 * A payload that lies within one chunk is a view of that chunk, so a chunk must not be reused while its frames
 * are. A payload that comes in pieces is gathered in a buffer of its own which grows with the bytes that really
 * came: a header alone pins no memory, whatever length it claims.
 */
export class Splitter {
  /** Payload bytes that one frame may have from here on; may be changed between frames (protocol C2). */
  maxPayload: number;

  readonly #owner: SplitterOptions;
  #stopped = false;
  #held = false;

  /** Start of a header of which `#headerFilled` bytes have come; all of it while a payload is gathered. */
  readonly #header = new Uint8Array(HEADER_SIZE);
  #headerFilled = 0;
  /** The first `#payloadFilled` bytes of the payload that belongs to `#header`. */
  #payload: Uint8Array<ArrayBuffer> = EMPTY;
  #payloadFilled = 0;

  constructor(options: SplitterOptions) {
    this.maxPayload = options.maxPayload;
    this.#owner = options;
  }

  /** Whether the bytes so far end inside a frame. */
  get midFrame(): boolean {
    return this.#headerFilled > 0;
  }

  /** Bytes of memory for the payload that is not whole yet: as much as has come, and some room. */
  get held(): number {
    return this.#payload.length;
  }

  /**
   * Takes the next bytes and hands on every frame that they complete, unless it is held. Returns how many it has taken:
   * what is left is to be pushed again, before anything else. After an error, or after `onFrame` returned false or threw,
   * this and all later input is dropped.
   * @throws ProtocolError `limit` when a frame's payload is longer than {@link maxPayload}, settings longer than 4 096 bytes as well.
   */
  push(chunk: Uint8Array): number {
    if (this.#stopped) return chunk.length;
    this.#held = false;
    // Whatever throws below leaves the splitter stopped: after an error no later frame may be accepted.
    this.#stopped = true;
    const taken = this.#split(chunk);
    this.#stopped = taken < 0;
    return this.#stopped ? chunk.length : taken;
  }

  /** For `onFrame`: no frame but this one is to be handed on until the next {@link push}. */
  hold(): void {
    this.#held = true;
  }

  /**
   * Says that no more bytes will come.
   * @throws ProtocolError `truncated-header` or `truncated-payload` when they end inside a frame, `limit` when they end inside
   *   what is none: the length that it begins with is over {@link maxPayload}.
   */
  finish(): void {
    if (this.#stopped || this.#headerFilled === 0) return;
    this.#stopped = true;
    if (this.#headerFilled < HEADER_SIZE) {
      const length = this.#headerFilled < LENGTH_SIZE ? 0 : payloadLength(this.#header, 0);
      if (length > this.maxPayload) throw tooLong('frame', length, this.maxPayload);
      const got = `${this.#headerFilled} of ${HEADER_SIZE} bytes`;
      throw new ProtocolError('truncated-header', `input ends inside a frame header, after ${got}`);
    }
    const got = `${this.#payloadFilled} of ${payloadLength(this.#header, 0)} bytes`;
    throw new ProtocolError('truncated-payload', `input ends inside a frame's payload, after ${got}`);
  }

  /** Returns how many bytes of `chunk` were taken, −1 to stop. */
  #split(chunk: Uint8Array): number {
    let offset = 0;
    if (this.#headerFilled > 0) {
      offset = this.#resume(chunk);
      if (offset < 0 || this.#held) return offset;
    }
    while (chunk.length - offset >= HEADER_SIZE) {
      const end = offset + HEADER_SIZE + this.#checkedLength(chunk, offset);
      if (end > chunk.length) break;
      if (this.#deliver(chunk, offset, view(chunk, offset + HEADER_SIZE, end)) === false) return -1;
      offset = end;
      if (this.#held) return offset;
    }
    this.#keep(chunk, offset);
    return chunk.length;
  }

  /** Completes the frame that earlier chunks began; returns where in `chunk` it ends, −1 to stop. */
  #resume(chunk: Uint8Array): number {
    let offset = 0;
    if (this.#headerFilled < HEADER_SIZE) {
      offset = this.#fillHeader(chunk, 0);
      if (this.#headerFilled < HEADER_SIZE) return offset;
      this.#checkedLength(this.#header, 0);
    }
    const missing = payloadLength(this.#header, 0) - this.#payloadFilled;
    const end = Math.min(offset + missing, chunk.length);
    if (this.#payloadFilled === 0 && end - offset === missing) {
      return this.#deliverKept(view(chunk, offset, end)) ? end : -1;
    }
    this.#gather(chunk, offset, end);
    if (end - offset < missing) return end;
    return this.#deliverKept(this.#payload) ? end : -1;
  }

  /** Delivers a frame with the kept header. Forgets it first: `onFrame` may ask for {@link midFrame}. */
  #deliverKept(payload: Uint8Array): boolean {
    this.#headerFilled = 0;
    this.#payload = EMPTY;
    this.#payloadFilled = 0;
    return this.#deliver(this.#header, 0, payload) !== false;
  }

  #deliver(header: Uint8Array, offset: number, payload: Uint8Array): boolean | void {
    return this.#owner.onFrame({
      requestId: header[offset + 3] | (header[offset + 4] << 8),
      streamId: header[offset + 5],
      streamFlags: header[offset + 6],
      type: header[offset + 7] >>> 4,
      flags: header[offset + 7] & 0x0f,
      payload,
    });
  }

  /** Keeps the start of a frame from `offset` to the chunk's end until the rest comes. */
  #keep(chunk: Uint8Array, offset: number): void {
    if (offset === chunk.length) return;
    const next = this.#fillHeader(chunk, offset);
    if (next < chunk.length) this.#gather(chunk, next, chunk.length);
  }

  /** Moves bytes into the header until it is whole or the chunk ends; returns where it stopped reading. */
  #fillHeader(chunk: Uint8Array, start: number): number {
    let offset = start;
    while (this.#headerFilled < HEADER_SIZE && offset < chunk.length) {
      this.#header[this.#headerFilled] = chunk[offset];
      this.#headerFilled += 1;
      offset += 1;
    }
    return offset;
  }

  #gather(chunk: Uint8Array, start: number, end: number): void {
    const filled = this.#payloadFilled + end - start;
    if (filled > this.#payload.length) this.#grow(filled);
    this.#payload.set(view(chunk, start, end), this.#payloadFilled);
    this.#payloadFilled = filled;
  }

  /** Makes room for `needed` bytes and some that will follow, never for more than the payload's length. */
  #grow(needed: number): void {
    const room = Math.max(GATHER_GROWTH * needed, MIN_GATHER);
    const grown = new Uint8Array(Math.min(room, payloadLength(this.#header, 0)));
    grown.set(view(this.#payload, 0, this.#payloadFilled), 0);
    this.#payload = grown;
  }

  /**
   * The payload length that the header at `offset` says, which is within the limit (protocol B9). Who sends settings knows no
   * limit of ours yet: they have one of their own (protocol C2).
   */
  #checkedLength(bytes: Uint8Array, offset: number): number {
    const length = payloadLength(bytes, offset);
    if (length > this.maxPayload) {
      const { type, requestId } = readHeader(bytes, offset);
      if (type !== FrameType.senderSettings || length > MAX_SENDER_SETTINGS)
        throw tooLong(`frame of type ${type} for request ${requestId}`, length, this.maxPayload);
    }
    return length;
  }
}

function tooLong(what: string, length: number, maxPayload: number): ProtocolError {
  const message = `${what} has a payload of ${length} bytes, the limit maxPayload is ${maxPayload}`;
  return new ProtocolError('limit', message);
}

function payloadLength(bytes: Uint8Array, offset: number): number {
  return bytes[offset] | (bytes[offset + 1] << 8) | (bytes[offset + 2] << 16);
}

/** Like subarray, but a plain Uint8Array also where the chunk is of a subclass. */
function view(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start);
}
