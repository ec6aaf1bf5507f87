/** `zlib` where there is no native code: pako. It is a module of its own because a browser loads it only where it is asked for. */

import {
  Z_BUF_ERROR,
  Z_OK,
  Z_STREAM_END,
  ZStream,
  zlibDeflate,
  zlibDeflateInit2,
  zlibInflate,
  zlibInflateInit2,
} from 'pako';
import type { Codec } from './codec.ts';
import type { Context } from './context.ts';
import { zlibCodec } from './zlib-codec.ts';

type Step = (stream: ZStream, flush: 0 | 2 | 4) => number;

class PakoContext implements Context {
  inputLeft = 0;
  roomLeft = 0;
  readonly #step: Step;
  #stream: ZStream;

  constructor(stream: ZStream, step: Step) {
    this.#stream = stream;
    this.#step = step;
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
    const stream = this.#stream;
    stream.input = input;
    stream.next_in = offset;
    stream.avail_in = length;
    stream.output = output as Uint8Array<ArrayBuffer>;
    stream.next_out = outputOffset;
    stream.avail_out = room;
    const status = this.#step(stream, flush as 0 | 2 | 4);
    this.inputLeft = stream.avail_in;
    this.roomLeft = stream.avail_out;
    // Z_BUF_ERROR: nothing to do, which is no error of the data.
    if (status !== Z_OK && status !== Z_STREAM_END && status !== Z_BUF_ERROR) {
      throw new Error(`${stream.msg || 'stream error'} (${status})`);
    }
  }

  close(): void {
    this.#stream = new ZStream();
  }
}

const Z_DEFLATED = 8;
const Z_DEFAULT_MEM_LEVEL = 8;
const Z_DEFAULT_STRATEGY = 0;

/** `zlib` by pako, both ways. */
export const portableZlib: Codec = zlibCodec('portable', {
  compress(level, windowBits) {
    const stream = new ZStream();
    zlibDeflateInit2(stream, level, Z_DEFLATED, windowBits, Z_DEFAULT_MEM_LEVEL, Z_DEFAULT_STRATEGY);
    return new PakoContext(stream, zlibDeflate);
  },
  decompress(windowBits) {
    const stream = new ZStream();
    zlibInflateInit2(stream, windowBits);
    return new PakoContext(stream, zlibInflate);
  },
});
