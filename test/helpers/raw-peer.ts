/** A client without manners: sends frames written as lines of text, and collects what comes back. */

import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import type { ExecutionContext } from 'ava';
import { encodeFrame, type Frame, FrameType } from '../../src/wire/frame.ts';
import { parseFrameText } from '../../src/wire/human.ts';
import { Splitter } from '../../src/wire/splitter.ts';
import { Watch } from './serving.ts';

/** Settings of a peer that knows every extension and decodes nothing. */
export const HELLO =
  '0 1 stream-begin sender-settings 0 {"extensions":["sender-settings","progress","cancel","credit","ping","goaway"]}';

/** A frame written as a line: `<request> <stream> <stream flags> <type> <flags> <payload>`, or with this payload. */
export function frame(line: string, payload?: Uint8Array): Uint8Array {
  const parsed = parseFrameText(line);
  return encodeFrame(payload === undefined ? parsed : { ...parsed, payload });
}

/** Frames written as lines, or bytes as they are, one after the other. */
export function frames(...lines: (string | Uint8Array)[]): Buffer {
  return Buffer.concat(lines.map((line) => (typeof line === 'string' ? frame(line) : line)));
}

/** `count` times what `make` gives for 0, 1, 2 … */
export function times(count: number, make: (i: number) => string | Uint8Array): Buffer {
  return frames(...Array.from({ length: count }, (_, i) => make(i)));
}

export class RawPeer {
  readonly socket: Socket;
  readonly frames: Frame[] = [];
  ended = false;
  readonly #watch = new Watch();

  constructor(socket: Socket) {
    this.socket = socket;
    const splitter = new Splitter({
      maxPayload: 0xff_ffff,
      onFrame: (frame) => {
        this.frames.push({ ...frame, payload: frame.payload.slice() });
      },
    });
    socket.on('data', (chunk: Uint8Array) => {
      splitter.push(chunk);
      this.#watch.changed();
    });
    socket.on('error', () => undefined);
    for (const event of ['end', 'close']) {
      socket.on(event, () => {
        this.ended = true;
        this.#watch.changed();
      });
    }
  }

  /** A peer for the length of one test. */
  static async connect(t: ExecutionContext<unknown>, port: number): Promise<RawPeer> {
    const socket = createConnection({ port, host: '127.0.0.1' });
    t.teardown(() => socket.destroy());
    await once(socket, 'connect');
    return new RawPeer(socket);
  }

  /** Frames as lines, or bytes as they are. */
  send(...lines: (string | Uint8Array)[]): void {
    this.socket.write(frames(...lines));
  }

  /** Waits until `done`, or the connection's end; says whether it was `done`. */
  until(done: () => boolean): Promise<boolean> {
    return this.#watch.until(() => (done() ? true : this.ended ? false : undefined));
  }

  /** Resolves once the server has seen, and has acted on, all that was sent before; needs {@link HELLO} to be sent. */
  async seen(): Promise<void> {
    const pongs = () => this.frames.filter(({ type }) => type === FrameType.ping).length;
    const before = pongs();
    this.send('0 1 0 ping 0 are you?');
    if (!(await this.until(() => pongs() > before))) throw new Error('the connection has ended');
  }

  /** The text of the protocol error, once it comes; undefined when the connection ends without. */
  async protocolError(): Promise<string | undefined> {
    await this.until(() => this.#protocolError !== undefined);
    return this.#protocolError;
  }

  get #protocolError(): string | undefined {
    const found = this.frames.find(({ type, flags }) => type === FrameType.errorResponse && flags === 1);
    return found === undefined ? undefined : new TextDecoder().decode(found.payload);
  }

  /** True while the server has neither refused anything nor gone. */
  get unharmed(): boolean {
    return !this.ended && this.#protocolError === undefined;
  }

  /** What request `id` was answered: its bytes as text, or `error: ` and the message; undefined: the end came first. */
  async answer(id: number): Promise<string | undefined> {
    const own = () => this.frames.filter(({ requestId }) => requestId === id);
    const isError = ({ type }: Frame) => type === FrameType.errorResponse;
    const isLast = ({ type, flags }: Frame) => type === FrameType.bytesResponse && flags === 2;
    if (!(await this.until(() => own().some((frame) => isError(frame) || isLast(frame))))) return undefined;
    const error = own().find(isError);
    if (error !== undefined) return `error: ${new TextDecoder().decode(error.payload)}`;
    return Buffer.concat(own().map(({ payload }) => payload)).toString();
  }

  close(): void {
    this.socket.destroy();
  }
}

/**
 * Calls `then` at each command that begins on a socket of a server that is none. Not at the first data: that is settings, with the
 * command or before it.
 */
export function onCommand(socket: Socket, then: (requestId: number) => void): void {
  const splitter = new Splitter({
    maxPayload: 0xff_ffff,
    onFrame: ({ type, requestId }) => {
      if (type === FrameType.commandName) then(requestId);
    },
  });
  socket.on('data', (chunk: Buffer) => splitter.push(chunk));
}
