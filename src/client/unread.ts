/** What has come of a client's responses and has not been read: held at what it costs, and not without end. */

import { CommandError } from '../wire/errors.ts';

/** A response that may be read more slowly than it comes. */
export interface UnreadResponse {
  /** Bytes that have come and have not been asked for. */
  readonly unread: number;
  /** Lets go of them; the reader gets the error. */
  drop(error: Error): void;
}

/** The unread bytes of one connection whose server keeps to no windows. */
export class UnreadBytes {
  readonly #limit: number;
  readonly #responses = new Set<UnreadResponse>();
  #bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** `bytes` more of a response are unread; fewer when negative. Past the limit, the one with the most of them fails. */
  add(response: UnreadResponse, bytes: number): void {
    this.#bytes += bytes;
    if (response.unread > 0) this.#responses.add(response);
    else this.#responses.delete(response);
    if (this.#bytes > this.#limit) this.#dropLargest();
  }

  #dropLargest(): void {
    let largest: UnreadResponse | undefined;
    for (const each of this.#responses) {
      if (largest === undefined || each.unread > largest.unread) largest = each;
    }
    const text = `maxUnread: the responses of this connection have more than ${this.#limit} bytes that nobody reads`;
    largest?.drop(new CommandError(text, { code: 'limit' }));
  }
}
