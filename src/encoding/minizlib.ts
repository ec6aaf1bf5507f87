/** node:zlib through minizlib's synchronous streams: the fallback for a Node whose handles are not as we know them. */

import { Deflate, Inflate, ZstdCompress, ZstdDecompress } from 'minizlib';
import { type Codec, DecodeError } from './codec.ts';
import type { Context } from './context.ts';
import { StandaloneContexts } from './standalone.ts';
import { type ZlibContexts, zlibCodec } from './zlib-codec.ts';
import { type ZstdContexts, zstdCodec } from './zstd-codec.ts';

type Stream = Deflate | Inflate | ZstdCompress | ZstdDecompress;
/** minizlib's types know few of the options that it hands to node:zlib. */
type Options = ConstructorParameters<typeof Deflate>[0] & Record<string, unknown>;

class MinizlibContext implements Context {
  inputLeft = 0;
  roomLeft = 0;
  readonly #stream: Stream;
  readonly #flush: number;
  /** Output that the stream has made and that has not found room yet. */
  #pending: Uint8Array[] = [];
  #error: Error | undefined;

  /** `flush`: that of the stream's writes. */
  constructor(stream: Stream, flush: number) {
    this.#stream = stream;
    this.#flush = flush;
    stream.on('data', (chunk: Uint8Array) => this.#pending.push(chunk));
    stream.on('error', (error: unknown) => {
      this.#error = error as Error;
    });
  }

  write(
    flush: number,
    input: Uint8Array,
    offset: number,
    length: number,
    output: Uint8Array,
    outputOffset: number,
    room: number,
  ): void {
    if (this.#pending.length === 0) this.#process(flush, input.subarray(offset, offset + length));
    else this.inputLeft = length;
    this.roomLeft = room - this.#drain(output.subarray(outputOffset, outputOffset + room));
  }

  close(): void {
    this.#stream.close();
  }

  #process(flush: number, input: Uint8Array): void {
    if (input.length > 0) this.#stream.write(input as Buffer);
    // minizlib does not say how far it read; the stream underneath counts the bytes of its last write.
    const taken = input.length > 0 ? (this.#stream.handle?.bytesWritten ?? 0) : 0;
    // The stream was made with the flush value of its writes; only flush() takes another one.
    if (input.length === 0 || flush !== this.#flush) this.#stream.flush(flush);
    if (this.#error !== undefined) throw readable(this.#error);
    this.inputLeft = input.length - taken;
  }

  /** Moves as much pending output as fits into `target` and returns how much. */
  #drain(target: Uint8Array): number {
    let moved = 0;
    while (this.#pending.length > 0 && moved < target.length) {
      const chunk = this.#pending[0];
      const part = chunk.subarray(0, target.length - moved);
      target.set(part, moved);
      moved += part.length;
      if (part.length === chunk.length) this.#pending.shift();
      else this.#pending[0] = chunk.subarray(part.length);
    }
    return moved;
  }
}

function readable(error: Error & { code?: string }): Error {
  return error.code === 'ERR_BUFFER_TOO_LARGE'
    ? new DecodeError('limit', 'maxDecodedSize: a frame decodes to more bytes than allowed')
    : error;
}

// Values of zlib.h and zstd.h.
const Z_SYNC_FLUSH = 2;
const ZSTD_E_CONTINUE = 0;
const ZSTD_D_WINDOW_LOG_MAX = 100;

const zstdContexts: ZstdContexts = {
  standalone: new StandaloneContexts(),
  compress(params, pledgedSrcSize) {
    return new MinizlibContext(new ZstdCompress({ params, pledgedSrcSize } as Options), ZSTD_E_CONTINUE);
  },
  decompress(maxWindowLog, maxOutputLength) {
    const options: Options = { maxOutputLength, params: { [ZSTD_D_WINDOW_LOG_MAX]: maxWindowLog } };
    return new MinizlibContext(new ZstdDecompress(options), ZSTD_E_CONTINUE);
  },
};

const zlibContexts: ZlibContexts = {
  compress(level, windowBits) {
    const options: Options = { flush: Z_SYNC_FLUSH, level, windowBits };
    return new MinizlibContext(new Deflate(options), Z_SYNC_FLUSH);
  },
  decompress(windowBits, maxOutputLength) {
    const options: Options = { flush: Z_SYNC_FLUSH, maxOutputLength, windowBits };
    return new MinizlibContext(new Inflate(options), Z_SYNC_FLUSH);
  },
};

export const minizlibZstd: Codec = zstdCodec('minizlib', zstdContexts);
export const minizlibZlib: Codec = zlibCodec('minizlib', zlibContexts);
