/**
 * What whole bodies of a server's answers have in common.
 *
 * A small one is encoded on this thread, by an encoder that keeps nothing from one body to the next: to hand it to another
 * thread costs this one about as much (8 KiB in zstd 19 µs; the way to a lane and back 15 to 100, and as much again there),
 * and to make a context for each costs more than all else. They go out together at the end of the tick: each by itself wakes
 * its client, which takes a fifth of all that a small request costs.
 */

// Not by name: an older Node.js, which lacks one of them, is to be told so in a line of ours.
import zlib from 'node:zlib';
import { closeQuietly } from '../encoding/checked.ts';
import type { Encoder } from '../encoding/codec.ts';
import { ContextEncoder } from '../encoding/context.ts';
import { HandleContext, nativeCodecs } from '../encoding/native.ts';
import { ZSTD } from '../encoding/profiles.ts';
import { FlushQueue } from '../reactor/flush-queue.ts';
import type { DoorHost } from './host.ts';

export type Coding = 'zstd' | 'gzip';

export const LEVEL = 3;
/** Bytes of the largest body that is encoded on this thread: gzip takes four times as long for each. */
const MOST_HERE: Readonly<Record<Coding, number>> = { zstd: 8192, gzip: 2048 };
/** Of what is encoded here, with what it may grow by. */
const SCRATCH_BYTES = 16 * 1024;

/** A gzip member (RFC 1952) without a name or a time; behind what is flushed an empty last block, the checksum, the length. */
const GZIP_HEAD = Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff);
const LAST_BLOCK = Uint8Array.of(3, 0);
const GZIP_TAIL_BYTES = LAST_BLOCK.length + 8;

export class Bodies {
  readonly #compress: DoorHost['compress'];
  readonly #encoders: Partial<Record<Coding, Encoder>> = {};
  readonly #scratch = Buffer.alloc(SCRATCH_BYTES);
  readonly #flushes = new FlushQueue(0, setImmediate);

  constructor(compress: DoorHost['compress']) {
    this.#compress = compress;
  }

  /**
   * `bytes` in `coding`, as text of Latin-1, which goes out in one piece with its head; undefined: they are too many, or there
   * is no encoder.
   */
  encoded(coding: Coding, bytes: Uint8Array): string | undefined {
    if (bytes.length > MOST_HERE[coding]) return undefined;
    try {
      this.#encoders[coding] ??= coding === 'zstd' ? zstdEncoder() : deflateEncoder();
      const encoder = this.#encoders[coding];
      if (encoder === undefined) return undefined;
      const length = coding === 'zstd' ? encoder.encode(bytes, this.#scratch, 0) : this.#gzip(encoder, bytes);
      return this.#scratch.toString('latin1', 0, length);
    } catch {
      // What it has become nobody knows.
      closeQuietly(this.#encoders[coding]);
      this.#encoders[coding] = undefined;
      return undefined;
    }
  }

  /**
   * Encodes on another thread `bytes` that stay as they are, in the time of `whose` connection it is; `then` gets undefined
   * where that has failed.
   */
  encodeElsewhere(
    coding: Coding,
    bytes: Uint8Array,
    whose: object,
    then: (coded: Uint8Array | undefined) => void,
  ): void {
    if (coding === 'zstd') this.#compress(bytes, LEVEL, whose, then);
    else zlib.gzip(bytes, (error, coded) => then(error === null ? coded : undefined));
  }

  /** Calls `send` at the end of the tick; it must not throw. */
  atEndOfTick(send: () => void): void {
    this.#flushes.add({ flush: send });
  }

  close(): void {
    for (const encoder of Object.values(this.#encoders)) closeQuietly(encoder);
  }

  #gzip(encoder: Encoder, bytes: Uint8Array): number {
    const scratch = this.#scratch;
    scratch.set(GZIP_HEAD);
    const end = GZIP_HEAD.length + encoder.encode(bytes, scratch, GZIP_HEAD.length);
    scratch.set(LAST_BLOCK, end);
    scratch.writeUInt32LE(zlib.crc32(bytes), end + LAST_BLOCK.length);
    scratch.writeUInt32LE(bytes.length, end + LAST_BLOCK.length + 4);
    return end + GZIP_TAIL_BYTES;
  }
}

function zstdEncoder(): Encoder | undefined {
  const codec = nativeCodecs().find(({ profile, contextFree }) => profile === ZSTD && contextFree);
  return codec?.createEncoder?.({ level: LEVEL, contextFree: true });
}

/** Each chunk as blocks of their own, which look back on nothing before them: a full flush forgets all of that. */
function deflateEncoder(): Encoder {
  const { Z_FULL_FLUSH, Z_FINISH } = zlib.constants;
  return new ContextEncoder(new HandleContext(() => zlib.createDeflateRaw({ chunkSize: 64 })), {
    flush: Z_FULL_FLUSH,
    finish: Z_FINISH,
    bound: (length) => length + (length >>> 3) + (length >>> 6) + 64,
  });
}
