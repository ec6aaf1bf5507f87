/**
 * From frames as they are on the wire to frames in clear, in order.
 *
 * Streams decode at different speeds, yet frames of one request must reach the reactor in wire order. So a
 * frame whose payload is still being decoded holds back later frames of its own request, and of no other.
 */

import { ProtocolError } from '../wire/errors.ts';
import type { Failure } from '../wire/failure.ts';
import { type Frame, FrameType, StreamFlag } from '../wire/frame.ts';
import { type Limits, PIECE_COST } from '../wire/limits.ts';
import { type InputShare, unbounded } from './input-share.ts';
import { IncomingStreams, type Side, type StreamDecoders } from './streams.ts';

/** A frame on its way through a decoder. */
export interface Ticket {
  frame: Frame;
  /** The decoded payload, once it is there. */
  payload: Uint8Array | undefined;
  /** Why the context is gone through no fault of the peer; the frame's request fails, the connection goes on. */
  lost: Failure | undefined;
  /** Bytes that it counts for while it is held. */
  cost: number;
}

/** Decoders that may answer at once (same thread) or later (a lane). */
export interface Decoders extends StreamDecoders {
  /**
   * Decodes `payload` on the stream's context. Returns the bytes, valid until the next call, or undefined when they
   * will come later through {@link IncomingFrames.decoded}; frames of one stream come back in order.
   * @throws DecodeError on a bad payload.
   */
  decode(streamId: number, ticket: Ticket): Uint8Array | undefined;
}

/** Takes frames in clear, in order per request. `lost` says why the payload could not be had. */
export interface FrameReceiver {
  take(frame: Frame, payload: Uint8Array, lost: Failure | undefined): void;
}

const NOTHING = new Uint8Array(0);
/** A frame may keep memory alive up to this multiple of what it counts for. */
const COMPACT_BELOW = 4;
/** Bytes of a buffer that copies of tiny payloads share: any of them alone counts for a quarter of it. */
const SHARED_SIZE = COMPACT_BELOW * PIECE_COST;

/** No stream's ID. */
const NONE = -1;

export class IncomingFrames {
  readonly #streams: IncomingStreams;
  readonly #decoders: Decoders;
  readonly #receiver: FrameReceiver;
  readonly #held = new Map<number, Ticket[]>();
  readonly #input: InputShare;
  #heldBytes = 0;
  /** The stream of the newest frame, while it is open. */
  #newestId = NONE;
  /** Where the next tiny payload is copied to; one buffer for each would take ten times its bytes. */
  #shared = NOTHING;
  #sharedEnd = 0;

  /** `input`: where what is held counts. */
  constructor(
    from: Side,
    limits: Limits,
    decoders: Decoders,
    receiver: FrameReceiver,
    now: () => number,
    input: InputShare = unbounded(),
  ) {
    this.#input = input;
    this.#streams = new IncomingStreams(from, limits, decoders, now);
    this.#decoders = decoders;
    this.#receiver = receiver;
  }

  /** Bytes of frames that wait for a decoder, or decoded ones behind a frame that does; each also costs PIECE_COST. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** True while frames of the request wait for a decoder. */
  holds(requestId: number): boolean {
    return this.#held.has(requestId);
  }

  /** True while some frame waits for a decoder. */
  get waiting(): boolean {
    return this.#held.size > 0;
  }

  /** @throws ProtocolError */
  push(frame: Frame): void {
    const { streamId, streamFlags, type } = frame;
    // Mostly it is another frame in clear on the stream of the one before: nothing of the stream changes, and it is not looked at.
    if (streamFlags === 0 && streamId === this.#newestId && type !== FrameType.streamSettings)
      return this.#pass(frame);
    const { decoded } = this.#streams.enter(frame);
    this.#newestId = streamFlags & StreamFlag.end ? NONE : streamId;
    if (decoded && streamFlags & StreamFlag.encoded) this.#decode(frame);
    else if (type !== FrameType.streamSettings) this.#pass(frame);
    this.#streams.leave(frame);
  }

  /** A decoder has answered `ticket`, by `payload` or by `lost`. */
  decoded(ticket: Ticket): void {
    const queue = this.#held.get(ticket.frame.requestId);
    if (queue === undefined) return;
    this.#count(ticket, ticket.payload?.length ?? 0);
    while (queue.length > 0 && (queue[0].payload !== undefined || queue[0].lost !== undefined)) {
      const { frame, payload, lost, cost } = queue.shift() as Ticket;
      this.#heldBytes -= cost;
      this.#input.give(cost);
      if (queue.length === 0) this.#held.delete(frame.requestId);
      this.#receiver.take(frame, payload ?? NOTHING, lost);
    }
  }

  /** Forgets what is held and closes all decoders. */
  close(): void {
    this.#held.clear();
    this.#input.give(this.#heldBytes);
    this.#heldBytes = 0;
    this.#newestId = NONE;
    this.#streams.closeAll();
  }

  #decode(frame: Frame): void {
    const ticket: Ticket = { frame, payload: undefined, lost: undefined, cost: 0 };
    const payload = this.#decoders.decode(frame.streamId, ticket);
    if (payload === undefined) {
      ticket.frame = this.#compact(frame);
      this.#hold(ticket);
    } else if (this.#held.has(frame.requestId)) {
      ticket.payload = payload.slice();
      this.#hold(ticket);
    } else this.#receiver.take(frame, payload, undefined);
  }

  #pass(frame: Frame): void {
    if (this.#heldBytes > 0 && this.#held.has(frame.requestId) && !this.#overtakes(frame)) {
      const kept = this.#compact(frame);
      this.#hold({ frame: kept, payload: kept.payload, lost: undefined, cost: 0 });
    } else this.#receiver.take(frame, frame.payload, undefined);
  }

  /** Cancel and credit wait for no data; but for the name of their command, without which they mean nothing. */
  #overtakes({ type, requestId }: Frame): boolean {
    if (type !== FrameType.cancel && type !== FrameType.credit) return false;
    return !this.#held.get(requestId)?.some(({ frame }) => frame.type === FrameType.commandName);
  }

  /** A frame to be kept: a small one in a copy, for as it came it would keep the whole chunk that it came in. */
  #compact(frame: Frame): Frame {
    const { payload } = frame;
    if (COMPACT_BELOW * payload.length >= payload.buffer.byteLength) return frame;
    return { ...frame, payload: payload.length < PIECE_COST ? this.#copied(payload) : payload.slice() };
  }

  #copied(payload: Uint8Array): Uint8Array {
    if (this.#sharedEnd + payload.length > this.#shared.length) {
      this.#shared = new Uint8Array(SHARED_SIZE);
      this.#sharedEnd = 0;
    }
    const start = this.#sharedEnd;
    this.#sharedEnd += payload.length;
    this.#shared.set(payload, start);
    return this.#shared.subarray(start, this.#sharedEnd);
  }

  #hold(ticket: Ticket): void {
    const queue = this.#held.get(ticket.frame.requestId);
    if (queue === undefined) this.#held.set(ticket.frame.requestId, [ticket]);
    else queue.push(ticket);
    this.#count(ticket, ticket.frame.payload.length + PIECE_COST);
  }

  #count(ticket: Ticket, bytes: number): void {
    ticket.cost += bytes;
    this.#heldBytes += bytes;
    this.#input.take(bytes);
  }
}

/** A frame of a type that the other side may not send (protocol B6). */
export function wrongType(frame: Frame, from: Side): ProtocolError {
  const known = frame.type >= FrameType.commandName && frame.type <= FrameType.dictionaryHeld;
  return known
    ? new ProtocolError('wrong-direction', `frame type ${frame.type} is not for the ${from} to send`)
    : new ProtocolError('unknown-type', `unknown frame type ${frame.type}`);
}
