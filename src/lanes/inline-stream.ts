/** A stream of whole responses that stand alone, encoded on the main thread: no context, no lane. */

import type { Writer } from '../connection/writer.ts';
import type { EncoderContext } from '../encoding/encoder-context.ts';
import { FrameType, HEADER_SIZE, StreamFlag } from '../wire/frame.ts';
import { encodeStreamSettings } from '../wire/payloads.ts';
import { type ContextShape, FRAME_WINDOW_LOG, levelOf } from './budget.ts';
import type { StreamFigures } from './figures.ts';
import type { InlineEncoders } from './inline-encoders.ts';

export class InlineStream {
  readonly id: number;
  readonly #writer: Writer;
  readonly #encoders: InlineEncoders;
  readonly #openedAtMs = performance.now();
  #profile = '';
  /** What its encoder was made with; undefined: it has none. */
  #shape: ContextShape | undefined;
  #context: EncoderContext | undefined;
  /** What its other end decodes with; undefined: the stream has not begun. */
  #begunWith: EncoderContext | undefined;
  #frames = 0;
  #bytesIn = 0;
  #bytesOut = 0;

  constructor(id: number, writer: Writer, encoders: InlineEncoders) {
    this.id = id;
    this.#writer = writer;
    this.#encoders = encoders;
  }

  /**
   * Sends `bytes`, a whole response, as an encoder of `shape` makes them. Returns the bytes of its frame; undefined: nothing was
   * sent, it is for a lane.
   */
  send(
    requestId: number,
    flags: number,
    bytes: Uint8Array,
    profile: string,
    shape: ContextShape,
  ): number | undefined {
    if (shape !== this.#shape && !this.#take(profile, shape)) return undefined;
    const payload = this.#context && this.#encoders.encode(this.#context, bytes);
    if (payload === undefined) {
      this.#shape = undefined;
      return undefined;
    }
    if (this.#context !== this.#begunWith) this.#begin(this.#context as EncoderContext);
    this.#writer.sendFrame(requestId, this.id, StreamFlag.encoded, FrameType.bytesResponse, flags, payload);
    const wireLength = HEADER_SIZE + payload.length;
    this.#frames++;
    this.#bytesIn += bytes.length;
    this.#bytesOut += wireLength;
    return wireLength;
  }

  /** One dictionary is the stream's for good: to change it costs the other end more than a response. */
  #take(profile: string, shape: ContextShape): boolean {
    const dictionary = this.#shape?.dictionary;
    if (dictionary !== undefined && dictionary !== shape.dictionary) return false;
    this.#profile = profile;
    this.#shape = shape;
    this.#context = this.#encoders.encoder(profile, shape);
    return true;
  }

  /** Its first frame names its profile, and so does the first after a change (protocol A5, B1). */
  #begin(context: EncoderContext): void {
    this.#begunWith = context;
    const settings = encodeStreamSettings(this.#profile, context.settings);
    this.#writer.sendFrame(0, this.id, StreamFlag.begin, FrameType.streamSettings, 0, settings);
  }

  get figures(): StreamFigures {
    return {
      streamId: this.id,
      lane: -1,
      slot: -1,
      profile: this.#profile,
      level: levelOf(this.#profile, this.#shape ?? {}),
      windowBytes: 2 ** FRAME_WINDOW_LOG,
      contextBytes: 0,
      ageMs: performance.now() - this.#openedAtMs,
      frames: this.#frames,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
    };
  }
}
