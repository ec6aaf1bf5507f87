/** What users hold of one call: the response as they read it. */

import { decodeUtf8 } from '../wire/utf8.ts';

/** A response as it arrives. Iterate it, or take it whole with bytes() or text(): once. */
export interface Response extends AsyncIterable<Uint8Array> {
  readonly command: string;
  /** 1, 3, 5 …, as on the wire; 0 while the call waits for its turn. */
  readonly requestId: number;
  /** True when nothing more will come. */
  readonly over: boolean;
  /** Resolves when nothing more will come, read or not: with the error that the response ends with, or undefined. */
  readonly ended: Promise<Error | undefined>;
  /** The whole response. @throws CommandError when the command failed, ConnectionError when the connection did. */
  bytes(): Promise<Uint8Array>;
  /** The whole response as UTF-8 text. @throws as {@link bytes} does. */
  text(): Promise<string>;
  /** The whole response, parsed as JSON; `T` is believed. @throws as {@link bytes} does, SyntaxError when it is none. */
  json<T = unknown>(): Promise<T>;
  /** Pieces as they come; leaving the loop early cancels the request. @throws as {@link bytes} does. */
  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined>;
  /** Tells the server to stop; the response ends with `reason` as its error, and what has come and was not read is let go of. */
  cancel(reason?: unknown): void;
}

/** What a response is shown of: a request on a connection, or a call that may make several. */
export interface Responding extends Pick<Response, 'command' | 'requestId' | 'over' | 'ended' | 'cancel'> {
  whole(): Promise<Uint8Array>;
  pieces(): AsyncGenerator<Uint8Array, void, undefined>;
}

/** Shows of a request what its caller may see. */
export class RequestResponse implements Response {
  readonly #request: Responding;

  constructor(request: Responding) {
    this.#request = request;
  }

  get command(): string {
    return this.#request.command;
  }

  get requestId(): number {
    return this.#request.requestId;
  }

  get over(): boolean {
    return this.#request.over;
  }

  get ended(): Promise<Error | undefined> {
    return this.#request.ended;
  }

  bytes(): Promise<Uint8Array> {
    return this.#request.whole();
  }

  async text(): Promise<string> {
    return decodeUtf8(await this.#request.whole());
  }

  async json<T = unknown>(): Promise<T> {
    const text = await this.text();
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new SyntaxError(`the response of '${this.command}' is not JSON: ${(error as Error).message}`);
    }
  }

  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    return this.#request.pieces();
  }

  cancel(reason?: unknown): void {
    this.#request.cancel(reason);
  }
}
