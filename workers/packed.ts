/** Payloads of a batch's records that have several parts: how each side puts them together and takes them apart. */

/** Several byte strings in one payload: u32 count, u32 lengths, then the strings. */
export function packPieces(pieces: readonly Uint8Array[]): Uint8Array {
  const packed = new Uint8Array(packedSize(pieces));
  writePieces(packed, 0, pieces);
  return packed;
}

/** Bytes that {@link packPieces} makes of them. */
export function packedSize(pieces: readonly Uint8Array[]): number {
  let size = 4 + 4 * pieces.length;
  for (const { length } of pieces) size += length;
  return size;
}

/** {@link packPieces} into `target` at `at`, where there is room. */
export function writePieces(target: Uint8Array, at: number, pieces: readonly Uint8Array[]): void {
  writeUint32(target, at, pieces.length);
  let head = at + 4;
  let offset = head + 4 * pieces.length;
  for (const piece of pieces) {
    writeUint32(target, head, piece.length);
    target.set(piece, offset);
    head += 4;
    offset += piece.length;
  }
}

/** Little-endian, both: a DataView for one number would cost more than the number, its array's buffer ten times as much. */
function readUint32(packed: Uint8Array, at: number): number {
  return (packed[at] | (packed[at + 1] << 8) | (packed[at + 2] << 16) | (packed[at + 3] << 24)) >>> 0;
}

function writeUint32(target: Uint8Array, at: number, value: number): void {
  target[at] = value;
  target[at + 1] = value >>> 8;
  target[at + 2] = value >>> 16;
  target[at + 3] = value >>> 24;
}

/** The byte strings of {@link packPieces} as they lie in the batch: gone when it goes home. */
export function piecesWithin(packed: Uint8Array): Uint8Array[] {
  const count = readUint32(packed, 0);
  const pieces: Uint8Array[] = [];
  let offset = 4 + 4 * count;
  for (let i = 0; i < count; i++) {
    const end = offset + readUint32(packed, 4 + 4 * i);
    pieces.push(packed.subarray(offset, end));
    offset = end;
  }
  return pieces;
}

/** The byte strings of {@link packPieces}, copied out of the batch. */
export function unpackPieces(packed: Uint8Array): Uint8Array[] {
  return piecesWithin(packed).map((piece) => piece.slice());
}

/** What tells a call from others. */
export interface CallIdentity {
  /** The request's number within its connection, 0 … 2^53. */
  readonly serial: number;
  /** The call's mark on its lane, and its command's number as what may end the thread (trace.ts). */
  readonly mark: number;
  readonly suspect: number;
}

const identity = new Uint8Array(16);
const identityView = new DataView(identity.buffer);

/** The bytes are those of the next identity, too: to be copied at once. */
export function packIdentity({ serial, mark, suspect }: CallIdentity): Uint8Array {
  identityView.setFloat64(0, serial);
  identityView.setUint32(8, mark);
  identityView.setUint32(12, suspect);
  return identity;
}

export function unpackIdentity(packed: Uint8Array): CallIdentity {
  identity.set(packed);
  return {
    serial: identityView.getFloat64(0),
    mark: identityView.getUint32(8),
    suspect: identityView.getUint32(12),
  };
}

const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder('utf-8', { ignoreBOM: true });

/** What the peer is told when a call is stopped; nothing for undefined. */
export function packFailure(failure: { code: string; message: string } | undefined): Uint8Array {
  return utf8.encode(failure === undefined ? '' : `${failure.code}\0${failure.message}`);
}

/** The other way round. */
export function unpackFailure(packed: Uint8Array): { code: string; message: string } | undefined {
  const text = fromUtf8.decode(packed);
  const end = text.indexOf('\0');
  return end < 0 ? undefined : { code: text.slice(0, end), message: text.slice(end + 1) };
}
