/** Text on the wire: UTF-8 and ASCII (protocol A2, A3). Nothing here throws on what a peer sent. */

const encoder = new TextEncoder();
// A leading U+FEFF is part of the text: it has to survive a round trip.
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** Up to this length, a loop is faster than a call into TextDecoder or TextEncoder: 0.25 µs instead of 1. */
const SHORT_TEXT = 24;

/** `text` as UTF-8; lone surrogates become U+FFFD. */
export function encodeUtf8(text: string): Uint8Array<ArrayBuffer> {
  if (text.length > SHORT_TEXT || !isAscii(text)) return encoder.encode(text);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Bytes for people as text: whatever is not UTF-8 becomes U+FFFD, nothing is refused. */
export function decodeUtf8(bytes: Uint8Array): string {
  const short = bytes.length > SHORT_TEXT ? undefined : decodeAscii(bytes, 0, bytes.length);
  return short ?? decoder.decode(bytes);
}

/**
 * `text` as UTF-8 in at most `maxBytes` bytes, cut at a character when it is longer (protocol B5).
 * Bytes instead of a string are taken as they are, and copied only when they are cut.
 */
export function cutUtf8(text: string | Uint8Array, maxBytes: number): Uint8Array {
  if (typeof text !== 'string') return cutBytes(text, maxBytes);
  // A UTF-16 unit takes at most 3 bytes; encodeInto stops before the first character that does not fit.
  const target = new Uint8Array(Math.min(text.length * 3, maxBytes));
  return target.slice(0, encoder.encodeInto(text, target).written);
}

function cutBytes(bytes: Uint8Array, maxBytes: number): Uint8Array {
  if (bytes.length <= maxBytes) return bytes;
  let end = maxBytes;
  // A character has at most three continuation bytes; more of them in a row are no UTF-8 and need no care.
  while (end > 0 && end > maxBytes - 3 && isContinuation(bytes[end])) end -= 1;
  return bytes.slice(0, isContinuation(bytes[end]) ? maxBytes : end);
}

function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80;
}

/** Whether every character of `text` is ASCII. */
export function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i += 1) {
    if (text.charCodeAt(i) > 0x7f) return false;
  }
  return true;
}

/** The bytes from `start` to `end` as text, or undefined when one of them is not ASCII. */
export function decodeAscii(bytes: Uint8Array, start: number, end: number): string | undefined {
  for (let i = start; i < end; i += 1) {
    if (bytes[i] > 0x7f) return undefined;
  }
  if (end - start > SHORT_TEXT) return decoder.decode(bytes.subarray(start, end));
  let text = '';
  for (let i = start; i < end; i += 1) text += String.fromCharCode(bytes[i]);
  return text;
}
