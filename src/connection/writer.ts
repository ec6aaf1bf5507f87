/**
 * The way out of a connection: gathers finished frames and hands them to the transport, at most one write at a time.
 * While a write is under way more frames gather, so under load writes grow by themselves.
 */

import type { Gate } from '../reactor/flow.ts';
import { HEADER_SIZE, writeHeader } from '../wire/frame.ts';
import type { Transport } from './transport.ts';

const SCRATCH_SIZE = 64 * 1024;
/** Bytes that may gather here of what many connections share; the rest is better off where it is held once for all. */
const MOST_SHARED = 64 * 1024;
/** Payloads up to this size are copied next to their header; larger ones travel as a chunk of their own. */
const COPY_LIMIT = 16 * 1024;

export class Writer {
  readonly #transport: Transport;
  readonly #output: Gate;
  #chunks: Uint8Array[] = [];
  #bytes = 0;
  /** Called when the chunks gathered so far need not be kept any more. */
  #leases: (() => void)[] = [];
  #handedOver: (() => void)[] = [];
  #writing = false;
  #flushPlanned = false;
  #whenEmpty: (() => void)[] = [];
  #scratch = new Uint8Array(0);
  #scratchStart = 0;
  #scratchEnd = 0;
  #closed = false;
  #held = false;
  bytesWritten = 0;

  /** `output` is filled by what waits here and emptied by what the transport has taken. */
  constructor(transport: Transport, output: Gate) {
    this.#transport = transport;
    this.#output = output;
  }

  /** True when what is sent now would wait behind a write that the transport has not finished. */
  get busy(): boolean {
    return this.#writing || this.#held;
  }

  /** Whether what many connections share should be added now; if not, the output's level falls when it may. */
  get takesMore(): boolean {
    return !this.busy && this.#bytes < MOST_SHARED;
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
    this.#chunks.push(bytes);
    if (release !== undefined) this.#leases.push(release);
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
    if (payload.length > COPY_LIMIT) {
      const frame = new Uint8Array(size);
      writeHeader(frame, 0, payload.length, requestId, streamId, streamFlags, type, flags);
      frame.set(payload, HEADER_SIZE);
      this.send(frame);
      return;
    }
    if (this.#scratchEnd + size > this.#scratch.length) this.#newScratch();
    writeHeader(
      this.#scratch,
      this.#scratchEnd,
      payload.length,
      requestId,
      streamId,
      streamFlags,
      type,
      flags,
    );
    this.#scratch.set(payload, this.#scratchEnd + HEADER_SIZE);
    this.#scratchEnd += size;
    this.#count(size);
  }

  /** Adds one frame whose payload others send, too: a large one travels as it lies, and must not be changed any more. */
  sendShared(
    requestId: number,
    streamId: number,
    streamFlags: number,
    type: number,
    flags: number,
    payload: Uint8Array,
  ): void {
    if (payload.length <= COPY_LIMIT) {
      this.sendFrame(requestId, streamId, streamFlags, type, flags, payload);
      return;
    }
    if (this.#closed) return;
    if (this.#scratchEnd + HEADER_SIZE > this.#scratch.length) this.#newScratch();
    const at = this.#scratchEnd;
    writeHeader(this.#scratch, at, payload.length, requestId, streamId, streamFlags, type, flags);
    this.#scratchEnd += HEADER_SIZE;
    this.#count(HEADER_SIZE);
    this.send(payload);
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
    if (!this.#closed) this.#handedOver.push(run);
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
      return;
    }
    const chunks = this.#chunks;
    const bytes = this.#bytes;
    const leases = this.#leases;
    this.#chunks = [];
    this.#leases = [];
    this.#bytes = 0;
    this.#writing = true;
    this.bytesWritten += bytes;
    this.#transport.write(chunks, (error) => {
      for (const release of leases) release();
      // After an error nothing more goes out; the transport is about to say that it is closed.
      if (error || this.#closed) return;
      this.#writing = false;
      this.#output.give(bytes);
      this.flush();
    });
    this.#handOver();
  }

  /** Drops everything; whoever waits for room is woken. */
  close(): void {
    this.#closed = true;
    this.#chunks = [];
    for (const release of this.#leases) release();
    this.#leases = [];
    this.#handedOver = [];
    this.#scratch = new Uint8Array(0);
    this.#output.close();
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    this.#output.take(bytes);
    if (this.#flushPlanned || this.#writing) return;
    this.#flushPlanned = true;
    this.#transport.endOfTick(() => this.flush());
  }

  #handOver(): void {
    const handedOver = this.#handedOver;
    if (handedOver.length === 0) return;
    this.#handedOver = [];
    for (const run of handedOver) run();
  }

  #tellEmpty(): void {
    const whenEmpty = this.#whenEmpty;
    this.#whenEmpty = [];
    for (const run of whenEmpty) run();
  }

  #sealScratch(): void {
    if (this.#scratchEnd === this.#scratchStart) return;
    this.#chunks.push(this.#scratch.subarray(this.#scratchStart, this.#scratchEnd));
    this.#scratchStart = this.#scratchEnd;
  }

  /** A connection that sends little keeps little: scratch grows with what one write has needed. */
  #newScratch(): void {
    this.#sealScratch();
    const size = this.#scratch.length === 0 ? COPY_LIMIT + HEADER_SIZE : SCRATCH_SIZE;
    this.#scratch = new Uint8Array(size);
    this.#scratchStart = 0;
    this.#scratchEnd = 0;
  }
}
