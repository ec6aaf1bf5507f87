/** What users hand in as bytes: any buffer or view, text, or a source of such pieces. */

import { watchRejection } from './thrown.ts';
import { encodeUtf8 } from './utf8.ts';

/** Bytes as they lie in memory, whatever the elements of the view are. */
export type Bytes = ArrayBufferView | ArrayBufferLike;

/** What comes in pieces: a Blob, a stream of the web or of Node.js, or anything else that is iterated asynchronously. */
export type ByteSource = Blob | ReadableStream | AsyncIterable<unknown>;

type Getter<T> = { call(of: unknown): T };

function getterOf<T>(prototype: object, name: PropertyKey): Getter<T> {
  return Object.getOwnPropertyDescriptor(prototype, name)?.get as unknown as Getter<T>;
}

/** How one kind of view is asked where it lies: by what the language has, whatever a subclass says. */
function placeOf(prototype: object) {
  return {
    buffer: getterOf<ArrayBufferLike>(prototype, 'buffer'),
    offset: getterOf<number>(prototype, 'byteOffset'),
    length: getterOf<number>(prototype, 'byteLength'),
  };
}

const TYPED_ARRAY = Object.getPrototypeOf(Uint8Array.prototype);
const typedArray = placeOf(TYPED_ARRAY);
const dataView = placeOf(DataView.prototype);
const typeOf = getterOf<string | undefined>(TYPED_ARRAY, Symbol.toStringTag);
const bufferLength = getterOf<number>(ArrayBuffer.prototype, 'byteLength');

/**
 * The bytes of a buffer or a view, or undefined for anything else. They share its memory, unless another thread may
 * change that meanwhile: then they are a copy.
 * @throws TypeError when the buffer was transferred.
 */
export function bytesOf(value: unknown): Uint8Array | undefined {
  if (ArrayBuffer.isView(value)) return viewBytes(value);
  if (typeof value !== 'object' || value === null || !isBuffer(value)) return undefined;
  return bufferBytes(value, 0, undefined);
}

/** As {@link bytesOf}; text as UTF-8, too. */
export function bytesOrTextOf(value: unknown): Uint8Array | undefined {
  return typeof value === 'string' ? encodeUtf8(value) : bytesOf(value);
}

/** Whether it is a buffer or a view. */
export function isBytes(value: unknown): value is Bytes {
  return ArrayBuffer.isView(value) || (typeof value === 'object' && value !== null && isBuffer(value));
}

function viewBytes(view: ArrayBufferView): Uint8Array {
  const place = typeOf.call(view) === undefined ? dataView : typedArray;
  return bufferBytes(place.buffer.call(view), place.offset.call(view), place.length.call(view));
}

function bufferBytes(buffer: ArrayBufferLike, offset: number, length: number | undefined): Uint8Array {
  if ((buffer as { detached?: boolean }).detached === true)
    throw new TypeError('the bytes are gone: their buffer was transferred');
  const bytes = new Uint8Array(buffer, offset, length ?? buffer.byteLength);
  return Object.getPrototypeOf(buffer) === ArrayBuffer.prototype ? bytes : bytes.slice();
}

/** Whether it is a buffer, of this realm or another. */
function isBuffer(value: object): value is ArrayBufferLike {
  return isA(bufferLength, value) || (sharedLength !== undefined && isA(sharedLength, value));
}

/** Browsers have it only where pages are isolated. */
const sharedLength =
  typeof SharedArrayBuffer === 'undefined'
    ? undefined
    : getterOf<number>(SharedArrayBuffer.prototype, 'byteLength');

function isA(length: Getter<number>, value: object): boolean {
  try {
    length.call(value);
    return true;
  } catch {
    return false;
  }
}

/** `value` as an iterable of pieces, or undefined when it is no source of them. */
export function sourceOf(value: unknown): AsyncIterable<unknown> | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  if (typeof Blob !== 'undefined' && value instanceof Blob) return streamPieces(value.stream());
  if (typeof (value as AsyncIterable<unknown>)[Symbol.asyncIterator] === 'function')
    return value as AsyncIterable<unknown>;
  if (typeof (value as ReadableStream).getReader === 'function') return streamPieces(value as ReadableStream);
  return undefined;
}

/** Not every browser iterates its streams. */
async function* streamPieces(stream: ReadableStream): AsyncGenerator<unknown, void, undefined> {
  const reader = stream.getReader();
  let whole = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      whole = done;
      if (done) return;
      yield value;
    }
  } finally {
    if (!whole) await reader.cancel();
  }
}

/**
 * What a value is, in an error that refuses it. Never throws. A promise that somebody forgot to wait for is nobody's from
 * then on: that it rejects later must not end the process.
 */
export function kindOf(value: unknown): string {
  if (value === null) return 'null';
  watchRejection(value, () => undefined);
  if (isArray(value)) return 'an array';
  const type = typeof value;
  return type === 'undefined' ? type : `${type === 'object' ? 'an' : 'a'} ${type}`;
}

/** A proxy that was revoked is none. */
function isArray(value: unknown): boolean {
  try {
    return Array.isArray(value);
  } catch {
    return false;
  }
}
