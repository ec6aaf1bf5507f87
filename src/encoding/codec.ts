/**
 * Encoding contexts behind one interface (protocol B-profiles). A *codec* implements one profile with one library;
 * an *encoder* or *decoder* is one stream's long-lived context, synchronous and owned by one thread.
 *
 * The rule that makes streams work: after the payload of encoded frame k the decoder can output exactly the
 * bytes of frame k, with nothing held back, and the context goes on to frame k + 1.
 */

/**
 * Choices of parameters that no level has. `records`: for many small responses that are alike; `zstd-8mb` then looks
 * for long matches further back, whatever the level, which takes 5.5 MiB.
 */
export type Tuning = 'records';
export const TUNINGS = ['records'] as const satisfies readonly Tuning[];

/** What an encoder is made with. */
export interface EncoderOptions {
  /** Compression level in the profile's own scale; missing: the profile's default. */
  readonly level?: number;
  /** Base-2 logarithm of the window in bytes; missing: what the level implies, never above the profile's. */
  readonly windowLog?: number;
  /** A choice of the library's other parameters; missing: what the level implies. Profiles may have none. */
  readonly tuning?: Tuning;
  /** Bytes until finish(), where they are known and exact: zstd then sizes its tables by them. Not for streams. */
  readonly contentSize?: number;
  /** ID of the dictionary that every zstd frame begins with; profile `zstd-dict` alone, which needs one (protocol C9). */
  readonly dictionary?: string;
  /** Every encode() finishes a zstd frame of its own and keeps nothing of it; of codecs that say they can. */
  readonly contextFree?: boolean;
}

/** What a frame may make its decoder hold. */
export interface DecoderLimits {
  /** Bytes that one frame may decode to. */
  readonly maxDecodedSize: number;
  /** Above 64 KiB, bytes that one frame may decode to per byte on the wire. */
  readonly maxDecodedRatio: number;
  /** Largest window in bytes; a frame that asks for more is refused before memory is taken. */
  readonly maxWindowSize: number;
}

/** An encoding context: what it has encoded is what it encodes the next frame by. */
export interface Encoder {
  /** An upper bound of the bytes that encode() makes of `length` bytes; add {@link FINISH_BOUND} for finish(). */
  bound(length: number): number;
  /**
   * Encodes `chunk` and flushes; writes at `offset` of `target`, which has at least `bound(chunk.length)` bytes of
   * room there, and returns how many bytes it wrote. `chunk` may be empty and may be reused afterwards.
   * @throws RangeError with less room; nothing has happened then.
   */
  encode(chunk: Uint8Array, target: Uint8Array, offset: number): number;
  /**
   * Finishes the underlying format (final block, checksum); same contract as encode() of nothing, with room for
   * {@link FINISH_BOUND} bytes. Afterwards encode() begins a new zstd frame (protocol B-profiles), and throws for zlib.
   */
  finish(target: Uint8Array, offset: number): number;
  /** Frees the context's memory now. Idempotent; nothing else may be called afterwards. */
  close(): void;
}

/** Room that finish() needs, in bytes. */
export const FINISH_BOUND = 64;

/** A decoding context: the other end of an {@link Encoder}, frame by frame in the same order. */
export interface Decoder {
  /**
   * The bytes of one encoded frame. The result is valid until the next call on any decoder of this thread: copy what must
   * live on.
   * @throws DecodeError when the payload is corrupt, incomplete or over a limit; the decoder is then unusable.
   */
  decode(payload: Uint8Array): Uint8Array;
  /** Frees the context's memory now. Idempotent. */
  close(): void;
}

/** One profile as one library implements it. */
export interface Codec {
  /** The profile's name on the wire (protocol B-profiles). */
  readonly profile: string;
  /** Which library: `native` (node:zlib), `minizlib`, `portable` (pako, our zstd decoder), `identity`. */
  readonly implementation: string;
  /** Whether its encoders can do without a context, so that one may serve all streams of a thread. */
  readonly contextFree?: boolean;
  /** Missing where the library can only decode. */
  createEncoder?(options?: EncoderOptions): Encoder;
  /** `settings` are the profile-specific bytes of the stream-settings frame (protocol B-profiles). */
  createDecoder(limits: DecoderLimits, settings?: Uint8Array): Decoder;
  /** The profile-specific bytes to announce for an encoder made with these options. */
  settings(options?: EncoderOptions): Uint8Array;
}

/** Codecs beside the built-in ones, and where a lane, which is a thread of its own, finds them. */
export interface CodecModule {
  /** URL of the module. */
  readonly url: string;
  /** The export of that module which is this very object. */
  readonly export: string;
  readonly codecs: readonly Codec[];
}

/** Why a payload was refused: `corrupt` content, or a `limit` (the message names it). */
export class DecodeError extends Error {
  override readonly name = 'DecodeError';
  readonly code: 'corrupt' | 'limit';

  constructor(code: 'corrupt' | 'limit', message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
