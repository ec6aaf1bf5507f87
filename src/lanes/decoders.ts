/** Decoders of a client's streams, each pinned to a lane. */

import { type BatchReader, type DecoderSetup, Op } from '../../workers/batch.ts';
import { DecodeError } from '../encoding/codec.ts';
import type { Decoders, Ticket } from '../reactor/incoming.ts';
import type { Limits } from '../wire/limits.ts';
import type { Lane, SlotOwner } from './lane.ts';
import type { LanePool } from './pool.ts';

/** One incoming stream's decoder; without a lane it is lost from the start. */
class LaneDecoder implements SlotOwner {
  readonly writer = undefined;
  readonly #lane: Lane | undefined;
  readonly #slot: number;
  readonly #tickets: Ticket[] = [];
  readonly #answer: (ticket: Ticket, error: DecodeError | undefined) => void;
  #lost: string | undefined;

  constructor(
    lane: Lane | undefined,
    setup: DecoderSetup,
    answer: (ticket: Ticket, error?: DecodeError) => void,
  ) {
    this.#lane = lane;
    this.#answer = answer;
    this.#slot = lane?.open(this) ?? -1;
    if (lane === undefined) this.#lost = 'no worker to decode on';
    else lane.addJson(Op.openDecoder, this.#slot, setup);
  }

  decode(ticket: Ticket): void {
    this.#tickets.push(ticket);
    if (this.#lost === undefined) this.#lane?.add(Op.decode, this.#slot, 0, 0, 0, ticket.frame.payload);
    else queueMicrotask(() => this.onLost(this.#lost as string));
  }

  close(): void {
    // Results still on their way are of frames that came before the end: they have to arrive.
    this.#lane?.close(this.#slot, true);
  }

  onFrame(): void {}

  onRecord(record: BatchReader): void {
    const ticket = this.#tickets.shift();
    if (ticket === undefined) return;
    if (record.op === Op.decoded) {
      ticket.payload = record.payload.slice();
      this.#answer(ticket, undefined);
    } else {
      const message = new TextDecoder().decode(record.payload);
      const where = `stream ${ticket.frame.streamId}: ${message}`;
      this.#answer(ticket, new DecodeError(record.flags === 1 ? 'limit' : 'corrupt', where));
    }
  }

  onLost(reason: string): void {
    this.#lost = reason;
    for (const ticket of this.#tickets.splice(0)) {
      ticket.lost = reason;
      this.#answer(ticket, undefined);
    }
  }
}

/** The decoders of one connection. */
export class LaneDecoders implements Decoders {
  readonly #pool: LanePool;
  readonly #limits: Limits;
  readonly #profiles: ReadonlySet<string>;
  readonly #answer: (ticket: Ticket, error: DecodeError | undefined) => void;
  readonly #open = new Map<number, LaneDecoder>();

  /** `answer` is called when a ticket has its payload, is lost, or (with the error) cannot be decoded. */
  constructor(
    pool: LanePool,
    limits: Limits,
    profiles: ReadonlySet<string>,
    answer: (ticket: Ticket, error: DecodeError | undefined) => void,
  ) {
    this.#pool = pool;
    this.#limits = limits;
    this.#profiles = profiles;
    this.#answer = answer;
  }

  supports(profile: string): boolean {
    return this.#profiles.has(profile);
  }

  open(streamId: number, profile: string, settings: Uint8Array): void {
    const lane = this.#pool.leastUsed();
    const { maxDecodedSize, maxDecodedRatio, maxWindowSize } = this.#limits;
    const setup = { profile, settings: [...settings], maxDecodedSize, maxDecodedRatio, maxWindowSize };
    this.#open.set(streamId, new LaneDecoder(lane, setup, this.#answer));
  }

  decode(streamId: number, ticket: Ticket): undefined {
    this.#open.get(streamId)?.decode(ticket);
  }

  close(streamId: number): void {
    const decoder = this.#open.get(streamId);
    if (decoder === undefined) return;
    this.#open.delete(streamId);
    decoder.close();
  }

  closeAll(): void {
    for (const streamId of [...this.#open.keys()]) this.close(streamId);
  }
}
