/**
 * The batch layout, by which the main thread and a lane pass bytes to each other. What records mean is in records.ts, what
 * payloads of several parts look like in packed.ts. Both sides import these, and nothing else of each other.
 *
 * A batch is an ArrayBuffer that is transferred, never shared, and comes back empty to be filled again. Payloads grow
 * from its front; fixed-size records, one per payload, grow from its back:
 *
 *     | count u32 | end u32 | payload 0 | payload 1 | …  free  … | record 1 | record 0 |
 *
 * so a run of finished frames lies in one piece and goes to the socket as one.
 */

/**
 * Records after which a batch leaves although more are at hand. Small ones come by the hundred: were they all to travel
 * together, each thread would wait while another works.
 */
export const EARLY_RECORDS = 32;

/** Empty batches that a lane keeps for what it makes next. */
export const SPARE_BATCHES = 4;

/** Bytes of a recycled batch. */
export const BATCH_SIZE = 512 * 1024;

const PREFIX = 8;
const RECORD_WORDS = 6;
const RECORD_BYTES = RECORD_WORDS * 4;

/** Buffers come in whole words, so that records are aligned. */
function roundUp(bytes: number): number {
  return (bytes + 3) & ~3;
}

/**
 * Gives the memory of a batch back at once. A collector sees a small object and is in no hurry: a lane that has nothing
 * to do any more would keep some hundred of them.
 */
export function freeBatch(batch: ArrayBuffer): void {
  batch.transfer(0);
}

/** Fills one batch. */
export class BatchWriter {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #words: Uint32Array;
  #count = 0;
  #end = PREFIX;

  /** Takes a recycled buffer, or a new one with room for at least one payload of `room` bytes. */
  constructor(buffer: ArrayBuffer) {
    this.bytes = new Uint8Array(buffer);
    this.#words = new Uint32Array(buffer);
  }

  static allocate(room = 0): ArrayBuffer {
    return new ArrayBuffer(Math.max(BATCH_SIZE, roundUp(PREFIX + room + RECORD_BYTES)));
  }

  get empty(): boolean {
    return this.#count === 0;
  }

  /** Records so far. */
  get count(): number {
    return this.#count;
  }

  /** Where the next payload begins. */
  get end(): number {
    return this.#end;
  }

  /** Whether a payload of `length` bytes and its record still fit. */
  fits(length: number): boolean {
    return this.#end + length + (this.#count + 1) * RECORD_BYTES <= this.bytes.length;
  }

  /**
   * Adds a record for `length` payload bytes that the caller has written, or will write, at {@link end}. `op` and `flags`
   * have 8 bits, `type` 16, the others 32.
   */
  add(
    op: number,
    slot: number,
    requestId: number,
    type: number,
    flags: number,
    length: number,
    extra = 0,
  ): void {
    const words = this.#words;
    this.#count++;
    const at = words.length - this.#count * RECORD_WORDS;
    words[at] = op | (flags << 8) | (type << 16);
    words[at + 1] = slot;
    words[at + 2] = requestId;
    words[at + 3] = this.#end;
    words[at + 4] = length;
    words[at + 5] = extra;
    this.#end += length;
  }

  /** The filled buffer, ready to be transferred; the writer must not be used afterwards. */
  finish(): ArrayBuffer {
    this.#words[0] = this.#count;
    this.#words[1] = this.#end;
    return this.bytes.buffer;
  }

  /** The same in a buffer of its own size, for a batch that may wait long. */
  finishSmall(): ArrayBuffer {
    const whole = this.finish();
    const records = this.#count * RECORD_BYTES;
    const small = new Uint8Array(roundUp(this.#end) + records);
    small.set(this.bytes.subarray(0, this.#end));
    small.set(this.bytes.subarray(whole.byteLength - records), small.length - records);
    return small.buffer;
  }
}

/** Payload bytes of a finished batch, what comes before them included. */
export function filledBytes(batch: ArrayBuffer): number {
  return new Uint32Array(batch, 0, 2)[1];
}

/** Reads one batch: `while (reader.next()) …`, the fields being those of the current record. */
export class BatchReader {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #words: Uint32Array;
  readonly #count: number;
  /** Which record this is, counted from 1. */
  index = 0;
  op = 0;
  type = 0;
  flags = 0;
  slot = 0;
  requestId = 0;
  offset = 0;
  length = 0;
  extra = 0;

  constructor(buffer: ArrayBuffer) {
    this.bytes = new Uint8Array(buffer);
    this.#words = new Uint32Array(buffer);
    this.#count = this.#words[0];
  }

  /** Records that have not been read. */
  get left(): number {
    return this.#count - this.index;
  }

  get buffer(): ArrayBuffer {
    return this.bytes.buffer;
  }

  next(): boolean {
    if (this.index >= this.#count) return false;
    this.#read(this.index + 1);
    return true;
  }

  /** Goes to the record at `index`, 1 for the first, of which `extra` is told instead of its own. */
  at(index: number, extra: number): this {
    this.#read(index);
    this.extra = extra;
    return this;
  }

  #read(index: number): void {
    this.index = index;
    const words = this.#words;
    const at = words.length - index * RECORD_WORDS;
    const head = words[at];
    this.op = head & 0xff;
    this.flags = (head >>> 8) & 0xff;
    this.type = head >>> 16;
    this.slot = words[at + 1];
    this.requestId = words[at + 2];
    this.offset = words[at + 3];
    this.length = words[at + 4];
    this.extra = words[at + 5];
  }

  /** The current record's payload, a view that is gone when the buffer is given back. */
  get payload(): Uint8Array {
    return this.bytes.subarray(this.offset, this.offset + this.length);
  }
}
