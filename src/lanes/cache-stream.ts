/** Streams that carry whole compressed outputs from the cache: no context of ours, no lane. */

import type { Writer } from '../connection/writer.ts';
import type { OutgoingStreamIds } from '../reactor/streams.ts';
import { FrameType, StreamFlag } from '../wire/frame.ts';
import type { StreamFigures } from './figures.ts';
import { MainStream } from './main-stream.ts';

const NOTHING = new Uint8Array(0);
const FIGURES = { profile: 'cache', level: undefined, windowBytes: 0 } as const;

export class CacheStream extends MainStream {
  #begun = false;
  /** True while an output is half sent: nothing else may come between its pieces. */
  busy = false;

  /** Sends a payload that is already encoded, and that nobody ever changes. */
  send(profile: string, requestId: number, flags: number, payload: Uint8Array, rawLength: number): void {
    if (!this.#begun) {
      this.#begun = true;
      this.begin(profile, NOTHING);
    }
    this.count(rawLength, payload.length);
    this.writer.sendFrame(
      requestId,
      this.id,
      StreamFlag.encoded,
      FrameType.bytesResponse,
      flags,
      payload,
      true,
    );
  }

  /** The output in hand was given up half-way: the next one needs a fresh context at the other end. */
  reset(): void {
    this.#begun = false;
  }

  get figures(): StreamFigures {
    return this.figuresAs(FIGURES);
  }
}

const MAX_CACHE_STREAMS = 2;

/** The cache streams of one connection; they are opened as they are needed. */
export class CacheStreams {
  readonly #ids: OutgoingStreamIds;
  readonly #writer: Writer;
  readonly #streams: CacheStream[] = [];
  #waiting: ((stream: CacheStream) => void)[] = [];

  constructor(ids: OutgoingStreamIds, writer: Writer) {
    this.#ids = ids;
    this.#writer = writer;
  }

  /** Calls `use` with a stream that is between outputs, at once or when one is; it is busy until released. */
  acquire(use: (stream: CacheStream) => void): void {
    let stream = this.#streams.find((each) => !each.busy);
    if (stream === undefined) {
      if (this.#streams.length >= MAX_CACHE_STREAMS) {
        this.#waiting.push(use);
        return;
      }
      stream = new CacheStream(this.#ids.take(), this.#writer);
      this.#streams.push(stream);
    }
    stream.busy = true;
    use(stream);
  }

  /** `whole`: the output was sent to its end. */
  release(stream: CacheStream, whole: boolean): void {
    if (!whole) stream.reset();
    const next = this.#waiting.shift();
    if (next !== undefined) next(stream);
    else stream.busy = false;
  }

  /** IDs that it may still take. */
  get idsStillNeeded(): number {
    return MAX_CACHE_STREAMS - this.#streams.length;
  }

  get figures(): StreamFigures[] {
    return this.#streams.map(({ figures }) => figures);
  }

  /** Forgets who waits. */
  close(): void {
    this.#waiting = [];
  }
}
