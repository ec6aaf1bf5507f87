/**
 * The main-thread side of a lane: one worker thread and the streams pinned to it. What it is sent gathers in its
 * {@link LaneInput}; finished frames come back in batches and go to their connections' writers.
 */

import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { BatchReader } from '../../workers/batch.ts';
import { DroppedSlots } from '../../workers/dropped.ts';
import { Parties } from '../../workers/parties.ts';
import { FrameFlag, type LaneMessage, type LaneStats, Op } from '../../workers/records.ts';
import { Trace } from '../../workers/trace.ts';
import { type Slice, type Turns, Work } from '../connection/turns.ts';
import type { Failure } from '../wire/failure.ts';
import { BatchLease, type FrameTarget } from './batch-lease.ts';
import { CallMarks } from './call-marks.ts';
import { type HandedFrame, HandedFrames } from './handed-frames.ts';
import { LaneInput } from './lane-input.ts';
import type { LaneLoad } from './lanes-in-use.ts';
import { partyOf } from './party.ts';

/** Who holds a slot of a lane: a response stream's encoder or an incoming stream's decoder. */
export interface SlotOwner {
  /** Where finished frames of this slot go; undefined for decoders. */
  readonly writer: FrameTarget | undefined;
  /** A finished frame is about to be given to the writer. */
  onFrame(requestId: number, frameFlags: number, rawLength: number, wireLength: number): void;
  /** Any other record; its payload is gone after the call. */
  onRecord(record: BatchReader): void;
  /**
   * The lane is dead; `left`: what was handed to it and has not come back. All owners are told before any {@link onLost}: nothing may
   * be set off that another would do with a dead lane.
   */
  onLeft?(left: readonly HandedFrame[]): void;
  /** The lane is dead, and the context with it: what peers may know of it, and what it died of. */
  onLost(failure: Failure, cause: Error | undefined): void;
}

const NOTHING = new Uint8Array(0);

export class Lane implements LaneLoad {
  readonly index: number;
  /** What its thread is at. */
  readonly trace = new Trace();
  readonly marks = new CallMarks(this.trace);
  /** What it has to decode no more. */
  readonly dropped = new DroppedSlots();
  /** Whose its slots are. */
  readonly parties = new Parties();
  /** What its thread is sent. */
  readonly input: LaneInput;
  readonly #port: MessagePort;
  readonly #slots: (SlotOwner | undefined)[] = [];
  readonly #freeSlots: number[] = [];
  #openSlots = 0;
  readonly #frames = new HandedFrames();
  readonly #turns: Turns;
  readonly #onBroken: (error: unknown) => void;
  /** The lane's batches that have come and wait for their turn, oldest first. */
  readonly #arrived: ArrayBuffer[] = [];
  readonly #delivery = new Work((slice) => this.#deliverSome(slice), true);
  /** The lane's batches that writers have not done with. */
  #lent = 0;
  #alive = true;
  #unansweredBeats = 0;
  #statsWaiters: ((stats: LaneStats) => void)[] = [];
  /** Who waits for the handlers' modules is told what is wrong with them; empty: nothing. */
  #loadWaiters: ((problem: string) => void)[] = [];
  /** Of the worker that it runs on; undefined until that has given a sign of life. */
  threadId: number | undefined;
  /** Response frames that came out of this lane, and their bytes before and after encoding. */
  readonly totals = { frames: 0, bytesIn: 0, bytesOut: 0 };

  /**
   * `onBroken` is told of an error while records of the lane were dealt with: its streams are not to be trusted. `turns`:
   * when they are dealt with.
   */
  constructor(index: number, port: MessagePort, onBroken: (error: unknown) => void, turns: Turns) {
    this.index = index;
    this.#port = port;
    this.input = new LaneInput(port, this.#frames);
    this.#onBroken = onBroken;
    this.#turns = turns;
    port.on('message', (message: LaneMessage) => this.#onMessage(message));
    // The first thing that the thread does is to answer: what it is asked next may keep it for ever.
    this.beat();
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** Bytes that the thread has not done with. */
  get queuedBytes(): number {
    return this.input.queuedBytes;
  }

  get busyMs(): number {
    return this.trace.busyMs;
  }

  get owesSinceMs(): number | undefined {
    return this.input.owesSinceMs;
  }

  /** Slots in use: streams whose context lives here. */
  get openSlots(): number {
    return this.#openSlots;
  }

  /** Whether the thread has been asked for its modules, and has not said how that went. */
  get loading(): boolean {
    return this.#loadWaiters.length > 0;
  }

  /** Reserves a slot for `owner`; `whose`: with all of whose slots it shares a part of the thread's time. */
  open(owner: SlotOwner, whose: object = owner): number {
    const slot = this.#freeSlots.pop() ?? this.#slots.length;
    this.#slots[slot] = owner;
    this.parties.set(slot, partyOf(whose));
    this.#openSlots++;
    return slot;
  }

  /** Frees the slot's context; what is still to be decoded, or on its way back, is dropped, unless `deliver`. */
  close(slot: number, deliver = false): void {
    if (!this.#alive) return;
    if (!deliver) {
      this.#slots[slot] = undefined;
      this.dropped.add(slot);
      this.#frames.drop(slot);
    }
    this.input.add(Op.close, slot, 0, 0, 0, NOTHING);
  }

  /** Asks the thread for its figures; undefined when it is dead. */
  stats(): Promise<LaneStats | undefined> {
    if (!this.#alive) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#statsWaiters.push(resolve as (stats: LaneStats) => void);
      this.#port.postMessage({ ask: 'stats' } satisfies LaneMessage);
    });
  }

  /** Resolves when the thread has loaded the modules of its handlers. @throws Error that says why it cannot. */
  async load(): Promise<void> {
    const problem = await new Promise<string>((resolve) => {
      this.#loadWaiters.push(resolve);
      this.#port.postMessage({ ask: 'load' } satisfies LaneMessage);
    });
    if (problem !== '') throw new Error(problem);
  }

  /**
   * Asks the thread for a sign of life, unless the last asking is still unanswered; returns how often this was called
   * since that one. A thread that has never given one may still be starting: then it returns 0.
   */
  beat(): number {
    if (!this.#alive) return 0;
    if (this.#unansweredBeats === 0) this.#port.postMessage({ ask: 'beat' } satisfies LaneMessage);
    return this.threadId === undefined ? 0 : this.#unansweredBeats++;
  }

  /** Ends the pool task after everything sent so far. */
  end(): void {
    if (!this.#alive) return;
    this.input.ship();
    this.#port.postMessage({ ask: 'end' } satisfies LaneMessage);
  }

  /** The worker is gone: every slot's owner is told, once, what its peers may know of it. */
  lose(failure: Failure, cause?: Error): void {
    if (!this.#alive) return;
    this.#takeLast();
    for (const batch of this.#arrived.splice(0)) this.#deliverSafely(batch);
    this.#alive = false;
    this.#port.close();
    this.input.close();
    for (const tell of this.#statsWaiters) tell(undefined as unknown as LaneStats);
    const why = cause === undefined ? failure.message : `${failure.message}: ${cause.message}`;
    for (const tell of this.#loadWaiters.splice(0)) tell(why);
    const owners = this.#slots.splice(0);
    for (const [slot, owner] of owners.entries()) {
      const frames = this.#frames.left(slot);
      if (frames !== undefined) owner?.onLeft?.(frames);
    }
    for (const owner of owners) owner?.onLost(failure, cause);
  }

  /** What the thread had finished before it died counts. */
  #takeLast(): void {
    try {
      for (let last = receiveMessageOnPort(this.#port); last; last = receiveMessageOnPort(this.#port))
        this.#onMessage(last.message);
    } catch {
      // It may have died of what it says.
    }
  }

  #onMessage(message: LaneMessage): void {
    if (!this.#alive) return;
    if (message.batch !== undefined) {
      this.#arrived.push(message.batch);
      this.#turns.ready(this.#delivery);
    }
    if (message.spare !== undefined) this.input.comesHome(message.spare);
    if (message.alive !== undefined) {
      this.threadId = message.alive;
      this.#unansweredBeats = 0;
    }
    if (message.loaded !== undefined) this.#loadWaiters.shift()?.(message.loaded);
    if (message.stats !== undefined) this.#statsWaiters.shift()?.(message.stats);
  }

  /** Whether more batches wait. */
  #deliverSome(slice: Slice): boolean {
    for (;;) {
      const batch = this.#arrived.shift();
      if (batch === undefined) return false;
      this.#deliverSafely(batch);
      // However many bytes there are, they stay where they are.
      if (slice.countLong(0)) return this.#arrived.length > 0;
    }
  }

  #deliverSafely(batch: ArrayBuffer): void {
    try {
      this.#deliver(batch);
    } catch (error) {
      // Which of its frames have been sent is not known.
      this.#frames.distrustAll();
      this.#onBroken(error);
    }
  }

  #deliver(batch: ArrayBuffer): void {
    const record = new BatchReader(batch);
    const lease = new BatchLease(batch, this.#lent++, this.#giveBack);
    let writer: FrameTarget | undefined;
    let start = 0;
    let end = 0;
    while (record.next()) {
      const owner = this.#slots[record.slot];
      if (record.op !== Op.frame) {
        // What a record sets off may write at once: the frames before it go first.
        if (writer !== undefined) lease.send(writer, record.bytes, start, end);
        writer = undefined;
        if (record.op === Op.unencoded) this.#frames.distrust(record.slot);
        if (record.op === Op.closed) this.#freeSlot(record.slot);
        else owner?.onRecord(record);
        continue;
      }
      if ((record.flags & FrameFlag.call) === 0 && record.requestId !== 0) this.#frames.returned(record.slot);
      this.totals.frames++;
      this.totals.bytesIn += record.extra;
      this.totals.bytesOut += record.length;
      // Frames of one connection that lie side by side leave as one piece.
      if (owner?.writer !== writer || record.offset !== end) {
        if (writer !== undefined) lease.send(writer, record.bytes, start, end);
        writer = owner?.writer;
        start = record.offset;
      }
      end = record.offset + record.length;
      owner?.onFrame(record.requestId, record.flags, record.extra, record.length);
    }
    if (writer !== undefined) lease.send(writer, record.bytes, start, end);
    lease.release();
  }

  readonly #giveBack = (batch: ArrayBuffer): void => {
    this.#lent--;
    this.input.giveBack(batch);
  };

  #freeSlot(slot: number): void {
    this.#slots[slot] = undefined;
    this.#frames.drop(slot);
    this.#freeSlots.push(slot);
    this.#openSlots--;
  }
}
