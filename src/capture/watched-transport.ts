/** A transport that shows somebody what passes. */

import type { Transport } from '../connection/transport.ts';

/** Who is shown it; what it is given is not its own. */
interface Watcher {
  received(chunk: Uint8Array): void;
  sent(chunk: Uint8Array): void;
  stop(): void;
}

export class WatchedTransport implements Transport {
  readonly remote: string;
  readonly messages: boolean | undefined;
  readonly halfCloses: boolean | undefined;
  onData: (chunk: Uint8Array) => void = () => undefined;
  onEnd: () => void = () => undefined;
  onClose: (error: Error | undefined) => void = () => undefined;
  readonly #inner: Transport;
  readonly #watcher: Watcher;

  constructor(inner: Transport, watcher: Watcher) {
    this.#inner = inner;
    this.#watcher = watcher;
    this.remote = inner.remote;
    this.messages = inner.messages;
    this.halfCloses = inner.halfCloses;
    const onData = (chunk: Uint8Array) => {
      watcher.received(chunk);
      this.onData(chunk);
    };
    const onEnd = () => this.onEnd();
    const onClose = (error: Error | undefined) => {
      watcher.stop();
      this.onClose(error);
    };
    Object.assign(inner, { onData, onEnd, onClose });
  }

  write(chunks: Uint8Array[], written: () => void): void {
    for (const chunk of chunks) this.#watcher.sent(chunk);
    this.#inner.write(chunks, written);
  }
  pause(): void {
    this.#inner.pause();
  }
  resume(): void {
    this.#inner.resume();
  }
  end(): void {
    this.#inner.end();
  }
  probe(): void {
    this.#inner.probe?.();
  }
  destroy(): void {
    this.#inner.destroy();
  }
  endOfTick(run: () => void): void {
    this.#inner.endOfTick(run);
  }
}
