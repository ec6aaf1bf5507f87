/**
 * Codecs for browsers, and for a Node without zstd: pako for `zlib`, our own decoder for `zstd-8mb` and `zstd-dict`,
 * which nothing here can encode. No node: module and no Buffer in here.
 */

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
import { type Codec, DecodeError, type Decoder, type DecoderLimits } from './codec.ts';
import type { Context } from './context.ts';
import { type ParsedDictionary, parseDictionary } from './dictionary/format.ts';
import type { Dictionaries, Dictionary } from './dictionary.ts';
import { identityCodec } from './identity.ts';
import { Output } from './output.ts';
import {
  namedDictionary,
  ZSTD,
  ZSTD_DICT,
  zlibCodec,
  zstdDictSettings,
  zstdDictWalker,
  zstdSettings,
  zstdWalker,
} from './profiles.ts';
import { ZstdWalker } from './zstd-blocks.ts';
import { ZstdBlockDecoder } from './zstd-decoder.ts';

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

class PortableZstdDecoder implements Decoder {
  readonly #walker: ZstdWalker;
  readonly #output: Output;
  #blocks: ZstdBlockDecoder | undefined;

  constructor(walker: ZstdWalker, limits: DecoderLimits, dictionary?: ParsedDictionary) {
    this.#walker = walker;
    this.#output = new Output(limits);
    this.#blocks = new ZstdBlockDecoder(dictionary);
  }

  decode(payload: Uint8Array): Uint8Array {
    const blocks = this.#blocks;
    if (blocks === undefined) throw new DecodeError('corrupt', 'the decoder is closed');
    this.#output.begin(payload.length);
    try {
      for (let at = 0; at < payload.length; ) {
        const end = this.#walker.step(payload, at);
        this.#element(blocks, payload, at, end);
        at = end;
      }
      return this.#output.bytes();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    this.#blocks = undefined;
  }

  /** One element at a time: a limit stops a frame between two blocks. Checksums are not checked. */
  #element(blocks: ZstdBlockDecoder, payload: Uint8Array, at: number, end: number): void {
    const { element, windowSize, maxBlock } = this.#walker;
    if (element === 'header') blocks.begin(windowSize, maxBlock);
    else if (element === 'block') this.#output.append(blocks.decode(payload, at, end));
  }
}

/** A decoder whose every zstd frame begins with `dictionary`. */
export function portableDictionaryDecoder(
  limits: DecoderLimits,
  dictionary: ParsedDictionary,
  walker = new ZstdWalker(limits.maxWindowSize, dictionary.zstdId),
): Decoder {
  return new PortableZstdDecoder(walker, limits, dictionary);
}

/** Read once, however many streams name it. */
const PARSED = new WeakMap<Dictionary, ParsedDictionary>();

function parsed(dictionary: Dictionary): ParsedDictionary {
  const known = PARSED.get(dictionary) ?? parseDictionary(dictionary.bytes);
  PARSED.set(dictionary, known);
  return known;
}

/** `zstd-dict` with any of `dictionaries`, decoding only (protocol C9). */
export function portableZstdDict(dictionaries: Dictionaries): Codec {
  return {
    profile: ZSTD_DICT,
    implementation: 'portable',
    createDecoder: (limits, settings) =>
      portableDictionaryDecoder(
        limits,
        parsed(namedDictionary(dictionaries, settings)),
        zstdDictWalker(limits, dictionaries, settings),
      ),
    settings: zstdDictSettings,
  };
}

/** `zstd-8mb`, decoding only. */
export const portableZstd: Codec = {
  profile: ZSTD,
  implementation: 'portable',
  createDecoder: (limits, settings) => new PortableZstdDecoder(zstdWalker(limits, settings), limits),
  settings: zstdSettings,
};

/** Codecs that run anywhere, best profile first. */
export function portableCodecs(): readonly Codec[] {
  return [portableZstd, portableZlib, identityCodec];
}
