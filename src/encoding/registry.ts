/** Profiles by name. Names are open: an experiment registers its own (protocol B-profiles). */

import type { Codec } from './codec.ts';

export class CodecRegistry {
  readonly #codecs = new Map<string, Codec>();

  /** @param codecs best first, e.g. nativeCodecs() or portableCodecs(). */
  constructor(codecs: Iterable<Codec> = []) {
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
