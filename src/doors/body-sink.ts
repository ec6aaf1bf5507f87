/** A command's response as the body of an HTTP answer, compressed by itself where the client takes that. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Transform } from 'node:stream';
// Not by name: an older Node.js, which lacks one of them, is to be told so in a line of ours.
import zlib from 'node:zlib';
import type { ReceivedFailure } from '../wire/payloads.ts';
import type { DoorHost } from './host.ts';
import { acceptedOf, codingOf } from './media-types.ts';
import { json, send } from './reply.ts';
import type { ResponseSink } from './rpc-call.ts';
import { statusOf } from './status.ts';

type Coding = 'zstd' | 'gzip';

/** Best first. */
const CODINGS: readonly Coding[] = ['zstd', 'gzip'];
/** Bytes of a whole response from which on it is worth the headers that say so. */
const LEAST_CODED = 256;
/** Where bytes are cached and compared by their type, a client may say what it knows them to be. */
const TYPES = ['application/json', 'text/plain'];
const BYTES = 'application/octet-stream';
const LEVEL = 3;

export class BodySink implements ResponseSink {
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse;
  readonly #compress: DoorHost['compress'];
  readonly #coding: Coding | undefined;
  /** Compresses a response that goes on. */
  #encoder: Transform | undefined;
  #over = false;
  #wrote = false;

  constructor(req: IncomingMessage, res: ServerResponse, compress: DoorHost['compress']) {
    this.#req = req;
    this.#res = res;
    this.#compress = compress;
    this.#coding = codingOf(req, CODINGS);
    res.once('close', () => this.#encoder?.destroy());
  }

  bytes(bytes: Uint8Array, last: boolean): void {
    if (this.#over) return;
    if (last) this.#over = true;
    const begun = this.#res.headersSent;
    if (last && !begun) return this.#whole(bytes.slice());
    if (!begun) this.#begin();
    const out = this.#encoder ?? this.#res;
    if (bytes.length > 0) out.write(bytes);
    this.#wrote = true;
    if (last) out.end();
  }

  /** Nothing that a body has a place for. */
  text(): void {}

  progress(): void {}

  fail({ code, message, data }: ReceivedFailure): void {
    if (this.#over) return;
    this.#over = true;
    const error = { code, message, ...(data !== undefined && { data }) };
    // What has begun ends without its end, so that it passes for whole with nobody.
    if (this.#res.headersSent) this.#res.destroy();
    else send(this.#req, this.#res, json(statusOf(code, this.#req), error, retryOf(code)));
  }

  flush(written: (error?: Error | null) => void): void {
    const { destroyed } = this.#res;
    if (!this.#wrote || this.#over || destroyed) {
      setImmediate(written);
      return;
    }
    this.#wrote = false;
    // The encoder's own way out is the answer's: both are asked, one after the other.
    const drained = () => {
      if (this.#res.writableNeedDrain && !this.#res.destroyed) {
        const go = () => {
          this.#res.off('drain', go).off('close', go);
          written();
        };
        this.#res.on('drain', go).on('close', go);
      } else written();
    };
    if (this.#encoder === undefined) drained();
    else flushEncoder(this.#encoder, this.#coding, drained);
  }

  #begin(): void {
    this.#res.writeHead(200, this.#headers(this.#coding));
    if (this.#coding === undefined) return;
    this.#encoder = encoderOf(this.#coding);
    this.#encoder.on('error', () => this.#res.destroy());
    this.#encoder.pipe(this.#res);
  }

  /** Compressed at once, off this thread. */
  #whole(bytes: Uint8Array): void {
    const coding = bytes.length < LEAST_CODED ? undefined : this.#coding;
    const finish = (coded: Uint8Array | undefined) => {
      if (this.#res.destroyed) return;
      const body = coded ?? bytes;
      this.#res.writeHead(200, {
        ...this.#headers(coded === undefined ? undefined : coding),
        'Content-Length': body.length,
      });
      this.#res.end(body);
    };
    if (coding === 'zstd') this.#compress(bytes, LEVEL, finish);
    else if (coding === 'gzip')
      zlib.gzip(bytes, (error, coded) => finish(error === null ? coded : undefined));
    else finish(undefined);
  }

  #headers(coding: Coding | undefined): Record<string, string> {
    return {
      'Content-Type': acceptedOf(this.#req, TYPES) ?? BYTES,
      'X-Content-Type-Options': 'nosniff',
      'Cache-Control': 'no-store',
      Vary: 'Accept, Accept-Encoding',
      ...(coding !== undefined && { 'Content-Encoding': coding }),
      ...(!this.#req.complete && { Connection: 'close' }),
    };
  }
}

function retryOf(code: string): Record<string, string> | undefined {
  return code === 'overloaded' || code === 'shutting-down' ? { 'Retry-After': '1' } : undefined;
}

/** node:zlib compresses in threads of its own. */
function encoderOf(coding: Coding): Transform {
  if (coding === 'gzip') return zlib.createGzip();
  return zlib.createZstdCompress({ params: { [zlib.constants.ZSTD_c_compressionLevel]: LEVEL } });
}

/** Everything so far can be decoded once it has arrived. */
function flushEncoder(encoder: Transform, coding: Coding | undefined, then: () => void): void {
  const kind = coding === 'gzip' ? zlib.constants.Z_SYNC_FLUSH : zlib.constants.ZSTD_e_flush;
  (encoder as ReturnType<typeof zlib.createGzip>).flush(kind, then);
}
