/** Profiles by name. Names are open: an experiment registers its own (protocol B-profiles). */

import type { Codec } from './codec.ts';
import type { Dictionaries } from './dictionary.ts';

/** Makes the codec of `zstd-dict` for some dictionaries, which may grow. */
export type DictionaryCodec = (dictionaries: Dictionaries) => Codec;

export class CodecRegistry {
  readonly #codecs = new Map<string, Codec>();

  readonly #dictionaryCodec: DictionaryCodec | undefined;

  /**
   * @param codecs best first, e.g. nativeCodecs() or portableCodecs().
   * @param dictionaryCodec where they know dictionaries.
   */
  constructor(codecs: Iterable<Codec> = [], dictionaryCodec?: DictionaryCodec) {
    this.#dictionaryCodec = dictionaryCodec;
    for (const codec of codecs) this.register(codec);
  }

  /** Adds a profile, or takes another codec for a known one, which keeps its place in the order. */
  register(codec: Codec): void {
    const { profile } = codec;
    // The name travels as a u8 length and ASCII bytes (protocol A2, stream-settings).
    if (!/^[\x21-\x7e]{1,255}$/.test(profile))
      throw new RangeError(`not a profile name: ${JSON.stringify(profile)}`);
    this.#codecs.set(profile, codec);
  }

  /** The same codecs, and where they know dictionaries a last one for these (protocol C9). */
  withDictionaries(dictionaries: Dictionaries): CodecRegistry {
    const all = new CodecRegistry(this.#codecs.values(), this.#dictionaryCodec);
    if (this.#dictionaryCodec !== undefined) all.register(this.#dictionaryCodec(dictionaries));
    return all;
  }

  get(profile: string): Codec | undefined {
    return this.#codecs.get(profile);
  }

  /** Profiles that can be decoded, best first: what sender-settings announces (protocol C2). */
  profiles(): string[] {
    return [...this.#codecs.keys()];
  }

  /** Profiles that can be encoded too. */
  encodable(): string[] {
    return this.profiles().filter((profile) => this.get(profile)?.createEncoder !== undefined);
  }
}
