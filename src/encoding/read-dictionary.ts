/** Dictionaries from their bytes, in Node.js. */

import { createHash } from 'node:crypto';
import { DICTIONARY_ID_SIZE } from '../wire/payloads.ts';
import { DictionaryError, parseDictionary } from './dictionary/format.ts';
import type { Dictionary } from './dictionary.ts';
import { nativeZstdDict } from './native.ts';
import { isSoundWith } from './self-check.ts';

/** The ID of a dictionary. */
export function dictionaryIdNow(bytes: Uint8Array): string {
  return createHash('sha256')
    .update(bytes)
    .digest('hex')
    .slice(0, 2 * DICTIONARY_ID_SIZE);
}

/**
 * A dictionary that zstd can use. It keeps a copy of the bytes, in memory that threads may share.
 * @throws DictionaryError that says why these are none: no zstd dictionary, over 1 MiB, or damaged.
 */
export function readDictionary(bytes: Uint8Array): Dictionary {
  parseDictionary(bytes);
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
  shared.set(bytes);
  const dictionary = { id: dictionaryIdNow(bytes), bytes: shared };
  // libzstd compresses with one that is damaged as if there were none; what it cannot read shows when it decodes.
  if (!isSoundWith(nativeZstdDict(new Map([[dictionary.id, dictionary]])), dictionary.id))
    throw new DictionaryError('damaged dictionary: zstd cannot use it');
  return dictionary;
}
