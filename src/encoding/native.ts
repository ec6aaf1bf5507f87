/**
 * node:zlib contexts, driven synchronously through their stream's internal handle: a public stream costs a hop to
 * the thread pool per write (71 µs for a small record, against 7). Handles are an internal of Node, so each codec
 * proves itself once per thread before it is used; minizlib, slower but a public API, takes the place of one that
 * fails.
 */

import { createRequire } from 'node:module';
import zlib from 'node:zlib';
import type { Codec } from './codec.ts';
import type { Context } from './context.ts';
import type { Dictionaries } from './dictionary.ts';
import { identityCodec } from './identity.ts';
import { made } from './making.ts';
import type { DictionaryCodec } from './registry.ts';
import { isSound } from './self-check.ts';
import { StandaloneContexts } from './standalone.ts';
import { type ZlibContexts, zlibCodec } from './zlib-codec.ts';
import { type ZstdContexts, zstdCodec, zstdDictCodec } from './zstd-codec.ts';
import { ZSTD_ATTACH_DICTIONARY } from './zstd-parameters.ts';

/** What we use of a zlib stream's internals (Node's own zlib.js and node_zlib.cc). */
interface StreamInternals {
  _handle: Handle | null;
  /** After each write: output bytes left free, input bytes left unread. */
  _writeState: Uint32Array;
  _outBuffer: Uint8Array | null;
}

interface Handle {
  onerror: (message: string, errno: number, code: string) => void;
  writeSync(
    flush: number,
    input: Uint8Array,
    inputOffset: number,
    inputLength: number,
    output: Uint8Array,
    outputOffset: number,
    outputLength: number,
  ): void;
  close(): void;
}

/** The context behind one of node:zlib's streams, which `make` makes. @throws TypeError when that is not as we know them. */
export class HandleContext implements Context {
  readonly #stream: StreamInternals;
  readonly #handle: Handle;
  readonly #state: Uint32Array;
  #error: Error | undefined;

  constructor(make: () => unknown) {
    this.#stream = made(make) as StreamInternals;
    const { _handle: handle, _writeState: state } = this.#stream;
    if (typeof handle?.writeSync !== 'function' || !(state instanceof Uint32Array)) {
      throw new TypeError('this Node has no zlib handle as we know it');
    }
    this.#handle = handle;
    this.#state = state;
    // Node's own hook would destroy the stream and emit 'error' on it, where nobody listens.
    handle.onerror = this.#onError;
    // A slice of Buffer's pool, for output of the stream's own that there will not be: give it back.
    this.#stream._outBuffer = null;
  }

  readonly #onError = (message: string, _errno: number, code: string): void => {
    this.#error = new Error(`${message} (${code})`);
  };

  get roomLeft(): number {
    return this.#state[0];
  }

  get inputLeft(): number {
    return this.#state[1];
  }

  write(
    flush: number,
    input: Uint8Array,
    offset: number,
    length: number,
    output: Uint8Array,
    outputOffset: number,
    room: number,
  ): void {
    this.#handle.writeSync(flush, input, offset, length, output, outputOffset, room);
    if (this.#error !== undefined) throw this.#error;
  }

  close(): void {
    this.#handle.close();
    this.#stream._handle = null;
  }
}

/** The smallest that Node takes, for a buffer that is never used. */
const chunkSize = 64;
const { ZSTD_d_windowLogMax } = zlib.constants;

/** The contexts of `zstd-8mb` and `zstd-dict` by node:zlib's handles. */
export const zstdHandles: ZstdContexts = {
  standalone: new StandaloneContexts(),
  compress: (params, pledgedSrcSize, dictionary) =>
    new HandleContext(() => createZstdCompress({ chunkSize, params, pledgedSrcSize, dictionary })),
  decompress: (maxWindowLog, _maxOutput, dictionary) => {
    const params = { [ZSTD_d_windowLogMax]: maxWindowLog };
    return new HandleContext(() => zlib.createZstdDecompress({ chunkSize, params, dictionary }));
  },
};

/**
 * node:zlib refuses parameters that are not in its documentation by their numbers alone; how many there may be its class
 * is told by its subclass. Where this Node.js, or its libzstd, does not take the one that we have, contexts go without it.
 */
function createZstdCompress({ params = {}, ...rest }: zlib.ZstdOptions): unknown {
  const { [ZSTD_ATTACH_DICTIONARY]: attach, ...documented } = params;
  if (attach === undefined) return zlib.createZstdCompress({ ...rest, params });
  try {
    const mode = (zlib.constants as Record<string, number>).ZSTD_COMPRESS;
    const about = [{ ...rest, params }, mode, parameterList, ZSTD_ATTACH_DICTIONARY];
    return Reflect.construct(Object.getPrototypeOf(zlib.ZstdCompress), about, zlib.ZstdCompress);
  } catch {
    return zlib.createZstdCompress({ ...rest, params: documented });
  }
}

/** Filled by node:zlib each time. */
const parameterList = new Uint32Array(ZSTD_ATTACH_DICTIONARY + 1);

const zlibHandles: ZlibContexts = {
  compress: (level, windowBits) =>
    new HandleContext(() => zlib.createDeflate({ chunkSize, level, windowBits })),
  decompress: (windowBits) => new HandleContext(() => zlib.createInflate({ chunkSize, windowBits })),
};

/** `zstd-8mb` by node:zlib's handles. */
export const nativeZstd: Codec = zstdCodec('native', zstdHandles);
/** `zlib` by node:zlib's handles. */
export const nativeZlib: Codec = zlibCodec('native', zlibHandles);

/** `zstd-dict` by node:zlib's handles, which keep a dictionary over the zstd frames that they finish. */
export function nativeZstdDict(dictionaries: Dictionaries): Codec {
  return zstdDictCodec('native', zstdHandles, dictionaries);
}

/** Makes the codec of `zstd-dict`; undefined where this runtime has none. */
export function nativeDictionaryCodec(): DictionaryCodec | undefined {
  return nativeCodecs().includes(nativeZstd) ? nativeZstdDict : undefined;
}

let chosen: readonly Codec[] | undefined;

/** The best codecs that work on this runtime, best profile first. `implementation` says which library each one is. */
export function nativeCodecs(): readonly Codec[] {
  chosen ??= [
    isSound(nativeZstd) ? nativeZstd : soundOf('minizlibZstd', 'portableZstd'),
    isSound(nativeZlib) ? nativeZlib : soundOf('minizlibZlib', 'portableZlib'),
    identityCodec,
  ];
  return chosen;
}

const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';

/**
 * What takes the place of a codec that has failed. It is loaded there alone: minizlib takes longer than all else that
 * a client loads, and the portable codecs a third of what a lane loads.
 */
function soundOf(
  name: keyof typeof import('./minizlib.ts'),
  otherwise: 'portableZstd' | 'portableZlib',
): Codec {
  const require = createRequire(import.meta.url);
  const minizlib: typeof import('./minizlib.ts') = require(`./minizlib.${EXTENSION}`);
  if (isSound(minizlib[name])) return minizlib[name];
  const portable: typeof import('./portable.ts') = require(`./portable.${EXTENSION}`);
  return portable[otherwise];
}
