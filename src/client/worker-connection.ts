/** A connection that lives in a Web Worker, so that a page's own thread neither reads nor decodes: the page's side of it. */

import { ConnectionError } from '../wire/errors.ts';
import type { SenderSettings } from '../wire/payloads.ts';
import { asError } from '../wire/thrown.ts';
import type { ClientCore, ClientEvents, ClientState, ClientStats } from './client.ts';
import { givenArguments } from './command.ts';
import type { BrowserConnectOptions } from './connect-browser.ts';
import { checkData, frameSized } from './data-pieces.ts';
import { Listeners } from './listeners.ts';
import { closedByUs, notStarted } from './no-more.ts';
import { type CallOptions, checkCall, DEFAULT_REQUEST_WINDOW } from './options.ts';
import { ClientRequest, type RequestOwner } from './request.ts';
import { type Asked, type PlainOptions, type Told, unpackError } from './worker-messages.ts';

/** What we need of a Worker, whose types are a page's. */
interface WorkerPort {
  postMessage(asked: Asked, transfer?: ArrayBuffer[]): void;
  terminate(): void;
  onmessage: ((event: { data: Told }) => void) | null;
  onerror: ((event: { message?: string }) => void) | null;
}

declare const Worker: new (url: URL, options: { type: 'module' }) => WorkerPort;

/** Bytes of a piece of command data on its way to the worker. */
const PIECE = 256 * 1024;

/** What the option `worker` takes; what it makes is for `connect` alone. */
export type InWorker = (url: string, options: BrowserConnectOptions) => object;

/** Makes a connection in a Web Worker of its own; for the option `worker`. Pages that do not import it do not load it. */
export const inWorker: InWorker = (url, options) => new WorkerConnection(url, options);

class WorkerConnection implements ClientCore, RequestOwner {
  readonly closed: Promise<void>;
  readonly events = new Listeners<ClientEvents>('goaway', 'closed');
  readonly requestWindow: number;
  /** The worker is ours: it keeps to windows as far as its pieces are cut. */
  readonly creditCounts = false;
  readonly #worker: WorkerPort;
  readonly #requests = new Map<number, ClientRequest>();
  readonly #pings = new Map<number, PromiseWithResolvers<number>>();
  /** Those of requests whose data the worker has taken. */
  readonly #dataTaken = new Map<number, () => void>();
  readonly #opened = Promise.withResolvers<void>();
  readonly #gone = Promise.withResolvers<void>();
  #newestId = -1;
  #settings: SenderSettings | undefined;
  #stats: ClientStats = {
    calls: { waiting: 0, inFlight: 0 },
    bytesRead: 0,
    bytesWritten: 0,
    dictionaries: [],
    streams: [],
  };
  #isOpen = false;
  #refuseReason: Error | undefined;
  #closeReason: Error | undefined;

  /** `url` is whole; `options` are plain. */
  constructor(url: string, options: BrowserConnectOptions) {
    this.closed = this.#gone.promise;
    this.requestWindow = options.requestWindow ?? DEFAULT_REQUEST_WINDOW;
    this.#opened.promise.catch(() => undefined);
    // Written so that bundlers see it.
    this.#worker = new Worker(new URL('./browser-worker.js', import.meta.url), { type: 'module' });
    this.#worker.onmessage = ({ data }) => this.#take(data);
    this.#worker.onerror = ({ message }) =>
      this.destroy(
        new ConnectionError(`the worker has failed: ${message ?? 'it cannot be loaded'}`, { code: 'lost' }),
      );
    this.#ask({ ask: 'connect', url, options, requestWindow: this.requestWindow });
  }

  get server(): { readonly settings: SenderSettings | undefined } {
    return { settings: this.#settings };
  }

  get state(): ClientState {
    if (this.#closeReason !== undefined) return 'closed';
    if (this.#refuseReason !== undefined) return 'draining';
    return this.#isOpen ? 'open' : 'connecting';
  }

  get closeReason(): Error | undefined {
    return this.#closeReason;
  }

  ready(): Promise<void> {
    return this.#opened.promise;
  }

  call(command: string, options: CallOptions): ClientRequest {
    const request = new ClientRequest(this, command, options);
    try {
      checkCall(command, options);
      const { data } = options;
      if (data !== undefined) checkData(data);
      if (this.#refuseReason !== undefined) throw notStarted(this.#refuseReason);
      const plain = plainOf(options);
      request.begin();
      if (!request.over) this.#send(request, plain);
    } catch (error) {
      request.fail(asError(error));
    }
    return request;
  }

  ping(): Promise<number> {
    if (this.#closeReason !== undefined) return Promise.reject(this.#closeReason);
    const pong = Promise.withResolvers<number>();
    const id = this.#nextId();
    this.#pings.set(id, pong);
    this.#ask({ ask: 'ping', id });
    return pong.promise;
  }

  /** As they were when the newest call ended. */
  stats(): ClientStats {
    return { ...this.#stats, calls: { waiting: 0, inFlight: this.#requests.size } };
  }

  close(graceMs?: number): Promise<void> {
    this.#refuseReason ??= closedByUs();
    this.#ask({ ask: 'close', graceMs });
    return this.closed;
  }

  destroy(reason: Error = closedByUs()): void {
    this.#end(reason);
  }

  // ------------------------------------------------------------------- what requests need (RequestOwner)

  cancel({ requestId }: ClientRequest): void {
    if (!this.#requests.delete(requestId)) return;
    this.#dataTaken.get(requestId)?.();
    this.#ask({ ask: 'cancel', id: requestId });
  }

  credit(requestId: number, bytes: number): void {
    if (this.#requests.has(requestId)) this.#ask({ ask: 'credit', id: requestId, bytes });
  }

  /** The windows alone bound it. */
  unread(): void {}

  // ----------------------------------------------------------------------------------------- the worker

  #nextId(): number {
    this.#newestId += 2;
    return this.#newestId;
  }

  #ask(asked: Asked, transfer: ArrayBuffer[] = []): void {
    if (this.#closeReason === undefined) this.#worker.postMessage(asked, transfer);
  }

  #send(request: ClientRequest, options: PlainOptions): void {
    const id = this.#nextId();
    request.requestId = id;
    this.#requests.set(id, request);
    const hasData = request.options.data !== undefined;
    this.#ask({ ask: 'call', id, command: request.command, options, hasData });
    if (hasData) this.#sendData(request);
  }

  /** One piece at a time is on its way to the worker. */
  async #sendData(request: ClientRequest): Promise<void> {
    const id = request.requestId;
    try {
      for await (const piece of frameSized(request.options.data ?? '', PIECE)) {
        if (request.over) return;
        const bytes = piece.slice();
        const taken = Promise.withResolvers<void>();
        this.#dataTaken.set(id, taken.resolve);
        this.#ask({ ask: 'data', id, bytes, last: false }, [bytes.buffer]);
        await taken.promise;
      }
      this.#ask({ ask: 'data', id, bytes: new Uint8Array(0), last: true });
    } catch (error) {
      request.cancel(asError(error));
    } finally {
      this.#dataTaken.delete(id);
    }
  }

  #take(told: Told): void {
    switch (told.tell) {
      case 'open':
        this.#settings = told.settings;
        this.#stats = told.stats;
        this.#isOpen = true;
        return this.#opened.resolve();
      case 'piece':
        return this.#requests.get(told.id)?.push(told.bytes, false);
      case 'text': {
        const request = this.#requests.get(told.id);
        return request?.tell(request.options.onText, told.text);
      }
      case 'progress': {
        const request = this.#requests.get(told.id);
        return request?.tell(request.options.onProgress, told.progress);
      }
      case 'data-taken':
        return this.#dataTaken.get(told.id)?.();
      case 'ended':
        this.#stats = told.stats;
        return this.#ended(told);
      case 'pong':
        return this.#pong(told);
      case 'goaway': {
        const reason = unpackError(told.error) as ConnectionError;
        this.#refuseReason ??= reason;
        return this.events.emit('goaway', { reason });
      }
      case 'closed':
        this.#stats = told.stats ?? this.#stats;
        return this.#end(unpackError(told.error));
    }
  }

  #ended({ id, error }: Extract<Told, { tell: 'ended' }>): void {
    const request = this.#requests.get(id);
    this.#requests.delete(id);
    if (error === undefined) request?.push(new Uint8Array(0), true);
    else request?.fail(unpackError(error));
    this.#dataTaken.get(id)?.();
  }

  #pong({ id, ms, error }: Extract<Told, { tell: 'pong' }>): void {
    const pong = this.#pings.get(id);
    this.#pings.delete(id);
    if (error === undefined) pong?.resolve(ms);
    else pong?.reject(unpackError(error));
  }

  /** Once, and last. */
  #end(reason: Error): void {
    if (this.#closeReason !== undefined) return;
    this.#closeReason = reason;
    this.#refuseReason ??= reason;
    this.#worker.terminate();
    for (const request of this.#requests.values()) request.fail(reason);
    this.#requests.clear();
    for (const taken of this.#dataTaken.values()) taken();
    for (const pong of this.#pings.values()) pong.reject(reason);
    this.#opened.reject(reason);
    this.events.emit('closed', { reason });
    this.#gone.resolve();
  }
}

/** Arguments as copies of their own: a view would take all of its buffer along. @throws TypeError for what is none. */
function plainOf({ args, authorization, sensitive, deadlineMs }: CallOptions): PlainOptions {
  const copies = givenArguments(args).map(([name, value]) => [name, value.slice()]);
  return { args: Object.fromEntries(copies), authorization, sensitive, deadlineMs };
}
