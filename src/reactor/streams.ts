/**
 * Streams of one connection, seen from the receiving and from the sending side (protocol A5, B1, B4).
 */

import { ProtocolError } from '../wire/errors.ts';
import { type Frame, FrameType, StreamFlag } from '../wire/frame.ts';
import { DEFAULT_LIMITS, type Limits, overLimit } from '../wire/limits.ts';
import { decodeStreamSettings } from '../wire/payloads.ts';
import { Rate } from './rate.ts';

/** Which end of the connection frames come from; streams of the client are odd, of the server even (protocol A1). */
export type Side = 'client' | 'server';

/** One open incoming stream. */
export interface IncomingStream {
  readonly id: number;
  /** The profile named by the settings on begin; `identity` without settings (protocol A5). */
  profile: string;
  /** Encoded frames go through a decoder; false for `identity`, whose encoded payload is the bytes themselves. */
  decoded: boolean;
}

/** Contexts that decode incoming streams; the reactor says what to do, the owner of the threads does it. */
export interface StreamDecoders {
  supports(profile: string): boolean;
  open(streamId: number, profile: string, settings: Uint8Array): void;
  close(streamId: number): void;
}

/** Checks every incoming frame against the state of its stream, and opens and closes decoders with it. */
export class IncomingStreams {
  readonly #from: Side;
  readonly #limits: Limits;
  readonly #decoders: StreamDecoders;
  readonly #now: () => number;
  readonly #open = new Map<number, IncomingStream>();
  readonly #begins: Rate;

  constructor(from: Side, limits: Limits, decoders: StreamDecoders, now: () => number) {
    this.#from = from;
    this.#limits = limits;
    this.#decoders = decoders;
    this.#now = now;
    this.#begins = new Rate(limits, 'maxStreamBegins', 'stream begins');
  }

  /**
   * The stream that `frame` travels on, begun or begun afresh where the frame says so.
   * @throws ProtocolError on wrong parity, a closed stream without begin, misplaced settings, too many streams.
   */
  enter(frame: Frame): IncomingStream {
    const { streamId, streamFlags } = frame;
    this.#checkParity(streamId);
    let stream = this.#open.get(streamId);
    if ((streamFlags & StreamFlag.begin) !== 0) stream = this.#begin(streamId, stream);
    if (stream === undefined) {
      throw new ProtocolError('unknown-stream', `frame on closed stream ${streamId} without stream-begin`);
    }
    if (frame.type === FrameType.streamSettings) this.#configure(stream, frame);
    return stream;
  }

  /** To be called when the frame has gone to its decoder: closes the stream if this was its last frame. */
  leave(frame: Frame): void {
    if ((frame.streamFlags & StreamFlag.end) === 0) return;
    const stream = this.#open.get(frame.streamId);
    if (stream === undefined) return;
    this.#open.delete(frame.streamId);
    if (stream.decoded) this.#decoders.close(stream.id);
  }

  /** Closes all decoders. */
  closeAll(): void {
    for (const stream of this.#open.values()) if (stream.decoded) this.#decoders.close(stream.id);
    this.#open.clear();
  }

  #checkParity(streamId: number): void {
    const odd = (streamId & 1) === 1;
    if (this.#from === 'client' && !odd) {
      throw new ProtocolError('even-stream-id', `frame from the client on even stream ${streamId}`);
    }
    if (this.#from === 'server' && (odd || streamId === 0)) {
      throw new ProtocolError('odd-stream-id', `frame from the server on stream ${streamId}`);
    }
  }

  /** A begin on an open stream resets it: published servers begin stream 2 for every response (protocol B1). */
  #begin(streamId: number, open: IncomingStream | undefined): IncomingStream {
    this.#begins.count(this.#now());
    if (open !== undefined) {
      if (open.decoded) this.#decoders.close(streamId);
    } else if (this.#open.size >= this.#limits.maxIncomingStreams) {
      throw overLimit(
        'maxIncomingStreams',
        `more than ${this.#limits.maxIncomingStreams} open incoming streams`,
      );
    }
    const stream = { id: streamId, profile: 'identity', decoded: false };
    this.#open.set(streamId, stream);
    return stream;
  }

  #configure(stream: IncomingStream, frame: Frame): void {
    if ((frame.streamFlags & StreamFlag.begin) === 0) {
      throw new ProtocolError(
        'settings-not-on-begin',
        `stream-settings in mid-stream on stream ${stream.id}`,
      );
    }
    if ((frame.streamFlags & StreamFlag.encoded) !== 0) {
      throw new ProtocolError('settings-encoded', `encoded stream-settings on stream ${stream.id}`);
    }
    const { profile, bytes } = decodeStreamSettings(frame.payload);
    if (profile === 'identity') return;
    if (!this.#decoders.supports(profile)) {
      throw new ProtocolError('unknown-profile', `stream ${stream.id} wants unknown profile '${profile}'`);
    }
    this.#decoders.open(stream.id, profile, bytes);
    stream.profile = profile;
    stream.decoded = true;
  }
}

/** IDs for the streams that we send on: 1, 3, 5 … or 2, 4 … 254, wrapping, never 0 and never one in use (protocol B4). */
export class OutgoingStreamIds {
  readonly #first: number;
  readonly #most: number;
  readonly #used = new Set<number>();
  #next: number;
  /** Ends a stream that can be done without, and gives its ID back. */
  reclaim: () => void = () => undefined;

  /** `most`: streams that the other end takes at a time. */
  constructor(side: Side, most = DEFAULT_LIMITS.maxIncomingStreams) {
    this.#first = side === 'client' ? 1 : 2;
    this.#next = this.#first;
    this.#most = most;
  }

  /** For a stream that can be done without: an ID, where `left` more are left after it; else undefined. */
  takeSpare(left: number): number | undefined {
    return this.#used.size + left < this.#most ? this.take() : undefined;
  }

  /** @throws Error when all are in use. */
  take(): number {
    if (this.#used.size >= this.#most) this.reclaim();
    for (let tried = 0; tried < 127; tried++) {
      const id = this.#next;
      this.#next = id + 2 > 255 ? this.#first : id + 2;
      if (!this.#used.has(id)) {
        this.#used.add(id);
        return id;
      }
    }
    throw new Error('all outgoing stream IDs are in use');
  }

  give(id: number): void {
    this.#used.delete(id);
  }
}
