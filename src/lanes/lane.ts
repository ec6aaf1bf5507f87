/**
 * The main-thread side of a lane: one worker thread and the streams pinned to it. Payloads gather in a batch that
 * leaves at the end of the tick; finished frames come back in batches and go to their connections' writers.
 */

import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import {
  BATCH_SIZE,
  BatchReader,
  BatchWriter,
  EARLY_RECORDS,
  filledBytes,
  freeBatch,
  numberOf,
  SPARE_BATCHES,
} from '../../workers/batch.ts';
import { DroppedSlots } from '../../workers/dropped.ts';
import { packedSize, writePieces } from '../../workers/packed.ts';
import { Parties } from '../../workers/parties.ts';
import { FrameFlag, type LaneMessage, type LaneStats, Op } from '../../workers/records.ts';
import { Trace } from '../../workers/trace.ts';
import { type Slice, type Turns, Work } from '../connection/turns.ts';
import type { Failure } from '../wire/failure.ts';
import { after, type Timer } from '../wire/timers.ts';
import { BatchLease, type FrameTarget } from './batch-lease.ts';
import { CallMarks } from './call-marks.ts';
import { type HandedFrame, HandedFrames } from './handed-frames.ts';
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

/** While so many batches are on their way to the worker the next one grows … */
const MAX_OUTSTANDING = 2;
/** … for so many milliseconds: a thread that is so far behind may do what is in this one before what is in others. */
const GROW_MS = 20;
/** While so many are on their way it is that far behind, whenever they were sent. */
const FAR_BEHIND = 4;
/** Payload bytes of a batch that are copied to where they take no more room: more would cost this thread too much. */
const SMALL = 64 * 1024;
const NOTHING = new Uint8Array(0);
const utf8 = new TextEncoder();

export class Lane implements LaneLoad {
  readonly index: number;
  /** What its thread is at. */
  readonly trace = new Trace();
  readonly marks = new CallMarks(this.trace);
  /** What it has to decode no more. */
  readonly dropped = new DroppedSlots();
  /** Whose its slots are. */
  readonly parties = new Parties();
  readonly #port: MessagePort;
  readonly #slots: (SlotOwner | undefined)[] = [];
  readonly #freeSlots: number[] = [];
  #openSlots = 0;
  #writer: BatchWriter | undefined;
  /** Whether it holds frames to be made. */
  #holdsFrames = false;
  readonly #frames = new HandedFrames();
  /** Of the newest batch. */
  #number = 0;
  /** Batches that the thread has, and the bytes in them. */
  #outstanding = 0;
  #outstandingBytes = 0;
  /** When the newest was sent that was alone, or when the one before the oldest came back. */
  #owesSinceMs = 0;
  readonly #turns: Turns;
  readonly #onBroken: (error: unknown) => void;
  /** The lane's batches that have come and wait for their turn, oldest first. */
  readonly #arrived: ArrayBuffer[] = [];
  readonly #delivery = new Work((slice) => this.#deliverSome(slice), true);
  /** The lane's batches that writers have not done with. */
  #lent = 0;
  /** Empty batches of ours / of the lane's. */
  #spares: ArrayBuffer[] = [];
  #homeBound: ArrayBuffer[] = [];
  #flushPlanned = false;
  /** Since when the open batch grows, 0: it does not; and when that is looked at: a timer for each would cost more than most batches. */
  #growsSinceMs = 0;
  #growth: Timer | undefined;
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
    return this.#outstandingBytes + (this.#writer?.end ?? 0);
  }

  get busyMs(): number {
    return this.trace.busyMs;
  }

  get owesSinceMs(): number | undefined {
    return this.#outstanding > 0 ? this.#owesSinceMs : undefined;
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
    }
    this.add(Op.close, slot, 0, 0, 0, NOTHING);
  }

  /** Adds a record; `payload` is copied. */
  add(
    op: number,
    slot: number,
    requestId: number,
    type: number,
    flags: number,
    payload: Uint8Array,
    extra = 0,
  ): void {
    if (!this.#alive) return;
    const writer = this.#room(payload.length);
    writer.bytes.set(payload, writer.end);
    writer.add(op, slot, requestId, type, flags, payload.length, extra);
    this.#added(writer);
  }

  /** The same for what comes back as a frame, or else goes to {@link SlotOwner.onLeft}. */
  hand(op: number, slot: number, requestId: number, type: number, flags: number, payload: Uint8Array): void {
    if (!this.#alive) return;
    const writer = this.#room(payload.length);
    writer.bytes.set(payload, writer.end);
    writer.add(op, slot, requestId, type, flags, payload.length, this.#frames.next(slot));
    this.#holdsFrames = true;
    this.#added(writer);
  }

  /** The same for a payload of {@link packPieces}. */
  addPieces(
    op: number,
    slot: number,
    requestId: number,
    type: number,
    flags: number,
    pieces: readonly Uint8Array[],
    extra: number,
  ): void {
    if (!this.#alive) return;
    const size = packedSize(pieces);
    const writer = this.#room(size);
    writePieces(writer.bytes, writer.end, pieces);
    writer.add(op, slot, requestId, type, flags, size, extra);
    this.#added(writer);
  }

  #added(writer: BatchWriter): void {
    // A lane that has nothing to do begins while we gather the rest.
    if (this.#outstanding === 0 && writer.count >= EARLY_RECORDS) this.#ship();
    else this.#planFlush();
  }

  addJson(op: number, slot: number, value: unknown): void {
    this.add(op, slot, 0, 0, 0, utf8.encode(JSON.stringify(value)));
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
    this.#ship();
    this.#port.postMessage({ ask: 'end' } satisfies LaneMessage);
  }

  /** The worker is gone: every slot's owner is told, once, what its peers may know of it. */
  lose(failure: Failure, cause?: Error): void {
    if (!this.#alive) return;
    this.#takeLast();
    for (const batch of this.#arrived.splice(0)) this.#deliverSafely(batch);
    if (this.#writer !== undefined) this.#finish(this.#writer);
    this.#alive = false;
    this.#port.close();
    this.#writer = undefined;
    for (const tell of this.#statsWaiters) tell(undefined as unknown as LaneStats);
    const why = cause === undefined ? failure.message : `${failure.message}: ${cause.message}`;
    for (const tell of this.#loadWaiters.splice(0)) tell(why);
    const left = this.#frames.left();
    const owners = this.#slots.splice(0);
    for (const [slot, owner] of owners.entries()) {
      const frames = left(slot);
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

  #room(length: number): BatchWriter {
    if (this.#writer !== undefined) {
      if (this.#writer.fits(length)) return this.#writer;
      this.#ship();
    }
    this.#writer = new BatchWriter(this.#spares.pop() ?? BatchWriter.allocate());
    if (!this.#writer.fits(length)) this.#writer = new BatchWriter(BatchWriter.allocate(length));
    return this.#writer;
  }

  #planFlush(): void {
    if (this.#outstanding >= MAX_OUTSTANDING) this.#grow();
    else if (!this.#flushPlanned) {
      this.#flushPlanned = true;
      setImmediate(() => {
        this.#flushPlanned = false;
        this.#ship();
      });
    }
  }

  #grow(): void {
    if (this.#growsSinceMs === 0) this.#growsSinceMs = performance.now();
    this.#growth ??= after(GROW_MS, this.#look);
  }

  readonly #look = (): void => {
    this.#growth = undefined;
    if (this.#growsSinceMs === 0) return;
    const leftMs = this.#growsSinceMs + GROW_MS - performance.now();
    if (leftMs > 0) this.#growth = after(leftMs, this.#look);
    else this.#ship(this.#outstanding >= MAX_OUTSTANDING);
  };

  /** Sends what has gathered. What is behind others may wait there for long: where it is little, it takes no more memory than that. */
  #ship(isBehind = this.#outstanding >= FAR_BEHIND): void {
    this.#growsSinceMs = 0;
    const writer = this.#writer;
    if (writer === undefined || writer.empty || !this.#alive) return;
    this.#writer = undefined;
    const batch = this.#finish(writer);
    if (!isBehind || writer.end > SMALL) this.#post(batch, isBehind);
    else {
      this.#post(writer.copy(), isBehind);
      this.#keep(batch);
    }
  }

  #finish(writer: BatchWriter): ArrayBuffer {
    this.#number = (this.#number + 1) >>> 0;
    const batch = writer.finish(this.#number);
    if (this.#holdsFrames) this.#frames.keep(this.#number, writer.copy());
    this.#holdsFrames = false;
    return batch;
  }

  #post(batch: ArrayBuffer, isBehind: boolean): void {
    if (this.#outstanding++ === 0) this.#owesSinceMs = performance.now();
    this.#outstandingBytes += filledBytes(batch);
    const message: LaneMessage = isBehind ? { batch, isBehind } : { batch };
    const spares = this.#homeBound;
    if (spares.length === 0) {
      this.#port.postMessage(message, [batch]);
      return;
    }
    this.#homeBound = [];
    this.#port.postMessage({ ...message, spares } satisfies LaneMessage, [batch, ...spares]);
  }

  #onMessage(message: LaneMessage): void {
    if (!this.#alive) return;
    if (message.batch !== undefined) {
      this.#arrived.push(message.batch);
      this.#turns.ready(this.#delivery);
    }
    if (message.spare !== undefined) this.#comesHome(message.spare);
    if (message.alive !== undefined) {
      this.threadId = message.alive;
      this.#unansweredBeats = 0;
    }
    if (message.loaded !== undefined) this.#loadWaiters.shift()?.(message.loaded);
    if (message.stats !== undefined) this.#statsWaiters.shift()?.(message.stats);
  }

  #comesHome(batch: ArrayBuffer): void {
    if (--this.#outstanding > 0) this.#owesSinceMs = performance.now();
    this.#outstandingBytes -= filledBytes(batch);
    this.#frames.letGo(numberOf(batch));
    this.#keep(batch);
    if (this.#writer !== undefined && !this.#writer.empty) this.#planFlush();
  }

  /** For the next batch, if it is large enough. */
  #keep(batch: ArrayBuffer): void {
    if (batch.byteLength >= BATCH_SIZE && this.#spares.length < SPARE_BATCHES) this.#spares.push(batch);
    else freeBatch(batch);
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
    this.#homeBound.push(batch);
    // They go home with the next batch, unless that takes so long that the lane has none left.
    const spares = this.#homeBound;
    if (spares.length < SPARE_BATCHES || !this.#alive) return;
    this.#homeBound = [];
    this.#port.postMessage({ spares } satisfies LaneMessage, spares);
  };

  #freeSlot(slot: number): void {
    this.#slots[slot] = undefined;
    this.#frames.slotFree(slot);
    this.#freeSlots.push(slot);
    this.#openSlots--;
  }
}
