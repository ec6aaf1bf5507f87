/** One HTTP request and its answer as a transport that carries frames half duplex (protocol A6, A7). */

import type { Transport } from '../connection/transport.ts';
import { tellClosed } from '../transport/closed.ts';
import { probeSocket } from '../transport/socket.ts';
import type { Limits } from '../wire/limits.ts';
import { clientLeft, send, type Telling } from './reply.ts';
import { RequestBody } from './request-body.ts';
import type { Exchange } from './routes.ts';
import { isWhole } from './whole.ts';

export class HttpExchange implements Transport {
  readonly remote: string;
  /** Of the answer, which begins when the first of it is written. */
  status = 200;
  onData: (chunk: Uint8Array) => void = () => undefined;
  onEnd: () => void = () => undefined;
  onClose: (error: Error | undefined) => void = () => undefined;
  readonly #exchange: Exchange;
  readonly #type: string;
  readonly #body: RequestBody;
  #destroyed = false;
  #refused = false;

  /** `type`: the answer's media type. */
  constructor(exchange: Exchange, type: string, { maxBody, idleTimeout }: Limits) {
    const { res, info } = exchange;
    this.remote = info.remote;
    this.#exchange = exchange;
    this.#type = type;
    const limits = { maxBytes: maxBody, limitName: 'maxBody', idleTimeout } as const;
    this.#body = new RequestBody(exchange, limits, {
      onData: (chunk) => this.onData(chunk),
      onEnd: () => this.onEnd(),
      onFailed: (reply) => this.#refuse(reply),
    });
    res.once('close', () => this.#closed());
  }

  write(chunks: Uint8Array[], written: (error?: Error | null) => void): void {
    const { res } = this.#exchange;
    this.#begin();
    const last = chunks.length - 1;
    if (last > 0) res.cork();
    for (let i = 0; i < last; i++) res.write(chunks[i]);
    res.write(chunks[last], written);
    if (last > 0) res.uncork();
  }

  pause(): void {
    this.#body.pause();
  }

  resume(): void {
    this.#body.resume();
  }

  end(): void {
    if (this.#refused || this.#exchange.res.destroyed) return;
    this.#begin();
    this.#exchange.res.end();
  }

  destroy(): void {
    this.#destroyed = true;
    this.#exchange.res.destroy();
  }

  probe(): void {
    const { socket } = this.#exchange.res;
    if (socket !== null) probeSocket(socket);
  }

  endOfTick(run: () => void): void {
    setImmediate(run);
  }

  #begin(): void {
    const { req, res } = this.#exchange;
    if (res.headersSent || this.#refused) return;
    res.writeHead(this.status, {
      'Content-Type': this.#type,
      'X-Content-Type-Options': 'nosniff',
      'Cache-Control': 'no-store',
      ...(!isWhole(req) && { Connection: 'close' }),
    });
  }

  /** It ends without frames: nothing of what was asked is answered. */
  #refuse(reply: Telling): void {
    const { req, res } = this.#exchange;
    this.#refused = true;
    if (res.headersSent) res.destroy();
    else send(req, res, reply);
    tellClosed(this, new Error(reply.body.trim()));
  }

  #closed(): void {
    this.#body.stop();
    const { writableFinished } = this.#exchange.res;
    const broken = !writableFinished && !this.#destroyed;
    this.onClose(broken ? clientLeft() : undefined);
  }
}
