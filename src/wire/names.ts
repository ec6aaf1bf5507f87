/** Names of commands and arguments (protocol A2): few, and the same ones with every request. */

import { decodeAscii, decodeUtf8 } from './utf8.ts';

/** So many are remembered, of at most so many bytes; another one in its place takes it. */
const KNOWN = 256;
const LONGEST = 24;

const known: string[] = new Array(KNOWN).fill('');

/**
 * The bytes from `start` to `end` as text, or undefined when one of them is not ASCII. A name that comes again is the same
 * string: nothing is made, and tables need not hash it anew. Not for secrets: how long it takes tells what came before.
 */
export function decodeName(bytes: Uint8Array, start: number, end: number): string | undefined {
  if (end - start > LONGEST) return decodeAscii(bytes, start, end);
  let hash = 0;
  for (let i = start; i < end; i += 1) hash = (hash * 31 + bytes[i]) | 0;
  const place = (hash ^ (hash >>> 8)) & (KNOWN - 1);
  const before = known[place];
  if (isName(before, bytes, start, end)) return before;
  const name = decodeAscii(bytes, start, end);
  if (name !== undefined) known[place] = name;
  return name;
}

/** A whole name as text; whatever is not UTF-8 becomes U+FFFD, nothing is refused. */
export function nameOf(bytes: Uint8Array): string {
  return decodeName(bytes, 0, bytes.length) ?? decodeUtf8(bytes);
}

function isName(name: string, bytes: Uint8Array, start: number, end: number): boolean {
  if (name.length !== end - start) return false;
  for (let i = 0; i < name.length; i += 1) if (name.charCodeAt(i) !== bytes[start + i]) return false;
  return true;
}
