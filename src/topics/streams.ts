/**
 * The streams of one connection that carry topics. Each subscription has one of its own while the peer takes so many; the
 * others share one, where every payload stands alone.
 */

import type { Writer } from '../connection/writer.ts';
import { canBeginAfresh, IDENTITY } from '../encoding/profiles.ts';
import type { FlushQueue } from '../reactor/flush-queue.ts';
import type { OutgoingStreamIds } from '../reactor/streams.ts';
import { BytesResponseFlag, FrameType, StreamFlag } from '../wire/frame.ts';
import { encodeStreamSettings } from '../wire/payloads.ts';
import type { SharedPayload } from './message.ts';

const NOTHING = new Uint8Array(0);

/** Whoever sends on a topic's stream. */
export interface StreamUser {
  /** Of its request, which is open. */
  readonly requestId: number;
  /** The stream is gone, and what its decoder knew. */
  streamGone(): void;
}

export class TopicStream {
  readonly id: number;
  readonly isShared: boolean;
  readonly users = new Set<StreamUser>();
  readonly #writer: Writer;
  /** Whether it has begun, and what it has said of itself. */
  #profile = IDENTITY;
  #settings: Uint8Array | undefined;
  /** A decoder of it needs what came before: the payload before was not the last of its epoch. */
  isMidEpoch = false;

  constructor(id: number, isShared: boolean, writer: Writer) {
    this.id = id;
    this.isShared = isShared;
    this.#writer = writer;
  }

  /**
   * The next payload needs nothing that came before it: begins the stream (protocol A5), or begins it afresh where its
   * decoder is in the middle of something else (protocol B1).
   */
  begin(profile: string, settings: Uint8Array): void {
    const isReady = this.#settings === settings && this.#profile === profile;
    if (isReady && !this.isMidEpoch && canBeginAfresh(profile)) return;
    this.#profile = profile;
    this.#settings = settings;
    this.isMidEpoch = false;
    const payload = encodeStreamSettings(profile, settings);
    this.#writer.sendFrame(0, this.id, StreamFlag.begin, FrameType.streamSettings, 0, payload);
  }

  get begun(): boolean {
    return this.#settings !== undefined;
  }

  /** Sends a piece of a response, encoded once for all who get it; it goes out with what others have in `flushes`. */
  send(requestId: number, payload: Uint8Array, flushes: FlushQueue): void {
    this.#writer.flushWith(flushes);
    const flags = BytesResponseFlag.continuation;
    this.#writer.sendFrame(
      requestId,
      this.id,
      StreamFlag.encoded,
      FrameType.bytesResponse,
      flags,
      payload,
      true,
    );
  }

  /** Sends the payload in a frame that is made once for all who are alike, if nothing is before it; false: it did not. */
  sendAtOnce(requestId: number, payload: SharedPayload): boolean {
    const frame = payload.frame(requestId, this.id);
    return frame !== undefined && this.#writer.sendAtOnce(frame);
  }

  /** Sends the last frame of a response, which ends the stream, too. */
  finish(requestId: number, type: number, flags: number, payload: Uint8Array): void {
    this.#writer.sendFrame(requestId, this.id, StreamFlag.end, type, flags, payload);
  }

  /** Ends it with an empty piece of a response to one of its users. */
  end(requestId: number): void {
    if (!this.begun) return;
    const flags = BytesResponseFlag.continuation;
    this.#writer.sendFrame(requestId, this.id, StreamFlag.end, FrameType.bytesResponse, flags, NOTHING);
  }
}

export class TopicStreams {
  readonly #ids: OutgoingStreamIds;
  readonly #writer: Writer;
  /** The newest last. */
  readonly #own: TopicStream[] = [];
  #shared: TopicStream | undefined;

  constructor(ids: OutgoingStreamIds, writer: Writer) {
    this.#ids = ids;
    this.#writer = writer;
    const reclaim = () => this.#reclaim();
    ids.reclaim = reclaim;
  }

  /** A stream for one user alone; undefined where the peer takes no more of them. */
  own(user: StreamUser): TopicStream | undefined {
    // One is left for those who come too late.
    const stream = this.#open(false, this.#shared === undefined ? 1 : 0);
    if (stream !== undefined) this.#own.push(stream);
    stream?.users.add(user);
    return stream;
  }

  /** The stream where every payload stands alone; undefined where the peer takes no more streams at all. */
  shared(user: StreamUser): TopicStream | undefined {
    this.#shared ??= this.#open(true, 0);
    this.#shared?.users.add(user);
    return this.#shared;
  }

  /** The user sends nothing more; true: its last frame has to end the stream. */
  leave(stream: TopicStream, user: StreamUser): boolean {
    stream.users.delete(user);
    if (stream.users.size > 0) return false;
    this.#forget(stream);
    return stream.begun;
  }

  #open(isShared: boolean, left: number): TopicStream | undefined {
    const id = this.#ids.takeSpare(left);
    return id === undefined ? undefined : new TopicStream(id, isShared, this.#writer);
  }

  /** Somebody else needs a stream: the newest is ended, and its users go on without. */
  #reclaim(): void {
    const stream = this.#own.at(-1) ?? this.#shared;
    if (stream === undefined) return;
    const [user] = stream.users;
    stream.end(user.requestId);
    this.#forget(stream);
    for (const each of stream.users) each.streamGone();
  }

  #forget(stream: TopicStream): void {
    const at = this.#own.indexOf(stream);
    if (at >= 0) this.#own.splice(at, 1);
    if (this.#shared === stream) this.#shared = undefined;
    this.#ids.give(stream.id);
  }
}
