/**
 * The client: pipelines commands over one connection and hands out their responses. Runs wherever there is a
 * transport and a set of codecs: Node, or a browser.
 */

import { Connection, type FrameOwner, type Transport } from '../connection/connection.ts';
import { KeepAlive } from '../connection/keepalive.ts';
import { LocalDecoders, type ReceivedStream } from '../connection/local-decoders.ts';
import type { CodecRegistry } from '../encoding/registry.ts';
import { type ClientAction, ClientReactor, REQUEST_IDS } from '../reactor/client.ts';
import { CommandError, ConnectionError } from '../wire/errors.ts';
import {
  DEFAULT_FRAME_SIZE,
  type Frame,
  FrameType,
  frameSizeWithin,
  HEADER_SIZE,
  PingFlag,
} from '../wire/frame.ts';
import { commandFrames } from '../wire/frames.ts';
import { DEFAULT_LIMITS, type Limits } from '../wire/limits.ts';
import {
  EXTENSIONS,
  encodeCredit,
  encodeSenderSettings,
  encodeUtf8,
  type SenderSettings,
} from '../wire/payloads.ts';
import { type DataOwner, DataSender } from './command-data.ts';
import type { CallOptions, ClientOptions } from './options.ts';
import { Response, type ResponseOwner } from './response.ts';
import { UnreadBytes, type UnreadResponse } from './unread.ts';

export interface ClientStats {
  bytesRead: number;
  bytesWritten: number;
  streams: ReceivedStream[];
}

/** Per second: a server may begin a stream for every response (protocol B1), so this bounds only nonsense. */
const MAX_STREAM_BEGINS = 1_000_000;

/** The client's stream for what no context touches. */
const PLAIN_STREAM = 1;
const DEFAULT_REQUEST_WINDOW = 1 << 20;
const DEFAULT_MAX_UNREAD = 64 << 20;
const DEFAULT_KEEP_ALIVE = 30_000;
/** How long a server that has closed its side may take to read the rest of ours, in milliseconds. */
const LINGER = 1000;
const NOTHING = new Uint8Array(0);

export class Client implements FrameOwner, ResponseOwner, DataOwner {
  /** Resolves when the connection is gone; rejects never. */
  readonly closed: Promise<void>;
  readonly requestWindow: number;
  readonly #connection: Connection;
  readonly #codecs: CodecRegistry;
  readonly #options: ClientOptions;
  readonly #decoders: LocalDecoders;
  readonly #data: DataSender;
  readonly #keepAlive: KeepAlive;
  readonly #unread: UnreadBytes;
  readonly #reactor: ClientReactor<Response>;
  readonly #actions: ClientAction<Response>[] = [];
  /** Calls that wait until the server takes more. */
  readonly #queued: Response[] = [];
  #serverSettings: SenderSettings | undefined;
  #settingsWaiters: { resolve: () => void; reject: (error: Error) => void }[] = [];
  #refuseReason: Error | undefined;
  #uncredited = 0;
  #framesReceived = 0;
  readonly #pings = new Map<string, { resolve: () => void; reject: (error: Error) => void }>();
  #pingCount = 0;
  #ending = false;
  #resolveClosed: () => void = () => undefined;

  /** `transport` is connected; `codecs` are those of the runtime. Sends our settings at once (protocol C2). */
  constructor(transport: Transport, codecs: CodecRegistry, options: ClientOptions = {}) {
    const limits = { ...DEFAULT_LIMITS, maxStreamBegins: MAX_STREAM_BEGINS, ...options.limits };
    this.#codecs = codecs;
    this.#options = options;
    this.requestWindow = options.requestWindow ?? DEFAULT_REQUEST_WINDOW;
    this.#unread = new UnreadBytes(options.maxUnread ?? DEFAULT_MAX_UNREAD);
    this.#connection = new Connection(transport, limits, PLAIN_STREAM);
    this.#keepAlive = new KeepAlive(this.#connection, () => this.#answersPings());
    this.#decoders = new LocalDecoders(codecs, limits);
    this.#data = new DataSender(this.#connection, codecs, options, this);
    this.#reactor = new ClientReactor(limits, this.#decoders);
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#connection.start(this);
    this.#keepAlive.start(options.keepAliveInterval ?? DEFAULT_KEEP_ALIVE);
    if (!options.plain) this.#sendSettings(limits);
  }

  /**
   * Sends a command; the response arrives while it is read. Never throws: a failure is in the response.
   * Calls past the server's limit on concurrent requests wait here for their turn.
   */
  call(command: string, options: CallOptions = {}): Response {
    const { signal } = options;
    const response = new Response(this, command, options);
    const refused = this.#refuseReason ?? (signal?.aborted ? abortError(signal) : undefined);
    if (refused !== undefined) response.fail(refused);
    else if (this.#reactor.openRequests >= this.#maxConcurrentRequests) this.#queued.push(response);
    else this.#send(response);
    return response;
  }

  get creditCounts(): boolean {
    return this.serverSpeaks('credit');
  }

  /** Settings of the server, once they have come; undefined for a part-A server. */
  get serverSettings(): SenderSettings | undefined {
    return this.#serverSettings;
  }

  /** Resolves when the server has answered our settings. @throws ConnectionError when it never will. */
  ready(): Promise<void> {
    if (this.#serverSettings !== undefined || this.#options.plain) return Promise.resolve();
    if (this.#refuseReason !== undefined) return Promise.reject(this.#refuseReason);
    return new Promise((resolve, reject) => {
      this.#settingsWaiters.push({ resolve, reject });
    });
  }

  /** Sends a ping; resolves with the milliseconds until the reply. @throws ConnectionError when none can come. */
  ping(): Promise<number> {
    if (!this.#connection.open) return Promise.reject(this.#refuseReason);
    const payload = new Uint8Array(8);
    new DataView(payload.buffer).setUint32(0, ++this.#pingCount);
    const sent = performance.now();
    this.#connection.sendPlain(0, FrameType.ping, 0, payload);
    return new Promise((resolve, reject) => {
      this.#pings.set(payload.join(), { resolve: () => resolve(performance.now() - sent), reject });
    });
  }

  stats(): ClientStats {
    return {
      bytesRead: this.#connection.bytesRead,
      bytesWritten: this.#connection.writer.bytesWritten,
      streams: [...this.#decoders.figures.values()].sort((a, b) => a.streamId - b.streamId),
    };
  }

  /** Ends the connection once the requests in flight are answered; a server that does not close it then is left. */
  close(): Promise<void> {
    this.#refuseReason ??= new ConnectionError('the client is closed');
    this.#ending = true;
    this.#endIfDone();
    return this.closed;
  }

  /** Drops the connection now; requests in flight fail. */
  destroy(reason: Error = new ConnectionError('the client is closed')): void {
    this.#connection.destroy(reason);
  }

  // ---------------------------------------------------------------------------------------- sending

  get #maxConcurrentRequests(): number {
    const { maxConcurrentRequests } = this.#serverSettings ?? {};
    return Math.min(maxConcurrentRequests ?? DEFAULT_LIMITS.maxConcurrentRequests, REQUEST_IDS);
  }

  #send(response: Response): void {
    const { command, options } = response;
    const requestId = this.#reactor.freeId();
    try {
      this.#sendCommand(requestId, command, options);
    } catch (error) {
      response.fail(error as Error);
      return;
    }
    response.requestId = requestId;
    this.#reactor.open(requestId, response);
    if (options.data !== undefined) this.#data.send(response, options.data);
  }

  /** Sends calls that had to wait, as far as the server takes more now. */
  #sendQueued(): void {
    while (this.#queued.length > 0 && this.#reactor.openRequests < this.#maxConcurrentRequests) {
      const response = this.#queued.shift() as Response;
      if (!response.over) this.#send(response);
    }
  }

  /** For responses: stop the request. */
  cancel(requestId: number): void {
    this.#reactor.forget(requestId);
    this.#data.forget(requestId);
    if (this.serverSpeaks('cancel')) this.#connection.sendPlain(requestId, FrameType.cancel, 0);
  }

  /** For responses: windows hold a server that has announced them; for any other there is a bound. */
  unread(response: UnreadResponse, bytes: number): void {
    if (!this.creditCounts) this.#unread.add(response, bytes);
  }

  /** For responses: `bytes` more have been read. */
  credit(requestId: number, bytes: number): void {
    if (!this.creditCounts || !this.#connection.open) return;
    this.#connection.sendPlain(requestId, FrameType.credit, 0, encodeCredit(bytes));
  }

  /** For the sender of command data: whether the server still waits for this response's. */
  takesData(response: Response): boolean {
    return this.#reactor.get(response.requestId) === response && this.#connection.open;
  }

  /** A server that holds much command data reads nothing more, or keeps its replies, until handlers have read it. */
  #answersPings(): boolean {
    if (!this.serverSpeaks('ping')) return false;
    return this.#reactor.requests().every(({ options }) => options.data === undefined);
  }

  /** Extensions go only to a server that has announced them (protocol C). */
  serverSpeaks(extension: string): boolean {
    return this.#serverSettings?.extensions?.includes(extension) ?? false;
  }

  #sendSettings(limits: Limits): void {
    const { profiles = this.#codecs.profiles(), connectionWindow } = this.#options;
    const settings: SenderSettings = {
      contentEncodings: [...profiles],
      maxFrameSize: limits.maxPayload,
      requestWindow: this.requestWindow,
      ...(connectionWindow === undefined ? {} : { connectionWindow }),
      extensions: [...EXTENSIONS],
    };
    this.#connection.sendPlain(0, FrameType.senderSettings, 0, encodeSenderSettings(settings));
  }

  /** Most bytes of a command's frame: what the server has said it takes, as soon as it has. */
  get frameSize(): number {
    return frameSizeWithin(this.#serverSettings?.maxFrameSize, DEFAULT_FRAME_SIZE);
  }

  #sendCommand(requestId: number, command: string, options: CallOptions): void {
    const args: [string, Uint8Array][] = [];
    for (const [name, value] of Object.entries(options.args ?? {})) {
      args.push([name, argumentBytes(name, value)]);
    }
    const { authorization = this.#options.authorization } = options;
    if (authorization !== undefined) args.push([':authorization', encodeUtf8(authorization)]);
    if (options.sensitive) args.push([':sensitive', NOTHING]);
    if (options.deadlineMs !== undefined) {
      args.push([':deadline-ms', encodeUtf8(String(Math.max(0, Math.round(options.deadlineMs))))]);
    }
    const hasData = options.data !== undefined;
    commandFrames(command, args, hasData, this.frameSize, (type, flags, payload) =>
      this.#connection.sendPlain(requestId, type, flags, payload),
    );
  }

  // -------------------------------------------------------------------------------------- receiving

  receive(frame: Frame): void {
    this.#framesReceived++;
    const figure = this.#decoders.figure(frame.streamId);
    figure.frames++;
    figure.wireBytes += HEADER_SIZE + frame.payload.length;
    figure.bytes += frame.payload.length;
    try {
      this.#reactor.receive(frame, this.#actions);
    } finally {
      const actions = this.#actions;
      for (let i = 0; i < actions.length; i++) this.#act(actions[i]);
      actions.length = 0;
    }
    if (this.#queued.length > 0) this.#sendQueued();
    if (this.#ending) this.#endIfDone();
  }

  get midCommand(): boolean {
    return false;
  }

  overdue(): undefined {}

  onEnd(): void {
    this.#refuseReason ??= new ConnectionError('the server has closed the connection');
    // It answers nothing any more, and need not read what we have still to send.
    this.#connection.end(LINGER);
  }

  onFailed(sendError: () => void): void {
    sendError();
  }

  onClosed(reason: Error | undefined): void {
    const error = this.#explain(reason);
    this.#refuseReason ??= error;
    for (const response of [...this.#reactor.requests(), ...this.#queued.splice(0)]) response.fail(error);
    for (const { reject } of [...this.#settingsWaiters, ...this.#pings.values()]) reject(error);
    this.#settingsWaiters = [];
    this.#pings.clear();
    this.#reactor.stop();
    this.#data.close();
    this.#keepAlive.stop();
    this.#resolveClosed();
  }

  #act(action: ClientAction<Response>): void {
    switch (action.kind) {
      case 'bytes':
        this.#creditConnection(action.bytes.length);
        if (action.last) this.#data.finish(action.request.requestId);
        return action.request.push(action.bytes, action.last);
      case 'unwanted':
        return this.#creditConnection(action.bytes);
      case 'error':
        this.#data.finish(action.request.requestId);
        if (action.request.options.data !== undefined) this.#data.renewStream();
        return action.request.fail(new CommandError(action.message));
      case 'text':
        return action.request.options.onText?.(action.text);
      case 'progress':
        return action.request.options.onProgress?.(action.progress);
      case 'settings':
        this.#serverSettings = action.settings;
        this.#connection.peerTakes(action.settings.maxFrameSize);
        for (const { resolve } of this.#settingsWaiters) resolve();
        this.#settingsWaiters = [];
        return;
      case 'ping':
        return this.#connection.sendPlain(0, FrameType.ping, PingFlag.reply, action.payload);
      case 'pong':
        this.#pings.get(action.payload.join())?.resolve();
        this.#pings.delete(action.payload.join());
        return;
      case 'goaway':
        return this.#goAway(new ConnectionError(`the server is going away: ${action.reason}`));
      case 'peer-error':
        return this.#connection.destroy(new ConnectionError(`the server reports: ${action.message}`));
    }
  }

  /** The server takes nothing new: calls that wait for their turn never get it (protocol C5). */
  #goAway(reason: ConnectionError): void {
    this.#refuseReason ??= reason;
    for (const response of this.#queued.splice(0)) response.fail(reason);
  }

  /** The connection's window is for what has arrived, read or not: the request windows bound what waits. */
  #creditConnection(bytes: number): void {
    const { connectionWindow } = this.#options;
    if (connectionWindow === undefined) return;
    this.#uncredited += bytes;
    if (this.#uncredited < connectionWindow / 2) return;
    this.credit(0, this.#uncredited);
    this.#uncredited = 0;
  }

  #explain(reason: Error | undefined): Error {
    const { remote } = this.#connection;
    if (this.#framesReceived === 0 && !this.#options.plain && !this.#ending) {
      const why = reason instanceof ConnectionError ? ` (${reason.message})` : '';
      return new ConnectionError(`${remote} does not speak the millrace protocol${why}`, { cause: reason });
    }
    if (reason !== undefined) return reason;
    return new ConnectionError(`${remote} closed the connection`);
  }

  #endIfDone(): void {
    if (this.#reactor.openRequests === 0 && this.#queued.length === 0)
      this.#connection.end(this.#connection.limits.idleTimeout);
  }
}

function abortError(signal: AbortSignal | undefined): Error {
  return signal?.reason instanceof Error ? signal.reason : new CommandError('cancelled');
}

/** Checked before anything is sent: half a command would cost the connection. @throws TypeError */
function argumentBytes(name: string, value: unknown): Uint8Array {
  if (typeof value === 'string') return encodeUtf8(value);
  if (value instanceof Uint8Array) return value;
  throw new TypeError(`argument ${name} is neither a string nor a Uint8Array`);
}
