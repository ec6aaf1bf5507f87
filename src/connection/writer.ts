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
/** Bytes that may gather here of what many connections share; the rest is better off where it is held once for all. */
const MOST_SHARED = 64 * 1024;
/** Payloads up to this size are copied next to their header; larger ones travel as a chunk of their own. */
const COPY_LIMIT = 16 * 1024;
/** Shared payloads below this size are copied all the same: a piece of their own costs more. */
const SHARE_FROM = 1024;
const NO_LEASES: readonly undefined[] = [];
/** Bytes of one write, but for its last chunk: a peer that begins to read again must not be sent all at once. */
const WRITE_SIZE = 1 << 20;

export class Writer {
  readonly #transport: Transport;
  readonly #output: Gate;
  readonly #share: OutputShare | undefined;
  #chunks: Uint8Array[] = [];
  /** For each chunk, what is called when it need not be kept any more. */
  #leases: ((() => void) | undefined)[] = [];
  /** Bytes added so far. */
  #added = 0;
  /** Each with how many bytes were added before. */
  #handedOver: { readonly at: number; readonly run: () => void }[] | undefined;
  #writing = false;
  /** Bytes of the write in progress, and what is called when its chunks need not be kept. */
  #writingBytes = 0;
  #writingLeases: readonly ((() => void) | undefined)[] = NO_LEASES;
  #flushPlanned = false;
  #whenEmpty: (() => void)[] = [];
  #scratch = new Uint8Array(0);
  #scratchStart = 0;
  #scratchEnd = 0;
  #closed = false;
  #held = false;
  bytesWritten = 0;

  /**
   * `output` is filled by what waits here and emptied by what the transport has taken. `share`: what may be written in
   * one turn of the event loop.
   */
  constructor(transport: Transport, output: Gate, share?: OutputShare) {
    this.#transport = transport;
    this.#output = output;
    this.#share = share;
  }

  /** True when what is sent now would wait behind a write that the transport has not finished. */
  get busy(): boolean {
    return this.#writing || this.#held;
  }

  /** Whether what many connections share should be added now; if not, the output's level falls when it may. */
  get takesMore(): boolean {
    return !this.busy && this.#added - this.bytesWritten < MOST_SHARED;
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

  /** Adds one frame; `payload` is copied. */
  sendFrame(
    requestId: number,
    streamId: number,
    streamFlags: number,
    type: number,
    flags: number,
    payload: Uint8Array,
  ): void {
    if (this.#closed) return;
    const size = HEADER_SIZE + payload.length;
    // The first frame is settings, and where lanes make the responses it is the only one that comes by here.
    if (payload.length > COPY_LIMIT || this.#added === 0) {
      const frame = new Uint8Array(size);
      writeHeader(frame, 0, payload.length, requestId, streamId, streamFlags, type, flags);
      frame.set(payload, HEADER_SIZE);
      this.send(frame);
      return;
    }
    const at = this.#reserve(size);
    writeHeader(this.#scratch, at, payload.length, requestId, streamId, streamFlags, type, flags);
    this.#scratch.set(payload, at + HEADER_SIZE);
    this.#count(size);
  }

  /** Adds one frame whose payload nobody ever changes: it may go to many connections, and is not copied. */
  sendShared(
    requestId: number,
    streamId: number,
    streamFlags: number,
    type: number,
    flags: number,
    payload: Uint8Array,
  ): void {
    if (payload.length < SHARE_FROM) {
      this.sendFrame(requestId, streamId, streamFlags, type, flags, payload);
      return;
    }
    if (this.#closed) return;
    const at = this.#reserve(HEADER_SIZE);
    writeHeader(this.#scratch, at, payload.length, requestId, streamId, streamFlags, type, flags);
    this.#sealScratch();
    this.#push(payload);
    this.#count(HEADER_SIZE + payload.length);
  }

  /**
   * Hands one whole frame to the transport at once, where nothing waits before it nor was written in this turn; false: it
   * was not taken. Nobody ever changes `frame`: it may go to many connections.
   */
  sendAtOnce(frame: Uint8Array): boolean {
    if (this.busy || this.#closed || !this.#isEmpty || this.#handedOver !== undefined) return false;
    if (this.#transport.writeOne === undefined || this.#share?.untouched === false) return false;
    const { length } = frame;
    this.#added += length;
    this.#begin(length, NO_LEASES);
    this.#writing = !this.#transport.writeOne(frame, this.#written);
    if (this.#writing) this.#output.take(length);
    return true;
  }

  /** Nothing is gathered. */
  get #isEmpty(): boolean {
    return this.#added === this.bytesWritten;
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

  /** Calls `run` when everything added so far has been handed to the transport. */
  whenHandedOver(run: () => void): void {
    if (this.#closed) return;
    this.#handedOver ??= [];
    this.#handedOver.push({ at: this.#added, run });
  }

  /** Calls `run` once the transport has taken everything. */
  whenEmpty(run: () => void): void {
    this.#whenEmpty.push(run);
    this.flush();
  }

  /** Hands over what is gathered now instead of at the end of the tick. */
  flush(): void {
    this.#flushPlanned = false;
    if (this.#writing || this.#closed || this.#held) return;
    this.#sealScratch();
    if (this.#chunks.length === 0) {
      this.#handOver();
      this.#tellEmpty();
    } else if (this.#share?.usedUp) {
      this.#flushPlanned = true;
      this.#share.wait(() => this.flush());
    } else this.#write();
  }

  #write(): void {
    const { chunks, leases, bytes } = this.#take();
    this.#begin(bytes, leases);
    this.#transport.write(chunks, this.#written);
    this.#handOver();
  }

  #begin(bytes: number, leases: readonly ((() => void) | undefined)[]): void {
    this.#writing = true;
    this.#writingBytes = bytes;
    this.#writingLeases = leases;
    this.bytesWritten += bytes;
    this.#share?.take(bytes);
  }

  readonly #written = (error?: Error | null): void => {
    for (const release of this.#writingLeases) release?.();
    this.#writingLeases = NO_LEASES;
    // After an error nothing more goes out; the transport is about to say that it is closed.
    if (error || this.#closed) return;
    this.#writing = false;
    if (this.#isEmpty) this.#scratchStart = this.#scratchEnd = 0;
    this.#output.give(this.#writingBytes);
    this.flush();
  };

  /** The oldest chunks, as many as one write may have. */
  #take(): { chunks: Uint8Array[]; leases: ((() => void) | undefined)[]; bytes: number } {
    let count = 0;
    let bytes = 0;
    while (count < this.#chunks.length && bytes < WRITE_SIZE) bytes += this.#chunks[count++].length;
    if (count < this.#chunks.length)
      return { chunks: this.#chunks.splice(0, count), leases: this.#leases.splice(0, count), bytes };
    const all = { chunks: this.#chunks, leases: this.#leases, bytes };
    this.#chunks = [];
    this.#leases = [];
    return all;
  }

  /** Drops everything; whoever waits for room is woken. */
  close(): void {
    this.#closed = true;
    this.#chunks = [];
    for (const release of this.#leases) release?.();
    this.#leases = [];
    this.#handedOver = undefined;
    this.#scratch = new Uint8Array(0);
    this.#output.close();
  }

  #push(bytes: Uint8Array, release?: () => void): void {
    this.#chunks.push(bytes);
    this.#leases.push(release);
  }

  #count(bytes: number): void {
    this.#added += bytes;
    this.#output.take(bytes);
    if (this.#flushPlanned || this.#writing) return;
    this.#flushPlanned = true;
    this.#transport.endOfTick(() => this.flush());
  }

  #handOver(): void {
    const waiting = this.#handedOver;
    if (waiting === undefined) return;
    const count = waiting.findIndex(({ at }) => at > this.bytesWritten);
    this.#handedOver = count < 0 ? undefined : waiting.slice(count);
    for (const { run } of count < 0 ? waiting : waiting.slice(0, count)) run();
  }

  #tellEmpty(): void {
    const whenEmpty = this.#whenEmpty;
    this.#whenEmpty = [];
    for (const run of whenEmpty) run();
  }

  /** Makes room for `size` bytes of scratch; returns where. */
  #reserve(size: number): number {
    if (this.#scratchEnd + size > this.#scratch.length) this.#newScratch(size);
    const at = this.#scratchEnd;
    this.#scratchEnd += size;
    return at;
  }

  #sealScratch(): void {
    if (this.#scratchEnd === this.#scratchStart) return;
    this.#push(this.#scratch.subarray(this.#scratchStart, this.#scratchEnd));
    this.#scratchStart = this.#scratchEnd;
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
