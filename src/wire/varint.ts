/** How long a record is, before it: a varint (LEB128, at most 5 bytes, as in protocol C10). */

/** Most bytes of one. */
export const MAX_VARINT = 5;

/** `value`, 0 … 2^35 − 1, as a varint with `room` bytes of zeros behind it. */
export function varint(value: number, room: number): Uint8Array<ArrayBuffer> {
  let size = 1;
  for (let left = value; left > 0x7f; left = Math.floor(left / 0x80)) size++;
  const bytes = new Uint8Array(size + room);
  let left = value;
  for (let i = 0; i < size; i++) {
    bytes[i] = (left % 0x80) | (i < size - 1 ? 0x80 : 0);
    left = Math.floor(left / 0x80);
  }
  return bytes;
}
