/**
 * The client: pipelines commands over one connection and hands out their responses. Runs wherever there is a
 * transport and a set of codecs: Node, or a browser.
 */

import { Connection, type FrameOwner, type Transport } from './connection.ts';
import type { Decoder, Encoder } from './encoding/codec.ts';
import type { CodecRegistry } from './encoding/registry.ts';
import { type ClientAction, ClientReactor } from './reactor/client.ts';
import type { Decoders, Ticket } from './reactor/incoming.ts';
import { CommandError, ConnectionError, ProtocolError } from './wire/errors.ts';
import {
  CommandDataFlag,
  DEFAULT_FRAME_SIZE,
  type Frame,
  FrameType,
  HEADER_SIZE,
  PingFlag,
  StreamFlag,
  writeHeader,
} from './wire/frame.ts';
import { commandDataFrames, commandFrames } from './wire/frames.ts';
import { DEFAULT_LIMITS, type Limits } from './wire/limits.ts';
import {
  encodeCredit,
  encodeSenderSettings,
  encodeStreamSettings,
  encodeUtf8,
  type Progress,
  type SenderSettings,
} from './wire/payloads.ts';

export interface ClientOptions {
  /** Profiles to decode, best first; default: all that the codecs decode. An empty list: identity only. */
  profiles?: readonly string[];
  /** Send part-A frames only, to a server that does not know sender-settings; default false. */
  plain?: boolean;
  /** Profile for command data, once the server has said that it decodes it; default: data goes unencoded. */
  encodeData?: string;
  /** Compression level for command data. */
  level?: number;
  /** Bytes of one response that may wait here to be read; default 1 MiB. */
  requestWindow?: number;
  /** Bytes of all responses that may wait here to be read; default: only the request windows bound them. */
  connectionWindow?: number;
  /** Sent with every command (protocol.md C6), unless the call says otherwise. */
  authorization?: string;
  limits?: Partial<Limits>;
}

export interface CallOptions {
  /** Argument values by name; strings go out as UTF-8. */
  args?: Readonly<Record<string, string | Uint8Array>>;
  /** Command data. */
  data?: Uint8Array | string | AsyncIterable<Uint8Array>;
  /** Cancels the request when it fires. */
  signal?: AbortSignal;
  /** What the server's authorize hook is shown (protocol.md C6); never logged there. Default: the client's. */
  authorization?: string;
  /** Keeps the response out of every shared context (protocol.md C6), and the command's data with it. */
  sensitive?: boolean;
  /** The server cancels the request after so many milliseconds (protocol.md C6). */
  deadlineMs?: number;
  /** Lines for people that come with the response. */
  onText?: (text: string) => void;
  onProgress?: (progress: Progress) => void;
}

/** Figures of one stream that we receive. */
export interface ReceivedStream {
  streamId: number;
  profile: string;
  frames: number;
  /** Bytes on the wire, headers included. */
  wireBytes: number;
  /** Payload bytes after decoding. */
  bytes: number;
}

export interface ClientStats {
  bytesRead: number;
  bytesWritten: number;
  streams: ReceivedStream[];
}

/** A response as it arrives. Iterate it once, or take it whole with bytes() or text(). */
export class Response implements AsyncIterable<Uint8Array> {
  /** 0 until the command is sent. */
  requestId = 0;
  readonly command: string;
  readonly options: CallOptions;
  readonly #client: ResponseOwner;
  #chunks: Uint8Array[] = [];
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  /** Bytes that were read, but not yet credited to the server. */
  #uncredited = 0;
  /** Bytes that the server may still send. */
  #window: number;
  #whole = false;
  #onAbort: (() => void) | undefined;

  constructor(client: ResponseOwner, command: string, options: CallOptions) {
    this.#client = client;
    this.command = command;
    this.#window = client.requestWindow;
    this.options = options;
    const { signal } = options;
    if (signal === undefined) return;
    this.#onAbort = () => this.cancel(signal.reason);
    signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** True when nothing more will come. */
  get over(): boolean {
    return this.#ended || this.#error !== undefined;
  }

  /** The whole response. @throws CommandError when the command failed, ConnectionError when the connection did. */
  async bytes(): Promise<Uint8Array> {
    this.#whole = true;
    this.#credit(this.#chunks.reduce((sum, chunk) => sum + chunk.length, 0));
    while (!this.#ended && this.#error === undefined) await this.#arrival();
    if (this.#error !== undefined) throw this.#error;
    const chunks = this.#chunks;
    this.#chunks = [];
    return chunks.length === 1 ? chunks[0] : concat(chunks);
  }

  /** The whole response as UTF-8 text. */
  async text(): Promise<string> {
    return new TextDecoder().decode(await this.bytes());
  }

  /** Pieces as they come; leaving the loop early cancels the request. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (;;) {
        const chunk = this.#chunks.shift();
        if (chunk !== undefined) {
          this.#credit(chunk.length);
          yield chunk;
        } else if (this.#error !== undefined) throw this.#error;
        else if (this.#ended) return;
        else await this.#arrival();
      }
    } finally {
      if (!this.over) this.cancel(new CommandError('response not read to its end'));
    }
  }

  /** Tells the server to stop; the response ends with `reason` as its error. */
  cancel(reason: unknown = new CommandError('cancelled')): void {
    if (this.#ended || this.#error !== undefined) return;
    if (this.requestId !== 0) this.#client.cancel(this.requestId);
    this.fail(reason instanceof Error ? reason : new CommandError(String(reason)));
  }

  /**
   * For the client: a piece has come. `bytes` are copied.
   * @throws ProtocolError when the server has sent more than it was allowed (C4).
   */
  push(bytes: Uint8Array, last: boolean): void {
    this.#window -= bytes.length;
    if (this.#window < 0 && this.#client.creditCounts) {
      const window = `${this.#client.requestWindow} bytes of request ${this.requestId}`;
      throw new ProtocolError('limit', `requestWindow: the server has passed the window of ${window}`);
    }
    if (bytes.length > 0) this.#chunks.push(bytes.slice());
    if (last) this.#end();
    else if (this.#whole) this.#credit(bytes.length);
    this.#wake?.();
  }

  /** For the client: nothing more will come. */
  fail(error: Error): void {
    if (this.#ended || this.#error !== undefined) return;
    this.#error = error;
    this.#detach();
    this.#wake?.();
  }

  #end(): void {
    this.#ended = true;
    this.#detach();
  }

  #detach(): void {
    if (this.#onAbort !== undefined) this.options.signal?.removeEventListener('abort', this.#onAbort);
  }

  #arrival(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #credit(bytes: number): void {
    if (this.#ended) return;
    this.#uncredited += bytes;
    if (this.#uncredited < this.#client.requestWindow / 2) return;
    this.#client.credit(this.requestId, this.#uncredited);
    this.#window += this.#uncredited;
    this.#uncredited = 0;
  }
}

/** What a response needs of its client. */
interface ResponseOwner {
  readonly requestWindow: number;
  /** Whether the server has promised to keep to windows. */
  readonly creditCounts: boolean;
  cancel(requestId: number): void;
  credit(requestId: number, bytes: number): void;
}

/** Decoders on this thread: they answer at once. */
class LocalDecoders implements Decoders {
  readonly #codecs: CodecRegistry;
  readonly #limits: Limits;
  readonly #open = new Map<number, Decoder>();
  readonly figures = new Map<number, ReceivedStream>();

  constructor(codecs: CodecRegistry, limits: Limits) {
    this.#codecs = codecs;
    this.#limits = limits;
  }

  supports(profile: string): boolean {
    return this.#codecs.get(profile) !== undefined;
  }

  open(streamId: number, profile: string, settings: Uint8Array): void {
    const codec = this.#codecs.get(profile);
    if (codec === undefined) throw new Error(`no codec for profile '${profile}'`);
    this.#open.set(streamId, codec.createDecoder(this.#limits, settings));
    this.figure(streamId).profile = profile;
  }

  decode(streamId: number, ticket: Ticket): Uint8Array {
    const decoder = this.#open.get(streamId);
    if (decoder === undefined) throw new Error(`no decoder for stream ${streamId}`);
    const bytes = decoder.decode(ticket.frame.payload);
    this.figure(streamId).bytes += bytes.length - ticket.frame.payload.length;
    return bytes;
  }

  close(streamId: number): void {
    this.#open.get(streamId)?.close();
    this.#open.delete(streamId);
  }

  figure(streamId: number): ReceivedStream {
    let figure = this.figures.get(streamId);
    if (figure === undefined) {
      figure = { streamId, profile: 'identity', frames: 0, wireBytes: 0, bytes: 0 };
      this.figures.set(streamId, figure);
    }
    return figure;
  }
}

/** Per second: a server may begin a stream for every response (B1), so this bounds only nonsense. */
const MAX_STREAM_BEGINS = 1_000_000;

/** Streams of a client: 1 is plain, 3 carries encoded command data. */
const PLAIN_STREAM = 1;
const DATA_STREAM = 3;
/** Bytes of command data between two marks, and marks that may be out. */
const DATA_MARK = 256 * 1024;
const MAX_DATA_MARKS = 2;
const DEFAULT_REQUEST_WINDOW = 1 << 20;
const EXTENSIONS = ['sender-settings', 'progress', 'cancel', 'credit', 'ping', 'goaway'];
const NOTHING = new Uint8Array(0);

export class Client implements FrameOwner, ResponseOwner {
  /** Resolves when the connection is gone; rejects never. */
  readonly closed: Promise<void>;
  readonly requestWindow: number;
  readonly #connection: Connection;
  readonly #codecs: CodecRegistry;
  readonly #options: ClientOptions;
  readonly #decoders: LocalDecoders;
  readonly #reactor: ClientReactor<Response>;
  readonly #actions: ClientAction<Response>[] = [];
  /** Calls that wait until the server takes more. */
  readonly #queued: Response[] = [];
  #serverSettings: SenderSettings | undefined;
  #settingsWaiters: { resolve: () => void; reject: (error: Error) => void }[] = [];
  #dataEncoder: Encoder | undefined;
  #dataStreamBegun = false;
  #refuseReason: Error | undefined;
  #uncredited = 0;
  #framesReceived = 0;
  readonly #pings = new Map<string, { resolve: () => void; reject: (error: Error) => void }>();
  #pingCount = 0;
  /** Requests whose command data is not whole yet. */
  readonly #uploads = new Set<number>();
  /** Command data sent since the last mark, and the pings that mark what has been read, oldest first. */
  #dataUnmarked = 0;
  readonly #dataMarks: Promise<void>[] = [];
  #ending = false;
  #resolveClosed: () => void = () => undefined;

  /** `transport` is connected; `codecs` are those of the runtime. Sends our settings at once (C2). */
  constructor(transport: Transport, codecs: CodecRegistry, options: ClientOptions = {}) {
    const limits = { ...DEFAULT_LIMITS, maxStreamBegins: MAX_STREAM_BEGINS, ...options.limits };
    this.#codecs = codecs;
    this.#options = options;
    this.requestWindow = options.requestWindow ?? DEFAULT_REQUEST_WINDOW;
    this.#connection = new Connection(transport, limits, PLAIN_STREAM);
    this.#decoders = new LocalDecoders(codecs, limits);
    this.#reactor = new ClientReactor(limits, this.#decoders);
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#connection.start(this);
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
    return this.#serverSettings?.extensions?.includes('credit') ?? false;
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

  /** Ends the connection once the requests in flight are answered. */
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
    return this.#serverSettings?.maxConcurrentRequests ?? DEFAULT_LIMITS.maxConcurrentRequests;
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
    if (options.data !== undefined) {
      this.#uploads.add(requestId);
      this.#sendData(requestId, response, options.data);
    }
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
    this.#uploads.delete(requestId);
    if (this.#serverSettings !== undefined) this.#connection.sendPlain(requestId, FrameType.cancel, 0);
  }

  /** For responses: `bytes` more have been read. */
  credit(requestId: number, bytes: number): void {
    if (this.#options.plain || !this.#connection.open) return;
    this.#connection.sendPlain(requestId, FrameType.credit, 0, encodeCredit(bytes));
  }

  #sendSettings(limits: Limits): void {
    const { profiles = this.#codecs.profiles(), connectionWindow } = this.#options;
    const settings: SenderSettings = {
      contentEncodings: [...profiles],
      maxFrameSize: limits.maxPayload,
      requestWindow: this.requestWindow,
      ...(connectionWindow === undefined ? {} : { connectionWindow }),
      extensions: EXTENSIONS,
    };
    this.#connection.sendPlain(0, FrameType.senderSettings, 0, encodeSenderSettings(settings));
  }

  #sendCommand(requestId: number, command: string, options: CallOptions): void {
    const args: [string, Uint8Array][] = [];
    for (const [name, value] of Object.entries(options.args ?? {})) {
      args.push([name, typeof value === 'string' ? encodeUtf8(value) : value]);
    }
    const { authorization = this.#options.authorization } = options;
    if (authorization !== undefined) args.push([':authorization', encodeUtf8(authorization)]);
    if (options.sensitive) args.push([':sensitive', NOTHING]);
    if (options.deadlineMs !== undefined) {
      args.push([':deadline-ms', encodeUtf8(String(Math.max(0, Math.round(options.deadlineMs))))]);
    }
    const hasData = options.data !== undefined;
    commandFrames(command, args, hasData, DEFAULT_FRAME_SIZE, (type, flags, payload) =>
      this.#connection.sendPlain(requestId, type, flags, payload),
    );
  }

  async #sendData(
    requestId: number,
    response: Response,
    data: NonNullable<CallOptions['data']>,
  ): Promise<void> {
    const open = () => this.#reactor.get(requestId) === response && this.#connection.open;
    try {
      if (this.#options.encodeData !== undefined) await this.ready();
      // What is at hand can say with its last piece that it ends; what is still being made must not wait for that.
      const whole = typeof data === 'string' || data instanceof Uint8Array;
      let held: Uint8Array = NOTHING;
      for await (const piece of frameSized(data)) {
        if (held.length > 0 && open()) this.#sendDataPiece(requestId, held, false);
        if (whole) held = piece;
        else if (open()) this.#sendDataPiece(requestId, piece, false);
        await this.#roomForData();
        if (!open()) return;
      }
      if (!open()) return;
      this.#uploads.delete(requestId);
      this.#sendDataPiece(requestId, held, true);
    } catch (error) {
      response.cancel(error);
    }
  }

  #sendDataPiece(requestId: number, piece: Uint8Array, last: boolean): void {
    this.#dataUnmarked += piece.length;
    commandDataFrames(piece, last, DEFAULT_FRAME_SIZE, (type, flags, payload) =>
      this.#sendDataFrame(requestId, type, flags, payload),
    );
  }

  /** The response is whole: the server must not wait for the rest of the data, nor find its ID in use. */
  #endUpload(requestId: number): void {
    if (!this.#uploads.delete(requestId)) return;
    this.#connection.sendPlain(requestId, FrameType.commandData, CommandDataFlag.eos);
  }

  /**
   * Waits while too much command data is on its way. A server reads no further than its handlers do, so credit that
   * we grant would arrive only after all data before it: pings show how much has been read.
   */
  async #roomForData(): Promise<void> {
    const { output } = this.#connection;
    if (this.#dataUnmarked >= DATA_MARK && this.#serverSettings?.extensions?.includes('ping')) {
      this.#dataUnmarked = 0;
      // A lost connection fails the response itself.
      const read = () => void this.#dataMarks.shift();
      this.#dataMarks.push(this.ping().then(read, read));
    }
    while (this.#dataMarks.length > MAX_DATA_MARKS) await this.#dataMarks[0];
    while (output.room === 0 && this.#connection.open)
      await new Promise<void>((resolve) => output.wait(resolve));
  }

  /** Command data goes encoded on a stream of its own, if that was asked for and the server decodes it. */
  #sendDataFrame(requestId: number, type: number, flags: number, payload: Uint8Array): void {
    const sensitive = this.#reactor.get(requestId)?.options.sensitive === true;
    const encoder = sensitive ? undefined : this.#encoderForData();
    if (encoder === undefined || payload.length === 0) {
      this.#connection.sendPlain(requestId, type, flags, payload);
      return;
    }
    const frame = new Uint8Array(HEADER_SIZE + encoder.bound(payload.length));
    const length = encoder.encode(payload, frame, HEADER_SIZE);
    writeHeader(frame, 0, length, requestId, DATA_STREAM, StreamFlag.encoded, type, flags);
    this.#connection.writer.send(frame.subarray(0, HEADER_SIZE + length));
  }

  /** The server may have lost our stream's context with a worker: the next data begins it afresh (B1). */
  #renewDataStream(): void {
    this.#dataEncoder?.close();
    this.#dataEncoder = undefined;
    this.#dataStreamBegun = false;
  }

  #encoderForData(): Encoder | undefined {
    const { encodeData, level } = this.#options;
    if (encodeData === undefined || !this.#serverSettings?.contentEncodings?.includes(encodeData))
      return undefined;
    if (this.#dataStreamBegun) return this.#dataEncoder;
    this.#dataStreamBegun = true;
    const codec = this.#codecs.get(encodeData);
    this.#dataEncoder = codec?.createEncoder?.({ level });
    if (codec === undefined || this.#dataEncoder === undefined) return undefined;
    const settings = encodeStreamSettings(encodeData, codec.settings({ level }));
    this.#connection.writer.sendFrame(
      0,
      DATA_STREAM,
      StreamFlag.begin,
      FrameType.streamSettings,
      0,
      settings,
    );
    return this.#dataEncoder;
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
    this.#connection.end();
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
    this.#dataEncoder?.close();
    this.#resolveClosed();
  }

  #act(action: ClientAction<Response>): void {
    switch (action.kind) {
      case 'bytes':
        this.#creditConnection(action.bytes.length);
        if (action.last) this.#endUpload(action.request.requestId);
        return action.request.push(action.bytes, action.last);
      case 'unwanted':
        return this.#creditConnection(action.bytes);
      case 'error':
        this.#endUpload(action.request.requestId);
        if (action.request.options.data !== undefined) this.#renewDataStream();
        return action.request.fail(new CommandError(action.message));
      case 'text':
        return action.request.options.onText?.(action.text);
      case 'progress':
        return action.request.options.onProgress?.(action.progress);
      case 'settings':
        this.#serverSettings = action.settings;
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

  /** The server takes nothing new: calls that wait for their turn never get it (C5). */
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
    if (this.#reactor.openRequests === 0 && this.#queued.length === 0) this.#connection.end();
  }
}

function abortError(signal: AbortSignal | undefined): Error {
  return signal?.reason instanceof Error ? signal.reason : new CommandError('cancelled');
}

/** Command data in pieces of at most one frame. */
async function* frameSized(data: NonNullable<CallOptions['data']>): AsyncGenerator<Uint8Array> {
  const pieces = typeof data === 'string' ? [encodeUtf8(data)] : data instanceof Uint8Array ? [data] : data;
  for await (const piece of pieces) {
    for (let at = 0; at < piece.length; at += DEFAULT_FRAME_SIZE)
      yield piece.subarray(at, at + DEFAULT_FRAME_SIZE);
  }
}

function concat(chunks: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    whole.set(chunk, offset);
    offset += chunk.length;
  }
  return whole;
}
