/** Decoders of a client's streams, each pinned to a lane. */

import type { BatchReader } from '../../workers/batch.ts';
import { unpackPieces } from '../../workers/packed.ts';
import { type DecoderSetup, Op } from '../../workers/records.ts';
import { type Slice, Work } from '../connection/turns.ts';
import { DecodeError } from '../encoding/codec.ts';
import { zstdNumberOf } from '../encoding/dictionary.ts';
import { mostDecoded } from '../encoding/output.ts';
import { ZSTD, ZSTD_DICT } from '../encoding/profiles.ts';
import { ZstdWalker } from '../encoding/zstd-blocks.ts';
import { dictionaryNamedIn } from '../encoding/zstd-profile.ts';
import type { Decoders, Ticket } from '../reactor/incoming.ts';
import { ProtocolError } from '../wire/errors.ts';
import type { Failure } from '../wire/failure.ts';
import { Fifo } from '../wire/fifo.ts';
import type { Limits } from '../wire/limits.ts';
import { decodeUtf8 } from '../wire/utf8.ts';
import { decoderCost } from './context-cost.ts';
import type { Lane, SlotOwner } from './lane.ts';
import type { LanePool } from './pool.ts';
import type { Pass } from './quarantine.ts';

const NO_MEMORY: Failure = {
  code: 'overloaded',
  message: 'contextMemory: the server has no memory left for another decoder',
};
const HELD: Failure = {
  code: 'overloaded',
  message: 'quarantine: decoders of this encoding keep ending their workers',
};
const NO_LANE: Failure = { code: 'overloaded', message: 'no worker to decode on' };

/** What has become of a frame: its payload, why that is lost, or why it cannot be decoded. */
interface Decoded {
  readonly ticket: Ticket;
  readonly payload?: Uint8Array;
  readonly lost?: Failure;
  readonly error?: DecodeError;
}

/**
 * One incoming stream's decoder: opened on a lane as its first frame comes, for a begin may be all that ever comes of a
 * stream; without a lane, or without memory, it is lost from then on.
 */
class LaneDecoder implements SlotOwner {
  readonly writer = undefined;
  readonly #pool: LanePool;
  readonly #whose: object;
  readonly #setup: DecoderSetup;
  #lane: Lane | undefined;
  #slot = -1;
  /** Bytes that it is accounted with: for the largest window that its frames have asked for so far. */
  #cost = 0;
  /** Finds that window before a lane takes memory for it; undefined where any profile has but one. */
  readonly #walker: ZstdWalker | undefined;
  readonly #tickets: Ticket[] = [];
  /** Its leave to run; undefined: it has none. */
  #pass: Pass | undefined;
  #opened = false;
  #decoded = false;
  readonly #comes: (decoded: Decoded) => void;
  #lost: Failure | undefined;
  #closed = false;

  constructor(
    pool: LanePool,
    whose: object,
    setup: DecoderSetup,
    walker: ZstdWalker | undefined,
    comes: (decoded: Decoded) => void,
  ) {
    this.#pool = pool;
    this.#whose = whose;
    this.#setup = setup;
    this.#walker = walker;
    this.#comes = comes;
  }

  #open(): void {
    this.#opened = true;
    const lane = this.#pool.leastUsed();
    this.#lane = lane;
    this.#slot = lane?.open(this, this.#whose) ?? -1;
    this.#pass = this.#pool.quarantine.admit(this.#setup.suspect);
    if (this.#pass === undefined) this.#lost = HELD;
    else if (lane === undefined) this.#lost = NO_LANE;
    else {
      this.#account(this.#walker === undefined ? this.#setup.maxWindowSize : 0);
      if (this.#lost === undefined) lane.input.addJson(Op.openDecoder, this.#slot, this.#setup);
    }
  }

  decode(ticket: Ticket): void {
    if (!this.#opened) this.#open();
    this.#tickets.push(ticket);
    if (this.#lost === undefined) this.#look(ticket.frame.payload);
    if (this.#lost === undefined) this.#lane?.input.add(Op.decode, this.#slot, 0, 0, 0, ticket.frame.payload);
    else queueMicrotask(() => this.onLost(this.#lost as Failure));
  }

  /** Results still on their way are of frames that came before the end: they have to arrive, unless `lost`. */
  close(lost = false): void {
    this.#giveBack();
    if (lost) this.#tickets.length = 0;
    if (this.#closed) return;
    this.#closed = true;
    this.#pass?.end(this.#decoded);
    this.#lane?.close(this.#slot, !lost);
  }

  onFrame(): void {}

  onRecord(record: BatchReader): void {
    const ticket = this.#tickets.shift();
    if (ticket === undefined) return;
    this.#decoded = true;
    if (record.op === Op.decoded) this.#comes({ ticket, payload: record.payload.slice() });
    else {
      const [told, cause] = unpackPieces(record.payload).map(decodeUtf8);
      const options = cause === '' ? undefined : { cause };
      const where = `stream ${ticket.frame.streamId}: ${told}`;
      const error = new DecodeError(record.flags === 1 ? 'limit' : 'corrupt', where, options);
      this.#comes({ ticket, error });
    }
  }

  onLost(failure: Failure): void {
    this.#giveBack();
    this.#lost = failure;
    for (const ticket of this.#tickets.splice(0)) this.#comes({ ticket, lost: failure });
  }

  /** Reads the headers in a payload: a stream may go on with a frame that has a larger window. */
  #look(payload: Uint8Array): void {
    const walker = this.#walker;
    if (walker === undefined) return;
    const before = walker.largestWindow;
    try {
      walker.walk(payload);
    } catch {
      // The lane's decoder finds the same, and says so; it takes no memory either.
    }
    if (walker.largestWindow > before) this.#account(walker.largestWindow);
  }

  #account(windowSize: number): void {
    this.#giveBack();
    const cost = decoderCost(this.#setup.profile, windowSize);
    if (this.#pool.budget.takeDecoder(cost)) this.#cost = cost;
    else {
      this.close();
      this.#lost = NO_MEMORY;
    }
  }

  #giveBack(): void {
    this.#pool.budget.giveDecoder(this.#cost);
    this.#cost = 0;
  }
}

/**
 * Bytes that the frames of one connection which are being decoded may come to, if every one of them is a bomb. Frames
 * beyond that wait as they came: a few KB of input may stand for hundreds of MB.
 */
const MAX_AHEAD = 4 << 20;
/** The same of all connections together. While they are over it, each has one frame decoded at a time. */
const MAX_AHEAD_OF_ALL = 8 << 20;

/** What waits for its turn: a frame; or the begin or the end of a stream, which come to nothing. */
type Step = Ticket | (() => void);

/** The decoders of one connection. */
export class LaneDecoders implements Decoders {
  readonly #pool: LanePool;
  readonly #limits: Limits;
  readonly #profiles: readonly string[];
  readonly #settle: (ticket: Ticket, error: DecodeError | undefined) => void;
  readonly #open = new Map<number, LaneDecoder>();
  #waiting: Step[] = [];
  #ahead = 0;
  #held = false;
  /** What has come of frames, oldest first: what that sets off is work of the connection, and waits for its turn. */
  readonly #come = new Fifo<Decoded>();
  readonly #work = new Work((slice) => this.#settleSome(slice));
  readonly #whose: object;

  /**
   * `settle` is called when a ticket has its payload, is lost, or (with the error) cannot be decoded. `whose`: as in
   * {@link Lane.open}.
   */
  constructor(
    pool: LanePool,
    limits: Limits,
    profiles: readonly string[],
    settle: (ticket: Ticket, error: DecodeError | undefined) => void,
    whose?: object,
  ) {
    this.#pool = pool;
    this.#whose = whose ?? this;
    this.#limits = limits;
    this.#profiles = profiles;
    this.#settle = settle;
  }

  supports(profile: string): boolean {
    return this.#profiles.includes(profile);
  }

  open(streamId: number, profile: string, settings: Uint8Array): void {
    const { maxDecodedSize, maxDecodedRatio, maxWindowSize } = this.#limits;
    const walker = this.#walker(profile, settings);
    const suspect = this.#pool.quarantine.numberOf('decoder', profile);
    const setup = {
      profile,
      settings: [...settings],
      maxDecodedSize,
      maxDecodedRatio,
      maxWindowSize,
      suspect,
    };
    this.#enqueue(() => {
      this.#open.set(streamId, new LaneDecoder(this.#pool, this.#whose, setup, walker, this.#comes));
    });
  }

  /** @throws ProtocolError when the stream names a dictionary that we do not hold (protocol C9). */
  #walker(profile: string, settings: Uint8Array): ZstdWalker | undefined {
    const { maxWindowSize } = this.#limits;
    if (profile === ZSTD) return new ZstdWalker(maxWindowSize);
    if (profile !== ZSTD_DICT) return undefined;
    const dictionary = this.#pool.dictionaries.get(dictionaryNamedIn(settings));
    if (dictionary === undefined)
      throw new ProtocolError('unknown-dictionary', 'a stream with a dictionary that is not held here');
    return new ZstdWalker(maxWindowSize, zstdNumberOf(dictionary.bytes));
  }

  decode(_streamId: number, ticket: Ticket): undefined {
    this.#enqueue(ticket);
  }

  close(streamId: number): void {
    this.#enqueue(() => this.#close(streamId));
  }

  /** Nobody waits for anything that has come. */
  closeAll(): void {
    this.#waiting = [];
    this.#come.clear();
    this.#count(-this.#ahead);
    for (const streamId of [...this.#open.keys()]) this.#close(streamId, true);
  }

  /** With `held`, decodes nothing more until it is called without: the handlers have enough to read. */
  hold(held: boolean): void {
    this.#held = held;
    this.#goOn();
  }

  #close(streamId: number, lost = false): void {
    const decoder = this.#open.get(streamId);
    if (decoder === undefined) return;
    this.#open.delete(streamId);
    decoder.close(lost);
  }

  #enqueue(step: Step): void {
    this.#waiting.push(step);
    this.#goOn();
  }

  #goOn(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const most = typeof next === 'function' ? 0 : this.#mostOf(next);
      if (most > 0 && !this.#hasRoom(most)) return;
      this.#waiting.shift();
      this.#count(most);
      if (typeof next === 'function') next();
      else this.#open.get(next.frame.streamId)?.decode(next);
    }
  }

  /** Who has something ahead looks again when that has come: nobody has to be woken. */
  #hasRoom(bytes: number): boolean {
    if (this.#held) return false;
    const { decodingBytes } = this.#pool;
    return (
      this.#ahead === 0 || (this.#ahead + bytes <= MAX_AHEAD && decodingBytes + bytes <= MAX_AHEAD_OF_ALL)
    );
  }

  #count(bytes: number): void {
    this.#ahead += bytes;
    this.#pool.decodingBytes += bytes;
  }

  /** At once where little is ahead of anybody: to wait for a turn costs a tenth of what a frame does. */
  readonly #comes = (decoded: Decoded): void => {
    if (this.#come.length === 0 && this.#pool.decodingBytes <= MAX_AHEAD) this.#settleOne(decoded);
    else {
      this.#come.push(decoded);
      this.#pool.turns.ready(this.#work);
    }
  };

  /** Whether there is more. */
  #settleSome(slice: Slice): boolean {
    for (let next = this.#come.shift(); next !== undefined; next = this.#come.shift()) {
      this.#settleOne(next);
      if (slice.count(0)) break;
    }
    return this.#come.length > 0;
  }

  #settleOne({ ticket, payload, lost, error }: Decoded): void {
    ticket.payload = payload;
    ticket.lost = lost;
    this.#count(-this.#mostOf(ticket));
    this.#settle(ticket, error);
    this.#goOn();
  }

  #mostOf(ticket: Ticket): number {
    return mostDecoded(this.#limits, ticket.frame.payload.length);
  }
}
