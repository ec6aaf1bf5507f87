/** A stream that the main thread sends by itself, of payloads that stand alone: no context, no lane. */

import type { Writer } from '../connection/writer.ts';
import { FrameType, HEADER_SIZE, StreamFlag } from '../wire/frame.ts';
import { encodeStreamSettings } from '../wire/payloads.ts';
import type { StreamFigures } from './figures.ts';

export class MainStream {
  readonly id: number;
  protected readonly writer: Writer;
  readonly #openedAtMs = performance.now();
  #frames = 0;
  #bytesIn = 0;
  #bytesOut = 0;

  constructor(id: number, writer: Writer) {
    this.id = id;
    this.writer = writer;
  }

  /** Its first frame names its profile, and so does the first after a change (protocol A5, B1). */
  protected begin(profile: string, settings: Uint8Array): void {
    const payload = encodeStreamSettings(profile, settings);
    this.writer.sendFrame(0, this.id, StreamFlag.begin, FrameType.streamSettings, 0, payload);
  }

  /** Counts a payload that goes out; `rawLength`: its bytes before encoding. Returns the bytes of its frame. */
  protected count(rawLength: number, length: number): number {
    const wireLength = HEADER_SIZE + length;
    this.#frames++;
    this.#bytesIn += rawLength;
    this.#bytesOut += wireLength;
    return wireLength;
  }

  protected figuresAs(what: Pick<StreamFigures, 'profile' | 'level' | 'windowBytes'>): StreamFigures {
    return {
      ...what,
      streamId: this.id,
      lane: -1,
      slot: -1,
      contextBytes: 0,
      ageMs: performance.now() - this.#openedAtMs,
      frames: this.#frames,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
    };
  }
}
