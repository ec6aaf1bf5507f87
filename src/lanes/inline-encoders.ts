/**
 * Encoders of the main thread, for small responses that no context is kept for. The way to a lane and back costs this thread
 * a message and a wake-up on either side, some 20 µs, and the lane as much: shared by a batch that is little each, alone it
 * is several times what the encoder takes. So while few such responses come in a turn of the event loop they are encoded
 * where they are; as soon as there are enough to fill a batch, they go to the lanes.
 */

import type { Turns } from '../connection/turns.ts';
import { closeQuietly } from '../encoding/checked.ts';
import type { Codec, CodecModule, EncoderOptions } from '../encoding/codec.ts';
import type { Dictionaries } from '../encoding/dictionary.ts';
import { type EncoderContext, encoderContext } from '../encoding/encoder-context.ts';
import { nativeCodecs, nativeDictionaryCodec } from '../encoding/native.ts';
import { ZSTD, ZSTD_DICT } from '../encoding/profiles.ts';
import type { ContextShape } from './context-cost.ts';

/** Responses in one turn of the event loop up to which they are few: the main thread spends as much on either way with these. */
const FEW = 16;
/** What a turn still says of the next one. */
const FADING = 0.875;
/** Bytes of the largest that is small: it takes the encoder some 20 µs. */
const SMALL = 8192;
/** Higher levels take longer for each byte. */
const HIGHEST_LEVEL = 3;

export class InlineEncoders {
  readonly #turns: Turns;
  readonly #dictionaries: Dictionaries;
  /** Profiles whose codec is somebody else's: that runs in lanes alone. */
  readonly #foreign: ReadonlySet<string>;
  readonly #encoders = new Map<string, EncoderContext>();
  readonly #scratch = new Uint8Array(2 * SMALL);
  /** The newest turn in which there were any, and how many. */
  #turn = -1;
  #count = 0;
  /** How many there were in a turn lately: what was once many is for a while, so that it is not one or the other by turns. */
  #lately = 0;

  constructor(turns: Turns, dictionaries: Dictionaries, codecs: readonly CodecModule[]) {
    this.#turns = turns;
    this.#dictionaries = dictionaries;
    this.#foreign = new Set(codecs.flatMap((module) => module.codecs.map(({ profile }) => profile)));
  }

  /** Counts a response of `bytes`; whether it should be encoded here. */
  admit(bytes: number): boolean {
    if (bytes > SMALL || bytes === 0) return false;
    const { number } = this.#turns;
    if (number !== this.#turn) {
      this.#turn = number;
      this.#lately = Math.max(this.#count, this.#lately * FADING);
      this.#count = 0;
    }
    return ++this.#count <= FEW && this.#lately <= FEW;
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
