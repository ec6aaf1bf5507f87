/**
 * Encoders of the main thread, for small responses that no context is kept for: one for all streams that want the same. How
 * many of these responses are encoded here is {@link InlineRoom}'s to say.
 */

import type { Turns } from '../connection/turns.ts';
import { closeQuietly } from '../encoding/checked.ts';
import type { Codec, CodecModule, EncoderOptions } from '../encoding/codec.ts';
import type { Dictionaries } from '../encoding/dictionary.ts';
import { type EncoderContext, encoderContext } from '../encoding/encoder-context.ts';
import { nativeCodecs, nativeDictionaryCodec } from '../encoding/native.ts';
import { ZSTD, ZSTD_DICT } from '../encoding/profiles.ts';
import type { ContextShape } from './context-cost.ts';
import { InlineRoom, SMALL } from './inline-room.ts';

/** Higher levels take longer for each byte. */
const HIGHEST_LEVEL = 3;

export class InlineEncoders {
  readonly room: InlineRoom;
  readonly #dictionaries: Dictionaries;
  /** Profiles whose codec is somebody else's: that runs in lanes alone. */
  readonly #foreign: ReadonlySet<string>;
  readonly #encoders = new Map<string, EncoderContext>();
  readonly #scratch = new Uint8Array(2 * SMALL);

  constructor(turns: Turns, dictionaries: Dictionaries, codecs: readonly CodecModule[]) {
    this.room = new InlineRoom(turns);
    this.#dictionaries = dictionaries;
    this.#foreign = new Set(codecs.flatMap((module) => module.codecs.map(({ profile }) => profile)));
  }

  /** Whether responses of streams like this may be encoded here at all. */
  takes(profile: string, { contextFree, level = 0, tuning }: ContextShape): boolean {
    return (
      contextFree === true && level <= HIGHEST_LEVEL && tuning === undefined && !this.#foreign.has(profile)
    );
  }

  /** The one that all streams have in common who want the same; undefined: there is none. */
  encoder(profile: string, { level, windowLog, dictionary }: ContextShape): EncoderContext | undefined {
    const asked = { level, windowLog, dictionary, contextFree: true };
    const key = JSON.stringify([profile, asked]);
    const known = this.#encoders.get(key);
    if (known !== undefined) return known;
    const made = this.#make(profile, asked);
    if (made !== undefined) this.#encoders.set(key, made);
    return made;
  }

  #make(profile: string, asked: EncoderOptions): EncoderContext | undefined {
    try {
      const codec = this.#codec(profile);
      return codec?.contextFree ? encoderContext(codec, asked) : undefined;
    } catch {
      // In a lane that fails, too, and is told.
      return undefined;
    }
  }

  /** `bytes` as one payload, valid until the next call; undefined: the encoder has failed, and is given up. */
  encode(context: EncoderContext, bytes: Uint8Array): Uint8Array | undefined {
    try {
      return this.#scratch.subarray(0, context.encoder.encode(bytes, this.#scratch, 0));
    } catch {
      closeQuietly(context.encoder);
      for (const [key, each] of this.#encoders) if (each === context) this.#encoders.delete(key);
      return undefined;
    }
  }

  /** Frees their memory. */
  close(): void {
    for (const { encoder } of this.#encoders.values()) closeQuietly(encoder);
    this.#encoders.clear();
  }

  #codec(profile: string): Codec | undefined {
    if (profile === ZSTD_DICT) return nativeDictionaryCodec()?.(this.#dictionaries);
    return profile === ZSTD ? nativeCodecs().find((codec) => codec.profile === ZSTD) : undefined;
  }
}
