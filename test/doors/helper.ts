/** HTTP by hand, where what goes over the socket is the point; by node:http where it is not. */

import { once } from 'node:events';
import { type IncomingHttpHeaders, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import type { ExecutionContext } from 'ava';
import { WebSocket } from 'ws';
import { type Frame, FrameType } from '../../src/wire/frame.ts';
import { Splitter } from '../../src/wire/splitter.ts';
import { frames } from '../helpers/raw-peer.ts';
import { Watch } from '../helpers/serving.ts';

export const PART_A = 'application/mercurial-exp-framing-0002';
export const FRAMES = 'application/vnd.millrace.frames';
export const PREFIX = '/api/exp-http-v2-0001';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface Ask {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | Uint8Array;
}

/** One request; its answer, whole. */
export async function ask(
  port: number,
  path: string,
  { method = 'POST', headers, body }: Ask = {},
): Promise<Answer> {
  const req = request({ port, host: '127.0.0.1', path, method, headers, agent: false });
  // A server that has answered need not read the rest of a body: the connection may be reset behind its answer.
  req.on('error', () => undefined);
  req.end(body);
  const [res] = await once(req, 'response');
  const chunks: Buffer[] = [];
  for await (const chunk of res) chunks.push(chunk);
  return { status: res.statusCode, headers: res.headers, body: Buffer.concat(chunks) };
}

/** Frames by HTTP (protocol A7), frames as lines. */
export function askFrames(
  port: number,
  path: string,
  lines: string[],
  headers: Record<string, string> = {},
): Promise<Answer> {
  const both = { accept: PART_A, 'content-type': PART_A };
  return ask(port, `${PREFIX}/${path}`, { headers: { ...both, ...headers }, body: frames(...lines) });
}

export function framesIn(bytes: Uint8Array): Frame[] {
  const found: Frame[] = [];
  const splitter = new Splitter({ maxPayload: 0xff_ffff, onFrame: (frame) => void found.push(frame) });
  splitter.push(bytes);
  splitter.finish();
  return found;
}

/** The bytes of responses, or the message of an error, as text. */
export function said(bytes: Uint8Array): string {
  return framesIn(bytes)
    .filter(({ type }) => type === FrameType.bytesResponse || type === FrameType.errorResponse)
    .map(({ payload }) => Buffer.from(payload).toString())
    .join('');
}

/** A socket on which requests are written by hand. */
export class Wire {
  readonly socket: Socket;
  #text = '';
  ended = false;
  readonly #watch = new Watch();

  constructor(t: ExecutionContext<unknown>, port: number) {
    this.socket = connect({ port, host: '127.0.0.1' });
    this.socket.on('error', () => undefined);
    this.socket.on('data', (chunk) => {
      this.#text += chunk.toString('latin1');
      this.#watch.changed();
    });
    this.socket.on('close', () => {
      this.ended = true;
      this.#watch.changed();
    });
    t.teardown(() => this.socket.destroy());
  }

  send(...lines: string[]): this {
    this.socket.write(lines.join('\r\n'));
    return this;
  }

  /** All that has come, once it matches, or the connection has ended. */
  async heard(pattern: RegExp): Promise<string> {
    return this.#watch.until(() => (pattern.test(this.#text) || this.ended ? this.#text : undefined));
  }

  /** All that has come by the end of the connection. */
  async rest(): Promise<string> {
    return this.#watch.until(() => (this.ended ? this.#text : undefined));
  }
}

/** A WebSocket without manners: what it is sent, and how it ends. */
export class WebPeer {
  readonly socket: WebSocket;
  readonly frames: Frame[] = [];
  closeCode: number | undefined;
  readonly #watch = new Watch();

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data: Buffer) => {
      this.frames.push(...framesIn(data));
      this.#watch.changed();
    });
    socket.on('error', () => undefined);
    socket.on('close', (code) => {
      this.closeCode = code;
      this.#watch.changed();
    });
  }

  static async open(
    t: ExecutionContext<unknown>,
    port: number,
    headers: Record<string, string> = {},
  ): Promise<WebPeer> {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/`, 'millrace.v1', { headers });
    t.teardown(() => socket.terminate());
    await once(socket, 'open');
    return new WebPeer(socket);
  }

  /** One message of these frames. */
  send(...lines: (string | Uint8Array)[]): void {
    this.socket.send(frames(...lines));
  }

  closed(): Promise<number> {
    return this.#watch.until(() => this.closeCode);
  }

  answer(id: number): Promise<string | undefined> {
    const own = () => this.frames.filter(({ requestId }) => requestId === id);
    return this.#watch.until(() => {
      const done = own().some(({ type, flags }) => type === FrameType.bytesResponse && flags === 2);
      if (done) return Buffer.concat(own().map(({ payload }) => payload)).toString();
      return this.closeCode === undefined ? undefined : 'closed';
    });
  }

  /** The text of the protocol error, once it comes. */
  protocolError(): Promise<string> {
    return this.#watch.until(() => {
      const found = this.frames.find(({ type, flags }) => type === FrameType.errorResponse && flags === 1);
      if (found !== undefined) return Buffer.from(found.payload).toString();
      return this.closeCode === undefined ? undefined : `closed: ${this.closeCode}`;
    });
  }
}

/** The status with which a request for a WebSocket is refused; 101: it is not. */
export function upgradeStatus(
  port: number,
  {
    headers,
    protocol = 'millrace.v1',
    path = '/',
  }: { headers?: Record<string, string>; protocol?: string; path?: string } = {},
): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, protocol === '' ? [] : protocol, {
      headers,
    });
    socket.on('open', () => {
      socket.terminate();
      resolve(101);
    });
    socket.on('unexpected-response', (_request, response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    socket.on('error', reject);
  });
}
