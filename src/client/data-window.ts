/** What a server still lets us send of command data (protocol C4, `data-credit`), and who waits until it lets us go on. */

import { SendWindow } from '../reactor/window.ts';
import type { SenderSettings } from '../wire/payloads.ts';

/** The windows of one connection; without limit until the server has announced some. */
export class DataWindows {
  #connection = new SendWindow(undefined);
  #requestWindow: number | undefined;
  #limited = false;
  readonly #requests = new Map<number, SendWindow>();
  #waiters: (() => void)[] = [];

  /** The server has announced its windows; for use before any data is sent. */
  announced({ requestWindow, connectionWindow }: SenderSettings): void {
    this.#limited = true;
    this.#requestWindow = requestWindow;
    this.#connection = new SendWindow(connectionWindow);
  }

  /** Whether the server says by credit how much it takes. */
  get limited(): boolean {
    return this.#limited;
  }

  open(requestId: number): void {
    this.#requests.set(requestId, new SendWindow(this.#requestWindow));
  }

  /** The request sends no more. */
  close(requestId: number): void {
    if (this.#requests.delete(requestId)) this.wake();
  }

  /** Bytes that the request may send now, at most `wanted`. */
  available(requestId: number, wanted: number): number {
    const own = this.#requests.get(requestId)?.available ?? 0;
    return Math.max(0, Math.min(wanted, own, this.#connection.available));
  }

  take(requestId: number, bytes: number): void {
    this.#requests.get(requestId)?.take(bytes);
    this.#connection.take(bytes);
  }

  /** Credit for a request that sends no more means nothing. @throws ProtocolError when it takes a window too far. */
  credit(requestId: number, bytes: number): void {
    if (!this.#limited) return;
    const window = requestId === 0 ? this.#connection : this.#requests.get(requestId);
    if (window === undefined) return;
    window.credit(bytes);
    this.wake();
  }

  /** Resolves when more may be {@link available}, or the request has been closed. */
  change(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** Lets all who wait look again. */
  wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const resume of waiters) resume();
  }
}
