/** A client without manners: sends frames written as lines of text, and collects what comes back. */

import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { encodeFrame, type Frame, FrameType } from '../../src/wire/frame.ts';
import { parseFrameText } from '../../src/wire/human.ts';
import { Splitter } from '../../src/wire/splitter.ts';

/** Settings of a peer that knows every extension and decodes nothing. */
export const HELLO =
  '0 1 stream-begin sender-settings 0 {"extensions":["sender-settings","progress","cancel","credit","ping","goaway"]}';

export class RawPeer {
  readonly socket: Socket;
  readonly frames: Frame[] = [];
  ended = false;
  #wake: () => void = () => undefined;

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
      this.#wake();
    });
    socket.on('error', () => undefined);
    for (const event of ['end', 'close']) {
      socket.on(event, () => {
        this.ended = true;
        this.#wake();
      });
    }
  }

  static async connect(port: number): Promise<RawPeer> {
    const socket = createConnection({ port, host: '127.0.0.1' });
    await once(socket, 'connect');
    return new RawPeer(socket);
  }

  /** Frames as lines, or bytes as they are. */
  send(...frames: (string | Uint8Array)[]): void {
    const bytes = frames.map((frame) =>
      typeof frame === 'string' ? encodeFrame(parseFrameText(frame)) : frame,
    );
    this.socket.write(Buffer.concat(bytes));
  }

  /** Waits until `done`, or the connection's end, or for `ms`; says whether it was `done`. */
  async until(done: () => boolean, ms = 5000): Promise<boolean> {
    const deadline = performance.now() + ms;
    while (!done()) {
      const left = deadline - performance.now();
      if (left <= 0 || this.ended) return done();
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return true;
  }

  /** The text of the protocol error, once it comes. */
  async protocolError(ms = 5000): Promise<string | undefined> {
    const find = () => this.frames.find(({ type, flags }) => type === FrameType.errorResponse && flags === 1);
    await this.until(() => find() !== undefined, ms);
    const found = find();
    return found === undefined ? undefined : new TextDecoder().decode(found.payload);
  }

  /** What request `id` was answered: its bytes as text, or `error: ` and the message. */
  async answer(id: number, ms = 5000): Promise<string | undefined> {
    const own = () => this.frames.filter(({ requestId }) => requestId === id);
    const isError = ({ type }: Frame) => type === FrameType.errorResponse;
    const isLast = ({ type, flags }: Frame) => type === FrameType.bytesResponse && flags === 2;
    if (!(await this.until(() => own().some((frame) => isError(frame) || isLast(frame)), ms)))
      return undefined;
    const error = own().find(isError);
    if (error !== undefined) return `error: ${new TextDecoder().decode(error.payload)}`;
    return Buffer.concat(own().map(({ payload }) => payload)).toString();
  }

  close(): void {
    this.socket.destroy();
  }
}
