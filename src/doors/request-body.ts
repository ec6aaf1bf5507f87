/** The body of an HTTP request as it comes: held to its size and to its time, and to the pace of who reads it. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { PieceQueue } from '../reactor/piece-queue.ts';
import { afterInput } from '../transport/after-input.ts';
import { probeSocket } from '../transport/socket.ts';
import type { Limits } from '../wire/limits.ts';
import { plain, type Telling } from './reply.ts';
import type { Exchange } from './routes.ts';

/** Bytes of a chunk that is put together with its neighbours. */
const SMALL = 1024;

export interface BodyReader {
  onData(chunk: Uint8Array): void;
  onEnd(): void;
  /** It goes on no more: what the answer should be. */
  onFailed(reply: Telling): void;
}

type BodyLimits = Pick<Limits, 'idleTimeout'> & {
  readonly maxBytes: number;
  readonly limitName: keyof Limits;
};

export class RequestBody {
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse;
  readonly #limits: BodyLimits;
  readonly #reader: BodyReader;
  /** What has come in this tick: chunks may be of one byte each. */
  readonly #pieces = new PieceQueue();
  #bytes = 0;
  #notLate: (() => void) | undefined;
  #paused = true;
  #awaitsContinue: boolean;
  #over = false;

  /** Nothing is read, or asked for, before {@link resume}. */
  constructor({ req, res, awaitsContinue }: Exchange, limits: BodyLimits, reader: BodyReader) {
    this.#req = req;
    this.#res = res;
    this.#awaitsContinue = awaitsContinue;
    this.#limits = limits;
    this.#reader = reader;
    req.pause();
    req.on('data', this.#take);
    req.once('end', () => {
      for (const piece of this.#pieces.takeAll()) if (!this.#over) reader.onData(piece);
      if (this.#over) return;
      this.stop();
      reader.onEnd();
    });
    req.once('close', () => this.stop());
  }

  resume(): void {
    if (this.#over) return;
    this.#askForIt();
    this.#watch();
    if (this.#paused && this.#pieces.length > 0) setImmediate(this.#deliver);
    this.#paused = false;
    this.#req.resume();
  }

  #askForIt(): void {
    if (this.#awaitsContinue && !this.#res.headersSent) this.#res.writeContinue();
    this.#awaitsContinue = false;
  }

  /** The time until {@link resume} is ours. */
  pause(): void {
    this.#notLate?.();
    this.#paused = true;
    this.#req.pause();
  }

  stop(): void {
    this.#over = true;
    this.#notLate?.();
    this.#req.off('data', this.#take);
  }

  /** A socket that is not read does not tell of its end. */
  probe(): void {
    if (!this.#over && this.#paused) probeSocket(this.#req.socket);
  }

  readonly #take = (chunk: Buffer): void => {
    const { maxBytes, limitName } = this.#limits;
    this.#bytes += chunk.length;
    if (this.#bytes > maxBytes) return this.#fail(tooLarge(limitName, maxBytes));
    if (this.#pieces.length === 0) {
      if (!this.#paused) this.#watch();
      setImmediate(this.#deliver);
    }
    if (chunk.length > SMALL) this.#pieces.pushOwn(chunk);
    else this.#pieces.push(chunk);
  };

  readonly #deliver = (): void => {
    while (!this.#paused && !this.#over) {
      const piece = this.#pieces.shift();
      if (piece === undefined) return;
      this.#reader.onData(piece);
    }
  };

  #watch(): void {
    const { idleTimeout } = this.#limits;
    this.#notLate?.();
    const late = () => this.#fail(plain(408, `idleTimeout: nothing of the body came for ${idleTimeout} ms`));
    this.#notLate = afterInput(idleTimeout, late);
  }

  #fail(reply: Telling): void {
    this.stop();
    this.#reader.onFailed(reply);
  }
}

/** The answer to a body of which the head says that it is encoded, or over a limit, before it is read; undefined: neither. */
export function refusedByHead(
  { headers }: IncomingMessage,
  limitName: keyof Limits,
  maxBytes: number,
): Telling | undefined {
  const coding = headers['content-encoding'] ?? 'identity';
  if (coding.toLowerCase() !== 'identity')
    return plain(415, 'a body comes as it is, without Content-Encoding', { 'Accept-Encoding': 'identity' });
  return Number(headers['content-length'] ?? 0) > maxBytes ? tooLarge(limitName, maxBytes) : undefined;
}

function tooLarge(limitName: keyof Limits, maxBytes: number): Telling {
  return plain(413, `${limitName}: a body of more than ${maxBytes} bytes`);
}
