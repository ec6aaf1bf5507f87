/**
 * The way out of a connection: gathers finished frames and hands them to the transport, at most one write at a time.
 * While a write is under way more frames gather, so under load writes grow by themselves.
 */

import type { OutputShare } from '../reactor/flow.ts';
import type { FlushQueue } from '../reactor/flush-queue.ts';
import type { Gate } from '../reactor/gate.ts';
import { HEADER_SIZE, writeHeader } from '../wire/frame.ts';
import type { Transport } from './transport.ts';

const SCRATCH_SIZE = 64 * 1024;
/** Enough for a small response: many a connection sends no more at a time. */
const FIRST_SCRATCH = 1024;
/** Payloads up to this size are copied next to their header; larger ones travel as a chunk of their own. */
const COPY_LIMIT = 16 * 1024;
/** Shared payloads below this size are copied all the same: a piece of their own costs more. */
const SHARE_FROM = 1024;
/**
 * Nothing is gathered; never added to. An array of each connection's own that grew old, and died with its next write, would
 * keep what was last in it until the next full collection: every scavenge copied some kilobytes for each connection.
 */
const NO_CHUNKS: Uint8Array[] = [];
const NO_LEASES: ((() => void) | undefined)[] = [];
/** Bytes of one write, but for its last chunk: a peer that begins to read again must not be sent all at once. */
const WRITE_SIZE = 1 << 20;

/** So many bytes are written whatever others have written in this turn: settings, pongs, small responses. */
const LITTLE_OUTPUT = 4096;

/** No number of bytes. */
const NOBODY = -1;

/** Who waits until what was sent is with the transport. */
export interface HandOverWaiter {
  handedOver(): void;
}

export class Writer {
  readonly #transport: Transport;
  readonly #output: Gate;
  readonly #share: OutputShare;
  readonly #ends: FlushQueue;
  #chunks = NO_CHUNKS;
  /** For each chunk, what is called when it need not be kept any more. */
  #leases = NO_LEASES;
  /** Bytes added so far. */
  #added = 0;
  /** Who waits, or has, until so many bytes have been handed over. */
  #waiter: HandOverWaiter | undefined;
  #waitsFor = NOBODY;
  #writing = false;
  /** Bytes of the write in progress, and what is called when its chunks need not be kept. */
  #writingBytes = 0;
  #writingLeases: readonly ((() => void) | undefined)[] = NO_LEASES;
  #flushPlanned = false;
  #whenEmpty: (() => void)[] | undefined;
  #scratch = new Uint8Array(0);
  #scratchStart = 0;
  #scratchEnd = 0;
  #closed = false;
  #held = false;
  bytesWritten = 0;

  /**
   * `output` is filled by what waits here and emptied by what the transport has taken. `share`: what may be written in
   * one turn of the event loop. `ends`: what is flushed as the tick ends, which many writers may have in common.
   */
  constructor(transport: Transport, output: Gate, share: OutputShare, ends: FlushQueue) {
    this.#transport = transport;
    this.#output = output;
    this.#share = share;
    this.#ends = ends;
  }

  /** True when what is sent now would wait behind a write that the transport has not finished. */
  get busy(): boolean {
    return this.#writing || this.#held;
  }

  /** Bytes that are gathered, and not handed to the transport. */
  get gathered(): number {
    return this.#added - this.bytesWritten;
  }

  /** True from {@link hold} to {@link release}. */
  get held(): boolean {
    return this.#held;
  }

  /**
   * Adds finished frames; `bytes` belong to the writer from now on, or with `release` until that is called, which it
   * always is.
   */
  send(bytes: Uint8Array, release?: () => void): void {
    if (this.#closed) {
      release?.();
      return;
    }
    this.#sealScratch();
    this.#push(bytes, release);
    this.#count(bytes.length);
  }

  /**
   * Adds one frame; `payload` is copied. `isShared`: nobody ever changes it, so it may go to many connections, and where it is long is
   * not copied; but where there are messages: one ends with a frame, so each chunk has to (protocol C7).
   */
  sendFrame(
    requestId: number,
    streamId: number,
    streamFlags: number,
    type: number,
    flags: number,
    payload: Uint8Array,
    isShared = false,
  ): void {
    if (this.#closed) return;
    const { length } = payload;
    const isApart = isShared && length >= SHARE_FROM && !this.#transport.messages;
    const size = HEADER_SIZE + (isApart ? 0 : length);
    // The first frame is settings, and where lanes make the responses it is the only one that comes by here.
    const isOwn = size > COPY_LIMIT || this.#added === 0;
    const at = isOwn ? 0 : this.#reserve(size);
    const frame = isOwn ? new Uint8Array(size) : this.#scratch;
    writeHeader(frame, at, length, requestId, streamId, streamFlags, type, flags);
    if (!isApart) frame.set(payload, at + HEADER_SIZE);
    if (isOwn) this.send(frame);
    else this.#count(size);
    if (isApart) this.send(payload);
  }

  /**
   * Hands one whole frame to the transport at once, where nothing waits before it nor was written in this turn; false: it
   * was not taken. Nobody ever changes `frame`: it may go to many connections.
   */
  sendAtOnce(frame: Uint8Array): boolean {
    if (this.busy || this.#closed || this.gathered > 0 || this.#waitsFor !== NOBODY) return false;
    if (this.#transport.writeOne === undefined || !this.#share.untouched) return false;
    const { length } = frame;
    this.#added += length;
    this.#begin(length, NO_LEASES);
    this.#writing = !this.#transport.writeOne(frame, this.#written);
    if (this.#writing) this.#output.take(length);
    return true;
  }

  /** Has what is gathered in this tick handed over with that of other connections: a call of its own costs more. */
  flushWith(queue: FlushQueue): void {
    if (this.#flushPlanned || this.#writing || this.#closed) return;
    this.#flushPlanned = true;
    queue.add(this);
  }

  /** Keeps everything back until {@link release} (half duplex, protocol A6). */
  hold(): void {
    this.#held = true;
  }

  release(): void {
    this.#held = false;
    this.flush();
  }

  /** Tells `waiter` when everything added so far has been handed to the transport; one at a time waits. */
  whenHandedOver(waiter: HandOverWaiter): void {
    if (this.#closed) return;
    this.#waiter = waiter;
    this.#waitsFor = this.#added;
  }

  /** Calls `run` once the transport has taken everything. */
  whenEmpty(run: () => void): void {
    this.#whenEmpty = [...(this.#whenEmpty ?? []), run];
    this.flush();
  }

  /** What is added from here on is handed over by {@link flush}, which is about to be called, and not as the tick ends. */
  gather(): void {
    this.#flushPlanned = true;
  }

  /** Hands over what is gathered now instead of at the end of the tick. */
  flush(): void {
    this.#flushPlanned = false;
    while (!this.busy && !this.#closed) {
      if (this.gathered === 0) {
        this.#handOver();
        this.#tellEmpty();
        return;
      }
      if (this.#share.usedUp && this.gathered > LITTLE_OUTPUT) {
        this.#flushPlanned = true;
        this.#share.wait(() => this.flush());
        return;
      }
      // Mostly it is a small response, for which no array is made.
      const taken =
        this.#chunks === NO_CHUNKS ? this.#writeOne(this.#cutScratch(), NO_LEASES) : this.#write();
      this.#handOver();
      if (taken) this.#writeEnded();
    }
  }

  /** Whether the transport has taken it at once. */
  #write(): boolean {
    this.#sealScratch();
    const { chunks, leases, bytes } = this.#take();
    if (chunks.length === 1) return this.#writeOne(chunks[0], leases);
    this.#begin(bytes, leases);
    this.#transport.write(chunks, this.#written);
    return false;
  }

  /** The same for one chunk: a callback for each write costs a small one as much as a twentieth of it. */
  #writeOne(chunk: Uint8Array, leases: readonly ((() => void) | undefined)[]): boolean {
    this.#begin(chunk.length, leases);
    const transport = this.#transport;
    if (transport.writeOne !== undefined) return transport.writeOne(chunk, this.#written);
    transport.write([chunk], this.#written);
    return false;
  }

  #begin(bytes: number, leases: readonly ((() => void) | undefined)[]): void {
    this.#writing = true;
    this.#writingBytes = bytes;
    this.#writingLeases = leases;
    this.bytesWritten += bytes;
    this.#share.take(bytes);
  }

  readonly #written = (error?: Error | null): void => {
    // After an error nothing more goes out; the transport is about to say that it is closed.
    if (error) this.#release();
    else {
      this.#writeEnded();
      this.flush();
    }
  };

  #writeEnded(): void {
    this.#release();
    if (this.#closed) return;
    this.#writing = false;
    if (this.gathered === 0) this.#scratchStart = this.#scratchEnd = 0;
    this.#output.give(this.#writingBytes);
  }

  #release(): void {
    for (const release of this.#writingLeases) release?.();
    this.#writingLeases = NO_LEASES;
  }

  /** The oldest chunks, as many as one write may have. */
  #take(): { chunks: Uint8Array[]; leases: ((() => void) | undefined)[]; bytes: number } {
    let count = 0;
    let bytes = 0;
    while (count < this.#chunks.length && bytes < WRITE_SIZE) bytes += this.#chunks[count++].length;
    if (count < this.#chunks.length)
      return { chunks: this.#chunks.splice(0, count), leases: this.#leases.splice(0, count), bytes };
    const all = { chunks: this.#chunks, leases: this.#leases, bytes };
    this.#chunks = NO_CHUNKS;
    this.#leases = NO_LEASES;
    return all;
  }

  /** Drops everything; whoever waits for room is woken. */
  close(): void {
    this.#closed = true;
    this.#chunks = NO_CHUNKS;
    for (const release of this.#leases) release?.();
    this.#leases = NO_LEASES;
    this.#waitsFor = NOBODY;
    this.#scratch = new Uint8Array(0);
    this.#output.close();
  }

  #push(bytes: Uint8Array, release?: () => void): void {
    if (this.#chunks === NO_CHUNKS) {
      this.#chunks = [bytes];
      this.#leases = [release];
      return;
    }
    this.#chunks.push(bytes);
    this.#leases.push(release);
  }

  #count(bytes: number): void {
    this.#added += bytes;
    this.#output.take(bytes);
    this.flushWith(this.#ends);
  }

  #handOver(): void {
    if (this.#waitsFor === NOBODY || this.#waitsFor > this.bytesWritten) return;
    this.#waitsFor = NOBODY;
    this.#waiter?.handedOver();
  }

  #tellEmpty(): void {
    const whenEmpty = this.#whenEmpty;
    this.#whenEmpty = undefined;
    for (const run of whenEmpty ?? []) run();
  }

  /** Makes room for `size` bytes of scratch; returns where. */
  #reserve(size: number): number {
    if (this.#scratchEnd + size > this.#scratch.length) this.#newScratch(size);
    const at = this.#scratchEnd;
    this.#scratchEnd += size;
    return at;
  }

  #sealScratch(): void {
    if (this.#scratchEnd > this.#scratchStart) this.#push(this.#cutScratch());
  }

  #cutScratch(): Uint8Array {
    const piece = this.#scratch.subarray(this.#scratchStart, this.#scratchEnd);
    this.#scratchStart = this.#scratchEnd;
    return piece;
  }

  /**
   * A connection that sends little keeps little: scratch begins anew once it is all written, and grows with what one write
   * has needed.
   */
  #newScratch(least: number): void {
    this.#sealScratch();
    const next = Math.max(FIRST_SCRATCH, 4 * this.#scratch.length);
    this.#scratch = new Uint8Array(Math.max(Math.min(next, SCRATCH_SIZE), least));
    this.#scratchStart = this.#scratchEnd = 0;
  }
}
