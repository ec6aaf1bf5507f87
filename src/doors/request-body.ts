/** The body of an HTTP request as it comes: held to its size and to its time, and to the pace of who reads it. */

import type { IncomingMessage } from 'node:http';
import type { Limits } from '../wire/limits.ts';
import { after, type Timer, unref } from '../wire/timers.ts';
import { plain, type Telling } from './reply.ts';

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
  readonly #limits: BodyLimits;
  readonly #reader: BodyReader;
  #bytes = 0;
  #timer: Timer | undefined;
  #over = false;

  /** Nothing is read before {@link resume}. */
  constructor(req: IncomingMessage, limits: BodyLimits, reader: BodyReader) {
    this.#req = req;
    this.#limits = limits;
    this.#reader = reader;
    req.pause();
    req.on('data', this.#take);
    req.once('end', () => {
      this.stop();
      reader.onEnd();
    });
    req.once('close', () => this.stop());
  }

  resume(): void {
    if (this.#over) return;
    this.#watch();
    this.#req.resume();
  }

  /** The time until {@link resume} is ours. */
  pause(): void {
    clearTimeout(this.#timer);
    this.#req.pause();
  }

  stop(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#req.off('data', this.#take);
  }

  readonly #take = (chunk: Buffer): void => {
    const { maxBytes, limitName } = this.#limits;
    this.#bytes += chunk.length;
    if (this.#bytes > maxBytes) return this.#fail(tooLarge(limitName, maxBytes));
    (this.#timer as NodeJS.Timeout | undefined)?.refresh();
    this.#reader.onData(chunk);
  };

  #watch(): void {
    const { idleTimeout } = this.#limits;
    clearTimeout(this.#timer);
    const late = () => this.#fail(plain(408, `idleTimeout: nothing of the body came for ${idleTimeout} ms`));
    this.#timer = unref(after(idleTimeout, late));
  }

  #fail(reply: Telling): void {
    this.stop();
    this.#reader.onFailed(reply);
  }
}

/** The answer to a body that says that it is over a limit, before it is read; undefined: it does not. */
export function refusedBySize(
  { headers }: IncomingMessage,
  limitName: keyof Limits,
  maxBytes: number,
): Telling | undefined {
  return Number(headers['content-length'] ?? 0) > maxBytes ? tooLarge(limitName, maxBytes) : undefined;
}

/** Whether nothing more of the request comes; where it has no body the parser says so only after its head was dealt with. */
export function isWhole(req: IncomingMessage): boolean {
  return req.complete || !hasBody(req);
}

export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

function tooLarge(limitName: keyof Limits, maxBytes: number): Telling {
  return plain(413, `${limitName}: a body of more than ${maxBytes} bytes`);
}
