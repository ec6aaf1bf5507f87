/**
 * Dictionaries: public bytes that a context begins with (protocol C9). Nothing of Node.js in here: browsers hold some, too.
 */

import { DICTIONARY_ID_SIZE, decodeDictionaryHeld } from '../wire/payloads.ts';

/** A dictionary whose bytes have been looked at. */
export interface Dictionary {
  /** The first 16 bytes of the SHA-256 of its bytes, in 32 hexadecimal digits. */
  readonly id: string;
  readonly bytes: Uint8Array;
}

/** Dictionaries by their IDs. */
export type Dictionaries = ReadonlyMap<string, Dictionary>;

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
