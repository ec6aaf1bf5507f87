/**
 * Dictionaries: public bytes that a context begins with (protocol C9). Nothing of Node.js in here: browsers hold some, too.
 */

import { DICTIONARY_ID_SIZE, decodeDictionaryHeld, MAX_DICTIONARY_BYTES } from '../wire/payloads.ts';

/** The first four bytes, little endian (RFC 8878, 5). */
const MAGIC = 0xec30a437;
/** Magic, number, and at least some content. */
const MIN_DICTIONARY_BYTES = 16;

/** A dictionary whose bytes have been looked at. */
export interface Dictionary {
  /** The first 16 bytes of the SHA-256 of its bytes, in 32 hexadecimal digits. */
  readonly id: string;
  readonly bytes: Uint8Array;
}

/** Dictionaries by their IDs. */
export type Dictionaries = ReadonlyMap<string, Dictionary>;

/** @throws RangeError that says why these bytes are no dictionary. */
export function checkDictionary(bytes: Uint8Array): void {
  if (bytes.length > MAX_DICTIONARY_BYTES) {
    throw new RangeError(`a dictionary of ${bytes.length} bytes, over ${MAX_DICTIONARY_BYTES}`);
  }
  if (bytes.length < MIN_DICTIONARY_BYTES || readU32(bytes, 0) !== MAGIC)
    throw new RangeError('no zstd dictionary');
  if (zstdNumberOf(bytes) === 0) throw new RangeError('no zstd dictionary: its number is 0');
}

/** The number by which zstd frames may name a dictionary. */
export function zstdNumberOf(bytes: Uint8Array): number {
  return readU32(bytes, 4);
}

/** The ID of a dictionary, by the hash that the runtime has for everyone. */
export async function dictionaryIdOf(bytes: Uint8Array): Promise<string> {
  const hash = await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>);
  return decodeDictionaryHeld(new Uint8Array(hash, 0, DICTIONARY_ID_SIZE));
}

function readU32(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at, true);
}
