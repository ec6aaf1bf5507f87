/** `zstd-8mb` and `zstd-dict` where there is no native code: our own decoder; nothing here can encode. */

import { type Codec, DecodeError, type Decoder, type DecoderLimits } from './codec.ts';
import { type ParsedDictionary, parseDictionary } from './dictionary/format.ts';
import type { Dictionaries, Dictionary } from './dictionary.ts';
import { Output } from './output.ts';
import { NO_SETTINGS, ZSTD, ZSTD_DICT } from './profiles.ts';
import { ZstdWalker } from './zstd-blocks.ts';
import { ZstdBlockDecoder } from './zstd-decoder.ts';
import { namedDictionary, zstdDictWalker, zstdWalker } from './zstd-profile.ts';

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

/** Nothing here encodes: no stream of ours has settings. */
const noneToSay = () => NO_SETTINGS;

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
    settings: noneToSay,
  };
}

/** `zstd-8mb`, decoding only. */
export const portableZstd: Codec = {
  profile: ZSTD,
  implementation: 'portable',
  createDecoder: (limits, settings) => new PortableZstdDecoder(zstdWalker(limits, settings), limits),
  settings: noneToSay,
};
