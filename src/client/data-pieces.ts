/** The command data of a call, whatever it is made of, as pieces that fit a frame. */

import { type ByteSource, type Bytes, bytesOrTextOf, isBytes, kindOf, sourceOf } from '../wire/bytes.ts';

/**
 * Command data: bytes in any buffer or view, a string as UTF-8, a Blob, a stream of the web or of Node.js, or an
 * iterable of such pieces. Anything else fails the call with a TypeError.
 */
export type CommandData = Bytes | string | ByteSource | Iterable<Bytes | string | ByteSource>;

/** @throws TypeError when no command data can be made of `data`, as far as that can be said without reading it. */
export function checkData(data: unknown): void {
  if (typeof data !== 'string' && !isBytes(data) && iterableOf(data) === undefined) throw noData(data);
}

/** Data that is at hand as a whole. */
export function isWhole(data: CommandData): data is Bytes | string {
  return typeof data === 'string' || isBytes(data);
}

/**
 * Pieces of at most `frameSize` bytes, none of them empty. They are to be sent at once, but for the last one of data
 * that is at hand: that is a copy.
 * @throws TypeError for a piece that is no bytes, or whose bytes were transferred or shrunk before they were sent.
 */
export async function* frameSized(
  data: CommandData,
  frameSize: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const whole = bytesOrTextOf(data);
  const pieces = whole === undefined ? iterableOf(data) : [whole];
  if (pieces === undefined) throw noData(data);
  for await (const piece of pieces) {
    const bytes = bytesOrTextOf(piece);
    const source = bytes === undefined ? sourceOf(piece) : undefined;
    if (source !== undefined) yield* frameSized(source, frameSize);
    else if (bytes === undefined) throw noData(piece);
    else yield* cut(bytes, frameSize, whole !== undefined);
  }
}

function* cut(bytes: Uint8Array, frameSize: number, whole: boolean): Generator<Uint8Array, void, undefined> {
  const { length } = bytes;
  for (let at = 0; at < length; at += frameSize) {
    const isLast = at + frameSize >= length;
    yield whole && isLast ? bytes.slice(at) : bytes.subarray(at, at + frameSize);
    checkIntact(bytes, length);
  }
}

/** @throws TypeError when `bytes` are not `length` any more: their buffer was transferred or shrunk. */
export function checkIntact(bytes: Uint8Array, length: number): void {
  if (bytes.length === length) return;
  throw new TypeError('the bytes of command data were transferred or shrunk before they were sent');
}

/** What gives the pieces of data that is not at hand. */
function iterableOf(data: unknown): AsyncIterable<unknown> | Iterable<unknown> | undefined {
  const source = sourceOf(data);
  if (source !== undefined) return source;
  const iterate = (data as Iterable<unknown> | null | undefined)?.[Symbol.iterator];
  return typeof iterate === 'function' ? (data as Iterable<unknown>) : undefined;
}

function noData(data: unknown): TypeError {
  const possible = 'bytes, strings, Blobs, streams or an iterable of these';
  return new TypeError(`command data is made of ${possible}, not of ${kindOf(data)}`);
}
