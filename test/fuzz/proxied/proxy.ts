/** A proxy that harms what goes through it, as it is told to, and knows what it has done. */

import { connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import { listening } from '../../helpers/serving.ts';
import { type Fault, type Faults, isDamage, isHarm } from './plan.ts';

/** Pieces that one split makes at most: each takes a turn. */
const MAX_PIECES = 60;
const MAX_DELAY_MS = 40;
/** How much of the beginning of what servers have sent is kept for others. */
const KEPT = 2000;

/** The connections of one client. */
export class FaultyProxy {
  /** A byte of one of them was changed; one of them may have been ended, or made to wait for ever. */
  isDamaged = false;
  isHarmed = false;
  connections = 0;
  /** Faults that came to pass. */
  applied = 0;
  /** The beginning of what the server has sent on the last connection of any proxy. */
  static #beginning: Uint8Array = new Uint8Array();
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #target: number;
  #faults: ((index: number) => Faults) | undefined;

  private constructor(target: number) {
    this.#target = target;
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
  }

  static async start(target: number): Promise<{ proxy: FaultyProxy; port: number }> {
    const proxy = new FaultyProxy(target);
    return { proxy, port: await listening(proxy.#server) };
  }

  /** Takes connections from now on; `faults` says what becomes of each. */
  open(faults: (index: number) => Faults): void {
    this.#faults = faults;
    this.isDamaged = false;
    this.isHarmed = false;
    this.connections = 0;
    this.applied = 0;
  }

  /** Ends all connections, and new ones at once. */
  cut(): void {
    this.isHarmed = true;
    this.end();
  }

  /** {@link cut} for what nobody uses any more. */
  end(): void {
    this.#faults = undefined;
    for (const socket of this.#sockets) socket.destroy();
  }

  stop(): void {
    this.end();
    this.#server.close();
  }

  #accept(client: Socket): void {
    this.#keep(client);
    if (this.#faults === undefined) {
      client.resetAndDestroy();
      return;
    }
    const { up, down } = this.#faults(this.connections++);
    const server = connect({ port: this.#target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    this.#keep(server);
    this.#pass(client, server, up);
    this.#pass(server, client, down, true);
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => this.#sockets.delete(socket));
  }

  /** One direction. What ends one socket for good ends the other. */
  async #pass(from: Socket, to: Socket, faults: readonly Fault[], isAnswer = false): Promise<void> {
    const left = [...faults];
    let at = 0;
    let begins = isAnswer;
    try {
      for await (const chunk of from.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        let rest: Uint8Array = chunk;
        if (begins) FaultyProxy.#beginning = Uint8Array.from(chunk.subarray(0, KEPT));
        begins = false;
        for (; left.length > 0 && at + rest.length > left[0].at; left.shift()) {
          const calm = Math.max(0, left[0].at - at);
          await written(to, rest.subarray(0, calm));
          at += calm;
          const before = rest.subarray(calm);
          const after = await this.#apply(left[0], before, from, to);
          if (after === undefined) return;
          at += before.length - after.length;
          rest = after;
          if (rest.length === 0) {
            left.shift();
            break;
          }
        }
        at += rest.length;
        await written(to, rest);
      }
      to.end();
    } catch {
      to.resetAndDestroy();
    }
  }

  /** What is left to be sent of `bytes`; undefined when nothing ever will be. */
  async #apply(fault: Fault, bytes: Uint8Array, from: Socket, to: Socket): Promise<Uint8Array | undefined> {
    this.applied++;
    if (isHarm(fault)) this.isHarmed = true;
    if (isDamage(fault)) this.isDamaged = true;
    const some = Math.min(fault.count, bytes.length);
    switch (fault.kind) {
      case 'delay':
        await delay(fault.count % MAX_DELAY_MS);
        return bytes;
      case 'split': {
        const size = 1 + (fault.count % 16);
        let at = 0;
        for (let pieces = 0; pieces < MAX_PIECES && at < bytes.length; pieces++, at += size) {
          await written(to, bytes.subarray(at, at + size));
          await turn();
        }
        return bytes.subarray(Math.min(at, bytes.length));
      }
      case 'reset':
        from.resetAndDestroy();
        to.resetAndDestroy();
        return undefined;
      case 'end':
        from.destroy();
        to.end();
        return undefined;
      case 'half-close':
        to.end();
        from.resume();
        return undefined;
      case 'stall':
        from.resume();
        return undefined;
      case 'flip': {
        const flipped = Uint8Array.from(bytes);
        flipped[0] ^= 1 << (fault.count % 8);
        return flipped;
      }
      case 'duplicate':
        await written(to, bytes.subarray(0, some));
        return bytes;
      case 'drop':
        return bytes.subarray(some);
      case 'swap':
        await written(to, FaultyProxy.#beginning);
        return bytes.subarray(Math.min(bytes.length, FaultyProxy.#beginning.length));
    }
  }
}

function written(socket: Socket, bytes: Uint8Array): Promise<void> {
  if (bytes.length === 0) return Promise.resolve();
  return new Promise((resolve, reject) => {
    socket.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}
