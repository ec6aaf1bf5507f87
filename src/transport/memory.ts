/** Two ends of a channel within one program: a client and a server that need no socket. Runs in browsers, too. */

import type { Transport } from '../connection/transport.ts';
import { checkOptions, type Rules, rule, string } from '../options/rules.ts';
import { later } from './later.ts';

/** Options of `memoryPair`. */
export interface MemoryPairOptions {
  /** Bytes that may be on their way in each direction before the sender waits; default 65 536. */
  highWaterMark?: number;
  /** What each end is told that the other is called; default `memory`. */
  remote?: string;
}

const RULES: Rules<MemoryPairOptions> = {
  highWaterMark: rule('a number above 0', (value) => typeof value === 'number' && value > 0),
  remote: string,
};

const HIGH_WATER_MARK = 64 * 1024;
const GONE = 'the other end has closed';

/**
 * A connected pair of transports: one for `server.accept()`, the other for `connectOver()`. It has what sockets have:
 * pieces that come in later turns, backpressure, pausing, half-close, an error at the other end of a destroyed one.
 * @throws TypeError that names the option which is wrong.
 */
export function memoryPair(options: MemoryPairOptions = {}): [Transport, Transport] {
  checkOptions(options, RULES, 'memoryPair');
  const { highWaterMark = HIGH_WATER_MARK, remote = 'memory' } = options;
  const there = new MemoryPipe(highWaterMark);
  const back = new MemoryPipe(highWaterMark);
  const one = new MemoryTransport(there, back, remote);
  const other = new MemoryTransport(back, there, remote);
  one.peer = other;
  other.peer = one;
  return [one, other];
}

/** What is on its way in one direction, the oldest first. */
class MemoryPipe {
  readonly #highWaterMark: number;
  readonly #chunks: Uint8Array[] = [];
  #bytes = 0;
  #waiting: (() => void)[] = [];
  /** The sender sends no more. */
  ended = false;

  constructor(highWaterMark: number) {
    this.#highWaterMark = highWaterMark;
  }

  get empty(): boolean {
    return this.#chunks.length === 0;
  }

  /** Whether the sender need not wait. */
  get hasRoom(): boolean {
    return this.#bytes < this.#highWaterMark;
  }

  /** Chunks are copied: their owner uses them again, and who receives them keeps them. */
  push(chunks: readonly Uint8Array[]): void {
    for (const chunk of chunks) {
      if (chunk.length === 0) continue;
      this.#chunks.push(chunk.slice());
      this.#bytes += chunk.length;
    }
  }

  shift(): Uint8Array | undefined {
    const chunk = this.#chunks.shift();
    if (chunk === undefined) return undefined;
    this.#bytes -= chunk.length;
    if (this.hasRoom) for (const run of this.#waiting.splice(0)) run();
    return chunk;
  }

  whenRoom(run: () => void): void {
    this.#waiting.push(run);
  }

  /** Nothing more arrives: whoever waits for room is told. */
  drop(): void {
    this.#chunks.length = 0;
    this.#bytes = 0;
    for (const run of this.#waiting.splice(0)) run();
  }
}

class MemoryTransport implements Transport {
  readonly remote: string;
  onData: (chunk: Uint8Array) => void = () => undefined;
  onEnd: () => void = () => undefined;
  onClose: (error: Error | undefined) => void = () => undefined;
  peer: MemoryTransport | undefined;
  readonly #output: MemoryPipe;
  readonly #input: MemoryPipe;
  #paused = true;
  #endTold = false;
  #isClosed = false;
  /** The other end is gone, and what it had sent has not all arrived. */
  #lost: Error | undefined;
  #readPlanned = false;

  constructor(output: MemoryPipe, input: MemoryPipe, remote: string) {
    this.#output = output;
    this.#input = input;
    this.remote = remote;
  }

  write(chunks: Uint8Array[], written: (error?: Error | null) => void): void {
    if (this.#isClosed || this.#output.ended) {
      later(() => written(new Error(this.#isClosed ? 'the channel is closed' : 'write after end')));
      return;
    }
    if (this.peer?.isClosed) {
      later(() => written(new Error(GONE)));
      this.#close(new Error(GONE));
      return;
    }
    this.#output.push(chunks);
    this.peer?.readLater();
    const tell = () => written(this.#isClosed ? new Error('the channel is closed') : undefined);
    if (this.#output.hasRoom) later(tell);
    else this.#output.whenRoom(() => later(tell));
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.readLater();
  }

  end(): void {
    if (this.#isClosed) return;
    this.#output.ended = true;
    this.peer?.readLater();
    this.#closeIfDone();
  }

  destroy(): void {
    if (this.#isClosed) return;
    const error = this.#output.ended ? GONE : 'reset by the other end';
    this.#close(undefined);
    this.peer?.lose(new Error(error), this.#output.ended);
  }

  endOfTick(run: () => void): void {
    later(run);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Hands on what has come, in a turn of its own. */
  readLater(): void {
    if (this.#readPlanned || this.#isClosed) return;
    this.#readPlanned = true;
    later(() => {
      this.#readPlanned = false;
      this.#read();
    });
  }

  /** The other end was destroyed. Where it had `ended`, what it had sent before still arrives. */
  lose(error: Error, ended: boolean): void {
    if (this.#isClosed) return;
    if (!ended) this.#close(error);
    else if (this.#endTold) this.#close(this.#output.ended ? undefined : error);
    else this.#lost = error;
  }

  #read(): void {
    while (!this.#paused && !this.#isClosed) {
      const chunk = this.#input.shift();
      if (chunk === undefined) break;
      this.onData(chunk);
    }
    if (this.#paused || this.#isClosed || this.#endTold || !this.#input.ended || !this.#input.empty) return;
    this.#endTold = true;
    this.onEnd();
    if (this.#lost !== undefined) this.#close(this.#output.ended ? undefined : this.#lost);
    this.#closeIfDone();
  }

  /** The channel is gone once both ends have said that they send no more, and have heard it. */
  #closeIfDone(): void {
    if (this.#endTold && this.#output.ended) this.#close(undefined);
  }

  #close(error: Error | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (!this.#output.ended) this.#output.drop();
    this.#input.drop();
    later(() => this.onClose(error));
  }
}
