/** The newest messages of a topic: its history, and what waits for subscribers that are behind. Once, for all of them. */

import type { Forms, Message } from './message.ts';

export interface LogBounds {
  /** Messages that are kept for those who come later. */
  readonly history: number;
  /** Bytes of those. */
  readonly historyBytes: number;
  /** Bytes that are kept beyond that for subscribers that are behind, and bytes of the forms of all messages. */
  readonly backlogBytes: number;
}

/** Messages that were let go are dropped from the front of the array once there are so many. */
const COMPACT_AT = 1024;

export class MessageLog {
  readonly #bounds: LogBounds;
  #messages: Message[] = [];
  /** Where the oldest one is. */
  #start = 0;
  #bytes = 0;
  /** Bytes of forms, and the index of the first message that may have some. */
  #formBytes = 0;
  #formStart = 0;

  constructor(bounds: LogBounds) {
    this.#bounds = bounds;
  }

  get count(): number {
    return this.#messages.length - this.#start;
  }

  get bytes(): number {
    return this.#bytes + this.#formBytes;
  }

  /** The oldest message that is there; undefined: none is. */
  get oldest(): Message | undefined {
    return this.#messages[this.#start];
  }

  get(sequence: number): Message | undefined {
    const { oldest } = this;
    if (oldest === undefined || sequence < oldest.sequence) return undefined;
    return this.#messages[this.#start + sequence - oldest.sequence];
  }

  /** Adds the newest message. Where those before it were missed, what is there leads nowhere and goes. */
  append(message: Message): void {
    const newest = this.#messages.at(-1);
    if (newest !== undefined && message.sequence !== newest.sequence + 1) this.clear();
    this.#messages.push(message);
    this.#bytes += message.bytes;
    this.#evict(this.#bounds.backlogBytes, Number.POSITIVE_INFINITY);
  }

  /** Keeps what a message is in one profile, if it is still there itself. */
  keepForms(message: Message, profile: string, forms: Forms): void {
    if (this.get(message.sequence) !== message) return;
    this.#formBytes -= message.formBytes;
    message.keep(profile, forms);
    this.#formBytes += message.formBytes;
    while (this.#formBytes > this.#bounds.backlogBytes && this.#formStart < this.#messages.length)
      this.#dropForms(this.#formStart++);
  }

  /** Nobody is behind: what was sent up to `sequence`, and is no history, can go. */
  settle(sequence: number): void {
    const { oldest } = this;
    if (oldest === undefined) return;
    const settled = Math.min(this.#start + sequence - oldest.sequence + 1, this.#messages.length);
    while (this.#formStart < settled) this.#dropForms(this.#formStart++);
    this.#evict(0, sequence);
  }

  clear(): void {
    this.#messages = [];
    this.#start = 0;
    this.#formStart = 0;
    this.#bytes = 0;
    this.#formBytes = 0;
  }

  /** Lets go of the oldest, up to `last`, while there are more than history keeps, and more bytes than `keptBytes`. */
  #evict(keptBytes: number, last: number): void {
    const { history, historyBytes } = this.#bounds;
    while (this.count > history || this.#bytes > historyBytes) {
      const { oldest } = this;
      if (oldest === undefined || oldest.sequence > last || this.#bytes <= keptBytes) break;
      this.#dropForms(this.#start);
      this.#bytes -= oldest.bytes;
      this.#messages[this.#start++] = undefined as unknown as Message;
    }
    this.#formStart = Math.max(this.#formStart, this.#start);
    if (this.#start === this.#messages.length) this.clear();
    else if (this.#start >= COMPACT_AT && this.#start * 2 > this.#messages.length) this.#compact();
  }

  #dropForms(at: number): void {
    const message = this.#messages[at];
    this.#formBytes -= message.formBytes;
    message.dropForms();
  }

  #compact(): void {
    this.#messages = this.#messages.slice(this.#start);
    this.#formStart -= this.#start;
    this.#start = 0;
  }
}
