/**
 * Profiles that no peer has to know: what an experiment compares `zstd-8mb` and `zlib` with, and the example of how to
 * add another. A server that encodes one, and a client that decodes it, are both given {@link extraCodecs}.
 */

import zlib from 'node:zlib';
import { type Codec, type CodecModule, DecodeError, type DecoderLimits } from './codec.ts';
import { ContextDecoder, ContextEncoder, type PayloadCheck } from './context.ts';
import { HandleContext } from './native.ts';
import { inRange, NO_SETTINGS, refuseSettings, refuseTuning } from './profiles.ts';

const BROTLI = 'brotli';
const DEFLATE = 'deflate';

/** The smallest that Node takes, for a buffer that is never used. */
const chunkSize = 64;
const { BROTLI_PARAM_QUALITY, BROTLI_PARAM_LGWIN } = zlib.constants;
const { BROTLI_OPERATION_PROCESS, BROTLI_OPERATION_FLUSH, BROTLI_OPERATION_FINISH } = zlib.constants;
const { Z_SYNC_FLUSH, Z_FINISH } = zlib.constants;

/** brotli's own default, 11, is for files that are compressed once. */
const BROTLI_DEFAULT_LEVEL = 5;
const BROTLI_DEFAULT_WINDOW_LOG = 22;
const BROTLI_FORMAT = {
  flush: BROTLI_OPERATION_FLUSH,
  finish: BROTLI_OPERATION_FINISH,
  // Raw meta-blocks have a header of at most 5 bytes per 64 KiB; the rest is stream header and flush.
  bound: (length: number) => length + (length >>> 10) + 128,
};

/** RFC 7932, cut after a flush. Levels 0 … 11; windows 2^10 … 2^23, as far as the default limits of a decoder. */
const brotliCodec: Codec = {
  profile: BROTLI,
  implementation: 'native',
  createEncoder(options = {}) {
    const { level = BROTLI_DEFAULT_LEVEL, windowLog = BROTLI_DEFAULT_WINDOW_LOG } = options;
    refuseTuning(BROTLI, options);
    inRange('brotli level', level, 0, 11);
    inRange('brotli window log', windowLog, 10, 23);
    const params = { [BROTLI_PARAM_QUALITY]: level, [BROTLI_PARAM_LGWIN]: windowLog };
    return new ContextEncoder(
      new HandleContext(() => zlib.createBrotliCompress({ chunkSize, params })),
      BROTLI_FORMAT,
    );
  },
  createDecoder(limits, settings) {
    refuseSettings(BROTLI, settings);
    const context = new HandleContext(() => zlib.createBrotliDecompress({ chunkSize }));
    return new ContextDecoder(context, BROTLI_OPERATION_PROCESS, new BrotliCheck(limits), limits);
  },
  settings: () => NO_SETTINGS,
};

/**
 * Refuses large windows. A payload that was cut short cannot be told from one that ends at a flush: brotli marks the
 * flush by nothing that could not stand elsewhere. It shows as a frame that decodes to too few bytes.
 */
class BrotliCheck implements PayloadCheck {
  readonly #maxWindowSize: number;
  #started = false;

  constructor({ maxWindowSize }: DecoderLimits) {
    this.#maxWindowSize = maxWindowSize;
  }

  before(payload: Uint8Array): void {
    if (this.#started) return;
    this.#started = true;
    const windowSize = 2 ** brotliWindowLog(payload[0]);
    if (windowSize > this.#maxWindowSize) {
      throw new DecodeError(
        'limit',
        `maxWindowSize: a window of ${windowSize} bytes, over ${this.#maxWindowSize}`,
      );
    }
  }

  endsAtFlush(): boolean {
    return true;
  }
}

/** The window log in a stream's first byte (RFC 7932, section 9.1). */
function brotliWindowLog(byte: number): number {
  if ((byte & 1) === 0) return 16;
  const middle = (byte >> 1) & 7;
  if (middle !== 0) return 17 + middle;
  const high = (byte >> 4) & 7;
  return high === 0 ? 17 : 8 + high;
}

const DEFLATE_DEFAULT_LEVEL = 6;
const DEFLATE_FORMAT = {
  flush: Z_SYNC_FLUSH,
  finish: Z_FINISH,
  // As for `zlib`, whose header and checksum are missing here.
  bound: (length: number) => length + (length >>> 3) + (length >>> 6) + 64,
};

/** RFC 1951 without any wrapping, cut after Z_SYNC_FLUSH. Levels 0 … 9; windows 2^9 … 2^15. */
const deflateCodec: Codec = {
  profile: DEFLATE,
  implementation: 'native',
  createEncoder(options = {}) {
    const { level = DEFLATE_DEFAULT_LEVEL, windowLog: windowBits = 15 } = options;
    refuseTuning(DEFLATE, options);
    inRange('deflate level', level, 0, 9);
    inRange('deflate window log', windowBits, 9, 15);
    const context = new HandleContext(() => zlib.createDeflateRaw({ chunkSize, level, windowBits }));
    return new ContextEncoder(context, DEFLATE_FORMAT);
  },
  createDecoder(limits, settings) {
    refuseSettings(DEFLATE, settings);
    const context = new HandleContext(() => zlib.createInflateRaw({ chunkSize, windowBits: 15 }));
    return new ContextDecoder(context, Z_SYNC_FLUSH, DEFLATE_CHECK, limits);
  },
  settings: () => NO_SETTINGS,
};

const DEFLATE_CHECK: PayloadCheck = {
  before: () => undefined,
  endsAtFlush(payload) {
    const at = payload.length - 4;
    return payload[at] === 0 && payload[at + 1] === 0 && payload[at + 2] === 0xff && payload[at + 3] === 0xff;
  },
};

/** brotli and raw deflate, for {@link ServerOptions.codecs} and for `connect()`. */
export const extraCodecs: CodecModule = {
  url: import.meta.url,
  export: 'extraCodecs',
  codecs: [brotliCodec, deflateCodec],
};
