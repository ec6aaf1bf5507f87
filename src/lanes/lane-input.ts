/**
 * What a lane's thread is sent. Records gather in a batch that leaves at the end of the tick; behind a thread that has
 * enough to do the batch grows meanwhile.
 */

import type { MessagePort } from 'node:worker_threads';
import {
  BATCH_SIZE,
  BatchWriter,
  EARLY_RECORDS,
  filledBytes,
  freeBatch,
  SPARE_BATCHES,
} from '../../workers/batch.ts';
import { packedSize, writePieces } from '../../workers/packed.ts';
import { type LaneMessage, Op } from '../../workers/records.ts';
import { after, type Timer } from '../wire/timers.ts';
import type { HandedFrames } from './handed-frames.ts';

/** While so many batches are on their way to the worker the next one grows … */
const MAX_OUTSTANDING = 2;
/** … for so many milliseconds: a thread that is so far behind may do what is in this one before what is in others. */
const GROW_MS = 20;
/** While so many are on their way it is that far behind, whenever they were sent. */
const FAR_BEHIND = 4;
/** Payload bytes of a batch that are copied to where they take no more room: more would cost this thread too much. */
const SMALL = 64 * 1024;
const utf8 = new TextEncoder();

export class LaneInput {
  readonly #port: MessagePort;
  readonly #frames: HandedFrames;
  #writer: BatchWriter | undefined;
  /** Batches that the thread has, and the bytes in them. */
  #outstanding = 0;
  #outstandingBytes = 0;
  /** When the newest was sent that was alone, or when the one before the oldest came back. */
  #owesSinceMs = 0;
  /** Empty batches of ours / of the lane's. */
  readonly #spares: ArrayBuffer[] = [];
  #homeBound: ArrayBuffer[] = [];
  #flushPlanned = false;
  /** Since when the open batch grows, 0: it does not; and when that is looked at: a timer for each would cost more than most batches. */
  #growsSinceMs = 0;
  #growth: Timer | undefined;
  #closed = false;

  /** `frames` is told what is handed in to be made frames of. */
  constructor(port: MessagePort, frames: HandedFrames) {
    this.#port = port;
    this.#frames = frames;
  }

  /** Bytes that the thread has not done with. */
  get queuedBytes(): number {
    return this.#outstandingBytes + (this.#writer?.end ?? 0);
  }

  /** Since when the thread has had something and has given nothing back; undefined: it has nothing. */
  get owesSinceMs(): number | undefined {
    return this.#outstanding > 0 ? this.#owesSinceMs : undefined;
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
    if (this.#closed) return;
    const writer = this.#room(payload.length);
    writer.bytes.set(payload, writer.end);
    writer.add(op, slot, requestId, type, flags, payload.length, extra);
    this.#added(writer);
  }

  /**
   * The same for what comes back as a frame, or else goes to the slot's owner as the lane dies: until then `payload` must stay as it
   * is.
   */
  hand(op: number, slot: number, requestId: number, type: number, flags: number, payload: Uint8Array): void {
    if (this.#closed) return;
    const { length } = payload;
    this.#frames.add(slot, { requestId, type, flags, payload, length, credited: op === Op.encode });
    this.add(op, slot, requestId, type, flags, payload);
  }

  /** The same for a payload of several parts, as {@link packPieces} puts them together. */
  addPieces(
    op: number,
    slot: number,
    requestId: number,
    type: number,
    flags: number,
    pieces: readonly Uint8Array[],
    extra: number,
  ): void {
    if (this.#closed) return;
    const size = packedSize(pieces);
    const writer = this.#room(size);
    writePieces(writer.bytes, writer.end, pieces);
    writer.add(op, slot, requestId, type, flags, size, extra);
    this.#added(writer);
  }

  addJson(op: number, slot: number, value: unknown): void {
    this.add(op, slot, 0, 0, 0, utf8.encode(JSON.stringify(value)));
  }

  /** Sends what has gathered. What is behind others may wait there for long: where it is little, it takes no more memory than that. */
  ship(isBehind = this.#outstanding >= FAR_BEHIND): void {
    this.#growsSinceMs = 0;
    const writer = this.#writer;
    if (writer === undefined || writer.empty) return;
    this.#writer = undefined;
    if (!isBehind || writer.end > SMALL) this.#post(writer.finish(), isBehind);
    else {
      this.#post(writer.finishSmall(), isBehind);
      this.#keep(writer.bytes.buffer);
    }
  }

  /** The thread has done with a batch of ours. */
  comesHome(batch: ArrayBuffer): void {
    if (--this.#outstanding > 0) this.#owesSinceMs = performance.now();
    this.#outstandingBytes -= filledBytes(batch);
    this.#keep(batch);
    if (this.#writer !== undefined && !this.#writer.empty) this.#planFlush();
  }

  /** Returns a batch of the thread's: with the next of ours, unless that takes so long that it has none left. */
  giveBack(batch: ArrayBuffer): void {
    this.#homeBound.push(batch);
    const spares = this.#homeBound;
    if (spares.length < SPARE_BATCHES || this.#closed) return;
    this.#homeBound = [];
    this.#port.postMessage({ spares } satisfies LaneMessage, spares);
  }

  /** There is no thread any more: what has gathered is not sent, and all that will be added is dropped. */
  close(): void {
    this.#closed = true;
    this.#writer = undefined;
  }

  #room(length: number): BatchWriter {
    if (this.#writer !== undefined) {
      if (this.#writer.fits(length)) return this.#writer;
      this.ship();
    }
    this.#writer = new BatchWriter(this.#spares.pop() ?? BatchWriter.allocate());
    if (!this.#writer.fits(length)) this.#writer = new BatchWriter(BatchWriter.allocate(length));
    return this.#writer;
  }

  #added(writer: BatchWriter): void {
    // A lane that has nothing to do begins while we gather the rest.
    if (this.#outstanding === 0 && writer.count >= EARLY_RECORDS) this.ship();
    else this.#planFlush();
  }

  #planFlush(): void {
    if (this.#outstanding >= MAX_OUTSTANDING) this.#grow();
    else if (!this.#flushPlanned) {
      this.#flushPlanned = true;
      setImmediate(() => {
        this.#flushPlanned = false;
        this.ship();
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
    else this.ship(this.#outstanding >= MAX_OUTSTANDING);
  };

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

  /** For the next batch, if it is large enough. */
  #keep(batch: ArrayBuffer): void {
    if (batch.byteLength >= BATCH_SIZE && this.#spares.length < SPARE_BATCHES) this.#spares.push(batch);
    else freeBatch(batch);
  }
}
