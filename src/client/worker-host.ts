/** A connection's home in a Web Worker: the client itself, and what of it a page is told. */

import { asError } from '../wire/thrown.ts';
import type { Client } from './client.ts';
import { connect } from './connect-browser.ts';
import { type Asked, packError, type Told } from './worker-messages.ts';

/** The worker's end. */
export interface HostPort {
  postMessage(told: Told, transfer: ArrayBuffer[]): void;
  onmessage: ((event: { data: Asked }) => void) | null;
  /** Ends the worker. */
  close(): void;
}

type Tell = (told: Told, transfer?: ArrayBuffer[]) => void;
type Call = Extract<Asked, { ask: 'call' }>;
type Data = Extract<Asked, { ask: 'data' }>;

/** Does what the page asks at the other end of `port`. */
export function hostClient(port: HostPort): void {
  const host = new ClientHost(port);
  port.onmessage = ({ data }) => host.take(data);
}

class ClientHost {
  readonly #port: HostPort;
  readonly #calls = new Map<number, HostedCall>();
  #client: Client | undefined;
  #requestWindow = 0;

  constructor(port: HostPort) {
    this.#port = port;
  }

  take(asked: Asked): void {
    switch (asked.ask) {
      case 'connect':
        this.#requestWindow = asked.requestWindow;
        return void this.#connect(asked.url, asked.options);
      case 'call':
        return this.#call(asked);
      case 'data':
        return this.#calls.get(asked.id)?.push(asked);
      case 'credit':
        return this.#calls.get(asked.id)?.credit(asked.bytes);
      case 'cancel':
        return this.#calls.get(asked.id)?.cancel();
      case 'ping':
        return void this.#ping(asked.id);
      case 'close':
        return void this.#client?.close({ graceMs: asked.graceMs });
    }
  }

  readonly #tell = (told: Told, transfer: ArrayBuffer[] = []): void => this.#port.postMessage(told, transfer);

  async #connect(url: string, options: Extract<Asked, { ask: 'connect' }>['options']): Promise<void> {
    try {
      const client = await connect(url, options);
      this.#client = client;
      client.on('goaway', ({ reason }) => this.#tell({ tell: 'goaway', error: packError(reason) }));
      client.on('closed', ({ reason }) => this.#closed(reason, client));
      this.#tell({ tell: 'open', settings: client.serverSettings, stats: client.stats() });
      if (client.closeReason !== undefined) this.#closed(client.closeReason, client);
    } catch (error) {
      this.#closed(asError(error), undefined);
    }
  }

  async #closed(reason: Error, client: Client | undefined): Promise<void> {
    // The calls are told of it first, as everywhere.
    await Promise.all([...this.#calls.values()].map(({ over }) => over));
    this.#tell({ tell: 'closed', error: packError(reason), stats: client?.stats() });
    this.#port.close();
  }

  #call(asked: Call): void {
    const client = this.#client as Client;
    const call = new HostedCall(client, asked, this.#requestWindow, this.#tell);
    this.#calls.set(asked.id, call);
    call.over.then(() => this.#calls.delete(asked.id));
  }

  async #ping(id: number): Promise<void> {
    try {
      this.#tell({ tell: 'pong', id, ms: await (this.#client as Client).ping(), error: undefined });
    } catch (error) {
      this.#tell({ tell: 'pong', id, ms: 0, error: packError(asError(error)) });
    }
  }
}

class HostedCall {
  /** Resolves when the page has been told of its end. */
  readonly over: Promise<void>;
  readonly #id: number;
  readonly #tell: Tell;
  readonly #cancel = new AbortController();
  /** Bytes that the page still takes. */
  #window: number;
  #wake: () => void = () => undefined;
  readonly #data: Data[] = [];
  #dataCame: () => void = () => undefined;

  constructor(client: Client, asked: Call, window: number, tell: Tell) {
    this.#id = asked.id;
    this.#window = window;
    this.#tell = tell;
    this.over = this.#run(client, asked);
  }

  push(data: Data): void {
    this.#data.push(data);
    this.#dataCame();
  }

  credit(bytes: number): void {
    this.#window += bytes;
    this.#wake();
  }

  cancel(): void {
    this.#cancel.abort();
    this.#wake();
  }

  async #run(client: Client, { command, options, hasData }: Call): Promise<void> {
    const id = this.#id;
    let error: Error | undefined;
    try {
      const response = client.call(command, {
        ...options,
        ...(hasData && { data: this.#pieces() }),
        signal: this.#cancel.signal,
        onText: (text) => this.#tell({ tell: 'text', id, text }),
        onProgress: (progress) => this.#tell({ tell: 'progress', id, progress }),
      });
      for await (const piece of response) {
        while (this.#window <= 0 && !this.#cancel.signal.aborted) await this.#room();
        this.#window -= piece.length;
        const bytes = piece.slice();
        this.#tell({ tell: 'piece', id, bytes }, [bytes.buffer]);
      }
    } catch (thrown) {
      error = asError(thrown);
    }
    this.#tell({ tell: 'ended', id, error: error && packError(error), stats: client.stats() });
  }

  #room(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  async *#pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const data = this.#data.shift();
      if (data === undefined) {
        await new Promise<void>((resolve) => {
          this.#dataCame = resolve;
        });
        continue;
      }
      if (data.bytes.length > 0) yield data.bytes;
      if (data.last) return;
      this.#tell({ tell: 'data-taken', id: this.#id });
    }
  }
}
