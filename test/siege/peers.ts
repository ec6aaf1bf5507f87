/** Hostile peers: sockets that send what they are given, as fast as it is read or so often. */

import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';

/** Least bytes of one write of a flood. */
const WRITE_SIZE = 64 * 1024;

export class Peers {
  readonly #port: number;
  readonly #secured: boolean;
  readonly #sockets = new Set<Socket>();
  #left = false;

  constructor(port: number, secured: boolean) {
    this.#port = port;
    this.#secured = secured;
  }

  /** False once the attack is to end. */
  get attacking(): boolean {
    return !this.#left;
  }

  /** A connection that has sent `hello`; undefined when the attack is over, or it cannot be had. */
  async open(hello: Uint8Array, { reads = true } = {}): Promise<Socket | undefined> {
    if (this.#left) return undefined;
    const where = { port: this.#port, host: '127.0.0.1' };
    const socket = this.#secured ? connectTls({ ...where, rejectUnauthorized: false }) : connect(where);
    this.#sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => this.#sockets.delete(socket));
    if (reads) socket.resume();
    const opened = await new Promise<boolean>((resolve) => {
      socket.once(this.#secured ? 'secureConnect' : 'connect', () => resolve(true));
      socket.once('close', () => resolve(false));
    });
    if (!opened) return undefined;
    socket.write(hello);
    return socket;
  }

  /** `count` connections at a time, each of which does `each` from its beginning; again where `each` has come to its end. */
  async crowd(count: number, each: (i: number) => Promise<unknown>): Promise<void> {
    const one = async (i: number) => {
      while (!this.#left) {
        await each(i);
        await delay(1);
      }
    };
    await Promise.all(Array.from({ length: count }, (_, i) => one(i)));
  }

  /** Sends `bytes` over and over, as fast as they are read, until the connection or the attack is over. */
  async flood(socket: Socket | undefined, bytes: Uint8Array): Promise<void> {
    if (socket === undefined) return;
    const copies = Math.max(1, Math.ceil(WRITE_SIZE / bytes.length));
    const much = Buffer.concat(Array.from({ length: copies }, () => bytes));
    while (isOpen(socket) && !this.#left) if (!socket.write(much)) await drained(socket);
  }

  /** Sends `bytes` every `everyMs`, until the connection or the attack is over. */
  async pulse(socket: Socket | undefined, bytes: Uint8Array, everyMs: number): Promise<void> {
    while (socket !== undefined && isOpen(socket) && !this.#left) {
      if (!socket.write(bytes)) await drained(socket);
      await delay(everyMs);
    }
  }

  /** Resolves when the connection or the attack is over. */
  async stay(socket: Socket | undefined): Promise<void> {
    while (socket !== undefined && !socket.destroyed && !this.#left) await delay(20);
  }

  /** Ends the attack. */
  leave(): void {
    this.#left = true;
    for (const socket of this.#sockets) {
      if (this.#secured) socket.destroy();
      else socket.resetAndDestroy();
    }
  }
}

function isOpen(socket: Socket): boolean {
  return !socket.destroyed && socket.writable;
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      socket.off('drain', done).off('close', done);
      resolve();
    };
    socket.on('drain', done).on('close', done);
  });
}
