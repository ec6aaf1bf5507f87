/** A stream of whole responses that stand alone, encoded on the main thread: no context, no lane. */

import type { Writer } from '../connection/writer.ts';
import type { EncoderContext } from '../encoding/encoder-context.ts';
import { FrameType, StreamFlag } from '../wire/frame.ts';
import { type ContextShape, FRAME_WINDOW_LOG, levelOf } from './context-cost.ts';
import type { StreamFigures } from './figures.ts';
import type { InlineEncoders } from './inline-encoders.ts';
import { MainStream } from './main-stream.ts';

export class InlineStream extends MainStream {
  readonly #encoders: InlineEncoders;
  #profile = '';
  /** What its encoder was made with; undefined: it has none. */
  #shape: ContextShape | undefined;
  #context: EncoderContext | undefined;
  /** What its other end decodes with; undefined: the stream has not begun. */
  #begunWith: EncoderContext | undefined;

  constructor(id: number, writer: Writer, encoders: InlineEncoders) {
    super(id, writer);
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
    if (this.#context !== this.#begunWith) this.#beginWith(this.#context as EncoderContext);
    this.writer.sendFrame(requestId, this.id, StreamFlag.encoded, FrameType.bytesResponse, flags, payload);
    return this.count(bytes.length, payload.length);
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

  #beginWith(context: EncoderContext): void {
    this.#begunWith = context;
    this.begin(this.#profile, context.settings);
  }

  get figures(): StreamFigures {
    const level = levelOf(this.#profile, this.#shape ?? {});
    return this.figuresAs({ profile: this.#profile, level, windowBytes: 2 ** FRAME_WINDOW_LOG });
  }
}
