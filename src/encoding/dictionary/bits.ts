/** Bits in the two orders of zstd: descriptions are read forwards, coded data backwards (RFC 8878, 4.1). */

export class BitWriter {
  readonly #bytes: number[] = [];
  /** Bits of the byte that is not full yet. */
  #pending = 0;
  #count = 0;

  /** The lowest `count` ≤ 16 bits of `value`, lowest first. */
  write(value: number, count: number): void {
    this.#pending |= (value & ((1 << count) - 1)) << this.#count;
    for (this.#count += count; this.#count >= 8; this.#count -= 8) {
      this.#bytes.push(this.#pending & 255);
      this.#pending >>>= 8;
    }
  }

  /** All that was written, filled up with zeros to whole bytes. */
  bytes(): Uint8Array {
    return Uint8Array.from(this.#count > 0 ? [...this.#bytes, this.#pending] : this.#bytes);
  }
}

/** `fields` in the order in which a decoder reads them backwards, and the end mark behind them. */
export function writeBackwards(fields: readonly { value: number; count: number }[]): Uint8Array {
  const bits = new BitWriter();
  for (const { value, count } of fields.toReversed()) bits.write(value, count);
  bits.write(1, 1);
  return bits.bytes();
}
