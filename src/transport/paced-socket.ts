/**
 * What a socket brings, for listeners of somebody else's that work through all that they are given at once: they get pieces
 * that take them a fraction of a millisecond, in the turns in which everybody's work is done.
 */

import type { Socket } from 'node:net';
import { type Slice, type Turns, Work } from '../connection/turns.ts';

/** Where the piece ends that begins at `at` of `chunk`: after `at`, and not beyond the end. */
export type Cut = (chunk: Buffer, at: number) => number;

const NOTHING: Buffer = Buffer.alloc(0);

/** The events of one socket; whoever listens pauses and resumes it as if there were nobody between. */
export class PacedSocket {
  readonly #socket: Socket;
  readonly #turns: Turns;
  readonly #cut: Cut;
  readonly #work = new Work((slice) => this.#handOn(slice));
  /** As they were before. */
  readonly #methods: Pick<Socket, 'emit' | 'pause' | 'resume'>;
  /** What is still to be handed on, from `#at`; the socket is paused meanwhile. */
  #held = NOTHING;
  #at = 0;
  /** Whether the listeners want more. */
  #wanted = true;
  /** It has ended, which is said when all has been handed on: a stream says it at once where it has known it for long. */
  #endHeld = false;

  constructor(socket: Socket, turns: Turns, cut: Cut) {
    this.#socket = socket;
    this.#turns = turns;
    this.#cut = cut;
    const { emit, pause, resume } = socket;
    this.#methods = { emit, pause, resume };
    const pass = emit as (event: string | symbol, ...args: unknown[]) => boolean;
    const intercepting = (event: string | symbol, ...args: unknown[]) => {
      if (event === 'data') return this.#take(args[0] as Buffer);
      if (event === 'end' && this.#held !== NOTHING) return this.#endLater();
      return pass.call(socket, event, ...args);
    };
    const pausing = () => {
      this.#wanted = false;
      return pause.call(socket);
    };
    const resuming = () => {
      this.#wanted = true;
      return this.#held === NOTHING ? resume.call(socket) : socket;
    };
    Object.assign(socket, { emit: intercepting, pause: pausing, resume: resuming });
    socket.once('close', this.#onClose);
  }

  readonly #onClose = (): void => void this.end();

  /** Leaves the socket as it was. @returns what nobody has been handed, to be dealt with before what comes next. */
  end(): Buffer {
    const rest = this.#held.subarray(this.#at);
    this.#held = NOTHING;
    this.#at = 0;
    Object.assign(this.#socket.off('close', this.#onClose), this.#methods);
    if (this.#endHeld && !this.#socket.destroyed) setImmediate(() => this.#socket.emit('end'));
    return rest;
  }

  #take(chunk: Buffer): boolean {
    this.#held = this.#held === NOTHING ? chunk : Buffer.concat([this.#held.subarray(this.#at), chunk]);
    this.#at = 0;
    this.#work.bytes = this.#held.length;
    this.#turns.ready(this.#work);
    if (this.#held !== NOTHING) this.#methods.pause.call(this.#socket);
    return true;
  }

  #endLater(): boolean {
    this.#endHeld = true;
    return true;
  }

  /** Whether there is more. */
  #handOn(slice: Slice): boolean {
    const { emit, resume } = this.#methods;
    while (this.#at < this.#held.length) {
      const from = this.#at;
      this.#at = this.#cut(this.#held, from);
      emit.call(this.#socket, 'data', this.#held.subarray(from, this.#at));
      if (this.#socket.destroyed) this.end();
      // Whoever has the socket now pauses and resumes it.
      if (this.#held === NOTHING) return false;
      if (slice.countLong(this.#at - from) && this.#at < this.#held.length) return true;
    }
    this.#held = NOTHING;
    this.#at = 0;
    if (this.#endHeld) emit.call(this.#socket, 'end');
    else if (this.#wanted && this.#socket.isPaused()) resume.call(this.#socket);
    return false;
  }
}

/** Line feeds in a piece: so many lines of requests, or of the sizes of chunks, take a parser of HTTP well below a millisecond. */
const LINES = 32;

/** Pieces for a parser of HTTP, whose work goes with the lines; a body that has none is one piece. */
export function afterLines(chunk: Buffer, at: number): number {
  let end = at;
  for (let lines = 0; lines < LINES; lines++) {
    const next = chunk.indexOf(0x0a, end);
    if (next < 0) return chunk.length;
    end = next + 1;
  }
  return end;
}

/** Bytes of a piece of WebSocket messages, which may be empty: their heads have at least six. */
const MESSAGE_BYTES = 4096;

/** Pieces for a parser of WebSocket messages. */
export function afterBytes(chunk: Buffer, at: number): number {
  return Math.min(chunk.length, at + MESSAGE_BYTES);
}
