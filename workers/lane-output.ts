/** What goes back from a lane to the main thread: records gather in batches, which leave when it suits both. */

import type { MessagePort } from 'node:worker_threads';
import { BatchWriter, EARLY_RECORDS, freeBatch, SPARE_BATCHES } from './batch.ts';
import type { LaneMessage } from './records.ts';

export class LaneOutput {
  readonly #port: MessagePort;
  readonly #spares: ArrayBuffer[] = [];
  #writer: BatchWriter | undefined;
  #flushPlanned = false;

  constructor(port: MessagePort) {
    this.#port = port;
  }

  /** A writer in which `length` bytes fit. */
  room(length: number): BatchWriter {
    if (this.#writer !== undefined) {
      if (this.#writer.fits(length)) return this.#writer;
      if (!this.#writer.empty) this.#ship();
    }
    const spare = this.#spares.pop();
    this.#writer = new BatchWriter(spare ?? BatchWriter.allocate());
    if (!this.#writer.fits(length)) this.#writer = new BatchWriter(BatchWriter.allocate(length));
    return this.#writer;
  }

  /** Adds a record with a payload that lies elsewhere. */
  add(op: number, slot: number, requestId: number, flags: number, payload: Uint8Array, extra = 0): void {
    const writer = this.room(payload.length);
    writer.bytes.set(payload, writer.end);
    writer.add(op, slot, requestId, 0, flags, payload.length, extra);
  }

  recycle(spares: readonly ArrayBuffer[]): void {
    for (const spare of spares) {
      if (this.#spares.length < SPARE_BATCHES) this.#spares.push(spare);
      else freeBatch(spare);
    }
  }

  /** Sends what has gathered, and gives `returned` home with it. */
  flush(returned?: ArrayBuffer): void {
    if (this.#writer !== undefined && !this.#writer.empty) this.#ship(returned);
    else if (returned !== undefined) this.#post({ spare: returned }, [returned]);
  }

  /** Sends what has gathered if it is many records, while more are being made. */
  flushMany(): void {
    if (this.#writer !== undefined && this.#writer.count >= EARLY_RECORDS) this.#ship();
  }

  /** For output that does not come from a batch in hand: flushes at the end of the tick. */
  flushSoon(): void {
    if (this.#flushPlanned) return;
    this.#flushPlanned = true;
    setImmediate(() => {
      this.#flushPlanned = false;
      this.flush();
    });
  }

  #ship(returned?: ArrayBuffer): void {
    const batch = (this.#writer as BatchWriter).finish();
    this.#writer = undefined;
    if (returned === undefined) this.#post({ batch }, [batch]);
    else this.#post({ batch, spare: returned }, [batch, returned]);
  }

  #post(message: LaneMessage, transfer: ArrayBuffer[]): void {
    this.#port.postMessage(message, transfer);
  }
}
