/** The handler's side of a request: arguments, command data as it arrives, and the signal that it is over. */

import { PIECE_COST } from '../wire/limits.ts';
import { decodeUtf8 } from '../wire/utf8.ts';
import type { CommandRequest } from './command.ts';

/** Pieces up to this size are copied out of what arrived, so that they do not keep a whole input chunk alive. */
const COPY_BELOW = 32 * 1024;

/** What a piece of command data costs while it waits to be read, in bytes (protocol B-limits, `maxBufferedInput`). */
export function costOf(piece: Uint8Array): number {
  return piece.length + PIECE_COST;
}

/** Command data between the reactor, which pushes, and the handler, which iterates. */
export class DataQueue implements AsyncIterable<Uint8Array> {
  readonly #onRead: (cost: number) => void;
  #pieces: Uint8Array[] = [];
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  #dropped = false;

  /** `onRead` is told what the pieces cost that the handler has taken, or will never take: {@link costOf}. */
  constructor(onRead: (cost: number) => void) {
    this.#onRead = onRead;
  }

  push(bytes: Uint8Array, last: boolean): void {
    if (this.#dropped || bytes.length === 0) this.#onRead(costOf(bytes));
    else this.#pieces.push(bytes.length < COPY_BELOW ? bytes.slice() : bytes);
    if (last) this.#ended = true;
    this.#wake?.();
  }

  /** No more will come, because of `error`; the handler sees it thrown. */
  fail(error: Error): void {
    this.#error ??= error;
    this.#wake?.();
  }

  /** The handler is over: what is queued, and all that still arrives, counts as read. */
  drop(): void {
    this.#dropped = true;
    const cost = this.#pieces.reduce((sum, piece) => sum + costOf(piece), 0);
    this.#pieces = [];
    if (cost > 0) this.#onRead(cost);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      if (this.#error !== undefined) throw this.#error;
      const piece = this.#pieces.shift();
      if (piece !== undefined) {
        this.#onRead(costOf(piece));
        yield piece;
      } else if (this.#ended) return;
      else await this.#arrival();
    }
  }

  #arrival(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

export class HandlerRequest implements CommandRequest {
  /** Set before the handler runs; only its definition knows the type. */
  input: undefined;
  readonly command: string;
  readonly args: ReadonlyMap<string, Uint8Array>;
  readonly data: AsyncIterable<Uint8Array>;
  #controller: AbortController | undefined;
  #aborted: Error | undefined;

  constructor(command: string, args: ReadonlyMap<string, Uint8Array>, data: AsyncIterable<Uint8Array>) {
    this.command = command;
    this.args = args;
    this.data = data;
  }

  /** Bound, because handlers like to take their request apart. */
  readonly text = (name: string): string | undefined => {
    const value = this.args.get(name);
    return value && decodeUtf8(value);
  };

  /** Made when it is first asked for: most handlers never do. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#aborted !== undefined) this.#controller.abort(this.#aborted);
    }
    return this.#controller.signal;
  }

  abort(reason: Error): void {
    this.#aborted ??= reason;
    this.#controller?.abort(reason);
  }
}

/** Command data of a command that has none. */
export const NO_DATA: AsyncIterable<Uint8Array> = {
  async *[Symbol.asyncIterator]() {},
};
