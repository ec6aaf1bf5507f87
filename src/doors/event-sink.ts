/**
 * A command's response as server-sent events: each line is an event's data, and so is what comes without an end of line before
 * the handler pauses. Lines for people are events named `text`, progress `progress`, a failure `error`; `end` is the last one.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Answer } from '../server/call-session.ts';
import type { Progress, ReceivedFailure } from '../wire/payloads.ts';
import { after, type Timer, unref } from '../wire/timers.ts';
import { json, send } from './reply.ts';
import { statusOf } from './status.ts';

export const EVENT_STREAM = 'text/event-stream';
/** Milliseconds after which a line that has not ended is an event all the same. */
const PAUSE_MS = 20;
/** Characters of a line that is longer: it is cut. */
const MAX_LINE = 1 << 20;

export class EventSink implements Answer {
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse;
  readonly #utf8 = new TextDecoder();
  #line = '';
  #timer: Timer | undefined;
  #over = false;

  constructor(req: IncomingMessage, res: ServerResponse) {
    this.#req = req;
    this.#res = res;
    res.once('close', () => clearTimeout(this.#timer));
  }

  bytes(bytes: Uint8Array, last: boolean): void {
    if (this.#over) return;
    clearTimeout(this.#timer);
    const lines = (this.#line + this.#utf8.decode(bytes, { stream: !last })).split(/\r\n|\n/);
    this.#line = lines.pop() ?? '';
    for (const line of lines) this.#send(line);
    if (last || this.#line.length > MAX_LINE) this.#sendLine();
    else if (this.#line !== '') this.#timer = unref(after(PAUSE_MS, () => this.#sendLine()));
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

  fail({ code, message, data }: ReceivedFailure): void {
    if (this.#over) return;
    const error = { code, message, ...(data !== undefined && { data }) };
    if (this.#res.headersSent) {
      this.#sendLine();
      this.#end('error', JSON.stringify(error));
    } else {
      this.#over = true;
      send(this.#req, this.#res, json(statusOf(code, this.#req), error));
    }
  }

  flush(taken: () => void): void {
    if (!this.#res.writableNeedDrain || this.#res.destroyed) {
      setImmediate(taken);
      return;
    }
    const go = () => {
      this.#res.off('drain', go).off('close', go);
      taken();
    };
    this.#res.on('drain', go).on('close', go);
  }

  /** One event, named or with an ID where it has one. */
  event(data: string, { name, id }: { readonly name?: string; readonly id?: string } = {}): void {
    this.#send(data, name, id);
  }

  #sendLine(): void {
    clearTimeout(this.#timer);
    if (this.#line !== '') this.#send(this.#line);
    this.#line = '';
  }

  #send(data: string, event?: string, id?: string): void {
    if (this.#over || this.#res.destroyed) return;
    if (!this.#res.headersSent)
      this.#res.writeHead(200, {
        'Content-Type': EVENT_STREAM,
        'Cache-Control': 'no-store',
        'X-Content-Type-Options': 'nosniff',
        // What stands between must not gather events: nginx goes by this.
        'X-Accel-Buffering': 'no',
      });
    const lines = data.split(/\r\n|\r|\n/).map((line) => `data: ${line}\n`);
    const head = (id === undefined ? '' : `id: ${id}\n`) + (event === undefined ? '' : `event: ${event}\n`);
    this.#res.write(`${head}${lines.join('')}\n`);
  }

  #end(event: string, data: string): void {
    this.#send(data, event);
    this.#over = true;
    this.#res.end();
  }
}
