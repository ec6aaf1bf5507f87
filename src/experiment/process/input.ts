/** Pieces of bytes as the standard input of a process: each behind its length, a u32, little endian. */

export function packInput(pieces: readonly Uint8Array[]): Buffer {
  return Buffer.concat(
    pieces.flatMap((piece) => {
      const head = Buffer.alloc(4);
      head.writeUInt32LE(piece.length);
      return [head, piece];
    }),
  );
}

/** The pieces lie in `input`. */
export function unpackInput(input: Buffer): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < input.length; ) {
    const end = at + 4 + input.readUInt32LE(at);
    pieces.push(input.subarray(at + 4, end));
    at = end;
  }
  return pieces;
}
