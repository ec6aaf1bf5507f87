/**
 * Encoders and decoders over a compression library that works from buffer to buffer. node:zlib's handles, minizlib
 * and pako each become a {@link Context}; flushing, limits and the checks that no library makes are here, once.
 */

import { DecodeError, type Decoder, type DecoderLimits, type Encoder, FINISH_BOUND } from './codec.ts';
import { Output } from './output.ts';

/** One long-lived context of a compression library, synchronous, as z_stream and ZSTD_CStream have it. */
export interface Context {
  /** Input bytes that the last write() left unread. */
  readonly inputLeft: number;
  /** Output bytes that the last write() left free; 0 means that there may be more output to fetch. */
  readonly roomLeft: number;
  /**
   * Works on `length` bytes of `input` at `offset`, into `room` bytes of `output` at `outputOffset`.
   * @throws Error when the library refuses the input; only close() may follow.
   */
  write(
    flush: number,
    input: Uint8Array,
    offset: number,
    length: number,
    output: Uint8Array,
    outputOffset: number,
    room: number,
  ): void;
  /** Frees the context's memory now. Called once. */
  close(): void;
}

const NOTHING = new Uint8Array(0);

/** How a format's library is told to flush and to finish, and how much larger than its input the output may get. */
export interface EncoderFormat {
  readonly flush: number;
  readonly finish: number;
  bound(length: number): number;
}

export class ContextEncoder implements Encoder {
  readonly #format: EncoderFormat;
  #context: Context | undefined;

  constructor(context: Context, format: EncoderFormat) {
    this.#context = context;
    this.#format = format;
  }

  bound(length: number): number {
    return this.#format.bound(length);
  }

  encode(chunk: Uint8Array, target: Uint8Array, offset: number): number {
    return this.#write(this.#format.flush, chunk, target, offset, this.#format.bound(chunk.length));
  }

  finish(target: Uint8Array, offset: number): number {
    return this.#write(this.#format.finish, NOTHING, target, offset, FINISH_BOUND);
  }

  close(): void {
    this.#context?.close();
    this.#context = undefined;
  }

  #write(flush: number, chunk: Uint8Array, target: Uint8Array, offset: number, bound: number): number {
    const context = this.#context;
    if (context === undefined) throw new Error('the encoder is closed');
    const room = target.length - offset;
    // A native handle ends the process when it is given a range outside of its buffer, so this check stays.
    if (room < bound || offset < 0)
      throw new RangeError(`encoding needs ${bound} bytes of room, not ${room}`);
    context.write(flush, chunk, 0, chunk.length, target, offset, room);
    if (context.roomLeft === 0 || context.inputLeft !== 0)
      throw new RangeError('the encoded frame passes its bound');
    return room - context.roomLeft;
  }
}

/** What a format's payloads must satisfy and a library does not check by itself. */
export interface PayloadCheck {
  /** Looks at a payload before the library does. @throws DecodeError */
  before(payload: Uint8Array): void;
  /** False when only the end of the format can explain how the payload stops; then the library is asked. */
  endsAtFlush(payload: Uint8Array): boolean;
}

export class ContextDecoder implements Decoder {
  readonly #flush: number;
  readonly #check: PayloadCheck;
  readonly #output: Output;
  #context: Context | undefined;

  constructor(context: Context, flush: number, check: PayloadCheck, limits: DecoderLimits) {
    this.#context = context;
    this.#flush = flush;
    this.#check = check;
    this.#output = new Output(limits);
  }

  decode(payload: Uint8Array): Uint8Array {
    const context = this.#context;
    if (context === undefined) throw new DecodeError('corrupt', 'the decoder is closed');
    if (payload.length === 0) return NOTHING;
    try {
      this.#check.before(payload);
      this.#output.begin(payload.length);
      this.#pump(context, payload);
      if (!this.#check.endsAtFlush(payload)) this.#expectEnd(context);
      return this.#output.bytes();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    this.#context?.close();
    this.#context = undefined;
  }

  /** Passes the payload through the library until it has read all of it and holds no output back. */
  #pump(context: Context, payload: Uint8Array): void {
    const output = this.#output;
    let offset = 0;
    do {
      const room = output.room();
      const length = payload.length - offset;
      write(context, this.#flush, payload, offset, length, output.buffer, output.length, room);
      if (length > 0 && context.inputLeft === length && context.roomLeft === room) {
        throw new DecodeError('corrupt', 'bytes follow the end of the compressed data');
      }
      offset = payload.length - context.inputLeft;
      output.advance(room - context.roomLeft);
    } while (context.inputLeft > 0 || context.roomLeft === 0);
  }

  /** A library that has seen the end of its format reads no further byte; one that reads it was cut off. */
  #expectEnd(context: Context): void {
    write(context, this.#flush, PROBE, 0, 1, new Uint8Array(1), 0, 1);
    if (context.inputLeft === 0) throw new DecodeError('corrupt', 'the payload does not end at a flush');
  }
}

const PROBE = new Uint8Array(1);

/** Context.write() with the library's errors as DecodeErrors. */
function write(
  context: Context,
  flush: number,
  input: Uint8Array,
  offset: number,
  length: number,
  output: Uint8Array,
  outputOffset: number,
  room: number,
): void {
  try {
    context.write(flush, input, offset, length, output, outputOffset, room);
  } catch (error) {
    if (error instanceof DecodeError) throw error;
    throw new DecodeError('corrupt', error instanceof Error ? error.message : String(error));
  }
}

/** The smallest window log that covers `size` bytes, within the range that a library takes. */
export function coveringWindowLog(size: number, min: number, max: number): number {
  return Math.min(max, Math.max(min, Math.ceil(Math.log2(size))));
}
