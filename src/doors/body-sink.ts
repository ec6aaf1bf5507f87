/** A command's response as the body of an HTTP answer, compressed by itself where the client takes that. */

import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { Transform } from 'node:stream';
// Not by name: an older Node.js, which lacks one of them, is to be told so in a line of ours.
import zlib from 'node:zlib';
import type { Answer } from '../server/answer-feed.ts';
import type { ReceivedFailure } from '../wire/failure.ts';
import { type Bodies, type Coding, LEVEL } from './bodies.ts';
import { acceptedOf, codingOf, takesIdentity } from './media-types.ts';
import { breakOff, failed, send, whenDrained } from './reply.ts';
import { isWhole } from './whole.ts';

/** Best first. */
export const CODINGS: readonly Coding[] = ['zstd', 'gzip'];
/** Bytes of a whole response from which on it is worth the headers that say so. */
const LEAST_CODED = 256;
/** Where bytes are cached and compared by their type, a client may say what it knows them to be. */
const TYPES = ['application/json', 'text/plain'];
const BYTES = 'application/octet-stream';

/** Text is bytes in Latin-1. */
type Body = Uint8Array | string;

export class BodySink implements Answer {
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse;
  readonly #bodies: Bodies;
  readonly #coding: Coding | undefined;
  /** Compresses a response that goes on. */
  #encoder: Transform | undefined;
  #over = false;
  #wrote = false;

  constructor(req: IncomingMessage, res: ServerResponse, bodies: Bodies) {
    this.#req = req;
    this.#res = res;
    this.#bodies = bodies;
    this.#coding = codingOf(req, CODINGS);
  }

  bytes(bytes: Uint8Array, last: boolean): void {
    if (this.#over) return;
    if (last) this.#over = true;
    const begun = this.#res.headersSent;
    if (last && !begun) return this.#whole(bytes);
    if (!begun) this.#begin();
    const out = this.#encoder ?? this.#res;
    if (bytes.length > 0) out.write(bytes.slice());
    this.#wrote = true;
    if (last) out.end();
  }

  /** Nothing that a body has a place for. */
  text(): void {}

  progress(): void {}

  fail(failure: ReceivedFailure): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#res.headersSent) breakOff(this.#req, this.#res);
    else send(this.#req, this.#res, failed(this.#req, failure));
  }

  flush(taken: () => void): void {
    const { destroyed } = this.#res;
    if (!this.#wrote || this.#over || destroyed) {
      setImmediate(taken);
      return;
    }
    this.#wrote = false;
    // The encoder's own way out is the answer's: both are asked, one after the other.
    const drained = () => whenDrained(this.#res, taken);
    if (this.#encoder === undefined) drained();
    else flushEncoder(this.#encoder, this.#coding, drained);
  }

  #begin(): void {
    this.#res.writeHead(200, this.#headers(this.#coding));
    if (this.#coding === undefined) return;
    this.#encoder = encoderOf(this.#coding);
    this.#encoder.on('error', () => breakOff(this.#req, this.#res));
    this.#res.once('close', () => this.#encoder?.destroy());
    this.#encoder.pipe(this.#res);
  }

  #whole(bytes: Uint8Array): void {
    const isWorthIt = bytes.length >= LEAST_CODED || !takesIdentity(this.#req);
    const coding = isWorthIt ? this.#coding : undefined;
    if (coding === undefined) return this.#sendWithOthers(undefined, bytes.slice());
    const coded = this.#bodies.encoded(coding, bytes);
    if (coded !== undefined) return this.#sendWithOthers(coding, coded);
    const kept = bytes.slice();
    this.#bodies.encodeElsewhere(coding, kept, this.#req.socket, (coded) => {
      if (coded === undefined) this.#sendWhole(undefined, kept);
      else this.#sendWhole(coding, coded);
    });
  }

  #sendWithOthers(coding: Coding | undefined, body: Body): void {
    this.#bodies.atEndOfTick(() => this.#sendWhole(coding, body));
  }

  #sendWhole(coding: Coding | undefined, body: Body): void {
    if (this.#res.destroyed || this.#res.headersSent) return;
    const headers = this.#headers(coding);
    headers['Content-Length'] = body.length;
    this.#res.writeHead(200, headers);
    this.#res.end(body, 'latin1');
  }

  #headers(coding: Coding | undefined): OutgoingHttpHeaders {
    const headers: OutgoingHttpHeaders = {
      'Content-Type': acceptedOf(this.#req, TYPES) ?? BYTES,
      'X-Content-Type-Options': 'nosniff',
      'Cache-Control': 'no-store',
      Vary: 'Accept, Accept-Encoding',
    };
    if (coding !== undefined) headers['Content-Encoding'] = coding;
    if (!isWhole(this.#req)) headers.Connection = 'close';
    return headers;
  }
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
