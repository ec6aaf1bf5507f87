/**
 * A command's response as server-sent events: each line is an event's data, and so is what comes without an end of line before
 * the handler pauses. Lines for people are events named `text`, progress `progress`, a failure `error`; `end` is the last one.
 * While there is nothing to say a comment tells whoever stands between that the answer goes on.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { PieceQueue } from '../reactor/piece-queue.ts';
import type { Answer } from '../server/answer-feed.ts';
import type { Progress, ReceivedFailure } from '../wire/payloads.ts';
import { after, every, type Timer, unref } from '../wire/timers.ts';
import { failed, send, whenDrained } from './reply.ts';

export const EVENT_STREAM = 'text/event-stream';
/** Milliseconds after which a line that has not ended is an event all the same. */
const PAUSE_MS = 20;
/** Bytes of a line that is longer: it is cut. */
const MAX_LINE = 1 << 20;
const LF = 0x0a;

export class EventSink implements Answer {
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse;
  readonly #utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
  /** What has come of a line. */
  readonly #line = new PieceQueue();
  #timer: Timer | undefined;
  #over = false;
  /** Whether anything was sent since the last look, of which there are two in the time that it may be silent. */
  #spoke = false;

  /** `keepAliveMs`: of silence at most, before a comment; 0: never. */
  constructor(req: IncomingMessage, res: ServerResponse, keepAliveMs: number) {
    this.#req = req;
    this.#res = res;
    const watch = keepAliveMs > 0 ? unref(every(keepAliveMs / 2, this.#keepAlive)) : undefined;
    res.once('close', () => {
      clearTimeout(this.#timer);
      clearInterval(watch);
    });
  }

  bytes(bytes: Uint8Array, last: boolean): void {
    if (this.#over) return;
    clearTimeout(this.#timer);
    const ended = bytes.lastIndexOf(LF) + 1;
    this.#line.push(bytes.subarray(0, ended));
    if (ended > 0) this.#sendLines();
    this.#line.push(bytes.subarray(ended));
    if (last || this.#line.length > MAX_LINE) this.#sendLine(last);
    else if (this.#line.length > 0) this.#timer = unref(after(PAUSE_MS, () => this.#sendLine()));
    if (last) this.#end('end', '');
  }

  text(text: string): void {
    this.#sendLine();
    this.#send(text.replace(/\n$/, ''), 'text');
  }

  progress(progress: Progress): void {
    this.#sendLine();
    this.#send(JSON.stringify(progress), 'progress');
  }

  fail(failure: ReceivedFailure): void {
    if (this.#over) return;
    if (this.#res.headersSent) {
      this.#sendLine();
      this.#end('error', JSON.stringify(failure));
    } else {
      this.#over = true;
      send(this.#req, this.#res, failed(this.#req, failure));
    }
  }

  flush(taken: () => void): void {
    whenDrained(this.#res, () => setImmediate(taken));
  }

  /** One event, named or with an ID where it has one. */
  event(data: string, { name, id }: { readonly name?: string; readonly id?: string } = {}): void {
    this.#send(data, name, id);
  }

  /** What a client has that has got no event yet: it is no event itself, and the next request says it. */
  id(id: string): void {
    this.#write(`id: ${id}\n\n`);
  }

  /** Nothing is written on top of what the client has not taken. */
  readonly #keepAlive = (): void => {
    if (!this.#spoke && !this.#res.writableNeedDrain) this.#write(':\n\n');
    this.#spoke = false;
  };

  /** All that has come, which ends with a line. */
  #sendLines(): void {
    const lines = this.#text().split(/\r\n|\n/);
    for (const line of lines.slice(0, -1)) this.#send(line);
  }

  /** What has come of a line that may go on. */
  #sendLine(last = false): void {
    clearTimeout(this.#timer);
    const line = this.#text() + (last ? this.#utf8.decode() : '');
    if (line !== '') this.#send(line);
  }

  /** What waits, as text; a character of which not all has come waits for the rest. */
  #text(): string {
    const pieces = this.#line.takeAll();
    return pieces.map((piece) => this.#utf8.decode(piece, { stream: true })).join('');
  }

  #send(data: string, event?: string, id?: string): void {
    const lines = data.split(/\r\n|\r|\n/).map((line) => `data: ${line}\n`);
    const head = (id === undefined ? '' : `id: ${id}\n`) + (event === undefined ? '' : `event: ${event}\n`);
    this.#write(`${head}${lines.join('')}\n`);
  }

  #write(text: string): void {
    if (this.#over || this.#res.destroyed) return;
    if (!this.#res.headersSent)
      this.#res.writeHead(200, {
        'Content-Type': EVENT_STREAM,
        'Cache-Control': 'no-store',
        'X-Content-Type-Options': 'nosniff',
        // What stands between must not gather events: nginx goes by this.
        'X-Accel-Buffering': 'no',
      });
    this.#spoke = true;
    this.#res.write(text);
  }

  #end(event: string, data: string): void {
    this.#send(data, event);
    this.#over = true;
    this.#res.end();
  }
}
