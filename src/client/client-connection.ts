/** A connection as its client uses it: takes calls, performs what the reactor says, and puts its parts together. */

import { Connection, type FrameOwner, type Shared, type Transport } from '../connection/connection.ts';
import { CreditSender } from '../connection/credit-sender.ts';
import { KeepAlive } from '../connection/keepalive.ts';
import { LocalDecoders } from '../connection/local-decoders.ts';
import { ZSTD_DICT } from '../encoding/profiles.ts';
import type { CodecRegistry } from '../encoding/registry.ts';
import { given } from '../options/rules.ts';
import { quietly } from '../options/tracing.ts';
import { windowOf } from '../reactor/announced.ts';
import { type ClientAction, ClientReactor } from '../reactor/client.ts';
import { ReceiveWindow } from '../reactor/window.ts';
import { CommandError, ConnectionError, type ProtocolError } from '../wire/errors.ts';
import { type Frame, FrameType, HEADER_SIZE, PingFlag } from '../wire/frame.ts';
import { DEFAULT_LIMITS, type Limits } from '../wire/limits.ts';
import {
  encodeDictionaryHeld,
  encodeSenderSettings,
  type ReceivedFailure,
  saysNotStarted,
} from '../wire/payloads.ts';
import { asError } from '../wire/thrown.ts';
import { CancelSender } from './cancel-sender.ts';
import type { ClientEvents, ClientState, ClientStats } from './client.ts';
import { DataSender } from './command-data.ts';
import { CommandSender } from './command-sender.ts';
import { ConnectionEnd } from './connection-end.ts';
import { type DictionaryOwner, type DictionaryStore, HeldDictionaries } from './dictionaries.ts';
import { Listeners } from './listeners.ts';
import { ServerSettings, settingsOf } from './negotiation.ts';
import { closedByUs, notStarted, reportedBy } from './no-more.ts';
import {
  type CallOptions,
  type ClientOptions,
  checkCall,
  DEFAULT_REQUEST_WINDOW,
  MAX_STREAM_BEGINS,
} from './options.ts';
import { Pings } from './pings.ts';
import { ClientRequest, type RequestOwner } from './request.ts';
import { UnreadBytes, type UnreadResponse } from './unread.ts';

/** The client's stream for what no context touches. */
const PLAIN_STREAM = 1;
const DEFAULT_MAX_UNREAD = 64 << 20;
const DEFAULT_KEEP_ALIVE_MS = 30_000;

export class ClientConnection implements FrameOwner, RequestOwner, DictionaryOwner {
  /** Resolves when the connection is gone; rejects never. */
  readonly closed: Promise<void>;
  readonly requestWindow: number;
  readonly server: ServerSettings;
  readonly pings: Pings;
  readonly events = new Listeners<ClientEvents>('goaway', 'closed');
  readonly #connection: Connection;
  readonly #codecs: CodecRegistry;
  readonly #options: ClientOptions;
  readonly #dictionaries: HeldDictionaries;
  readonly #decoders: LocalDecoders;
  readonly #data: DataSender;
  readonly #keepAlive: KeepAlive;
  readonly #unread: UnreadBytes;
  /** Undefined: only the request windows bound what is on its way. */
  readonly #connectionWindow: ReceiveWindow | undefined;
  readonly #reactor: ClientReactor<ClientRequest>;
  readonly #actions: ClientAction<ClientRequest>[] = [];
  readonly #sender: CommandSender;
  readonly #end: ConnectionEnd;
  readonly #credits: CreditSender;
  readonly #cancels: CancelSender;
  #framesReceived = 0;
  #resolveClosed: () => void = () => undefined;

  /**
   * `store`: where dictionaries are kept from one connection to the next. `shared`: what it has in common with others.
   */
  constructor(
    transport: Transport,
    builtIn: CodecRegistry,
    options: ClientOptions,
    store: DictionaryStore | undefined,
    shared: Shared | undefined,
  ) {
    this.#dictionaries = new HeldDictionaries(this, store);
    const codecs = builtIn.withDictionaries(this.#dictionaries.held);
    const limits = { ...DEFAULT_LIMITS, maxStreamBegins: MAX_STREAM_BEGINS, ...given(options.limits ?? {}) };
    const connectionWindow = options.connectionWindow && windowOf(options.connectionWindow);
    this.#codecs = codecs;
    this.#options = options;
    this.requestWindow = windowOf(options.requestWindow ?? DEFAULT_REQUEST_WINDOW);
    this.server = new ServerSettings(!options.plain);
    this.#unread = new UnreadBytes(options.maxUnread ?? DEFAULT_MAX_UNREAD);
    this.#connection = new Connection(transport, limits, PLAIN_STREAM, shared);
    this.#credits = new CreditSender(this.#connection);
    this.#connectionWindow =
      connectionWindow === undefined
        ? undefined
        : new ReceiveWindow(connectionWindow, (bytes) => this.credit(0, bytes));
    this.pings = new Pings(this.#connection);
    this.#keepAlive = new KeepAlive(this.#connection, () => this.#answersPings());
    this.#decoders = new LocalDecoders(codecs, limits);
    this.#data = new DataSender(this.#connection, codecs, options, this);
    this.#reactor = new ClientReactor(limits, this.#decoders);
    this.#cancels = new CancelSender(this.#connection, this.#reactor, this.server);
    this.#sender = new CommandSender(
      this.#connection,
      this.#reactor,
      this.server,
      this.#data,
      options.authorization,
    );
    this.#end = new ConnectionEnd(this.#connection, this.#reactor, this.#sender);
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#connection.start(this);
    this.#keepAlive.start(options.keepAliveInterval ?? DEFAULT_KEEP_ALIVE_MS);
    if (this.server.expected) this.#sendSettings(limits);
  }

  // ---------------------------------------------------------------------------------------- its user

  /** Sends a command, at once or when its turn has come. Never throws: a failure is in the request. */
  call(command: string, options: CallOptions): ClientRequest {
    const request = new ClientRequest(this, command, options);
    this.#trace(request);
    this.#begin(request);
    return request;
  }

  #trace(request: ClientRequest): void {
    const trace = quietly(() => this.#options.tracing?.call(request.command));
    if (trace === undefined || trace === null) return;
    const traceparent = quietly(() => trace.traceparent);
    if (typeof traceparent === 'string') request.traceparent = traceparent;
    request.ended.then((error) => {
      quietly(() => trace.end(error === undefined ? 'ok' : codeOf(error)));
    });
  }

  /** Resolves when the server has sent its settings. @throws ConnectionError when it never will. */
  ready(): Promise<void> {
    const { refuseReason } = this.#end;
    if (this.server.awaited && refuseReason !== undefined) return Promise.reject(refuseReason);
    return this.server.arrival.then(() => this.#dictionaries.loaded);
  }

  /** Resolves with the milliseconds until the reply. @throws ConnectionError when none can come. */
  ping(): Promise<number> {
    if (this.#connection.open) return this.pings.send();
    return Promise.reject(
      this.#end.refuseReason ?? new ConnectionError('the connection has failed', { code: 'lost' }),
    );
  }

  get state(): ClientState {
    if (this.closeReason !== undefined) return 'closed';
    if (this.#end.refuseReason !== undefined) return 'draining';
    return this.server.awaited ? 'connecting' : 'open';
  }

  /** Why the connection is gone; undefined while it is not. */
  get closeReason(): Error | undefined {
    return this.#end.closeReason;
  }

  stats(): ClientStats {
    return {
      calls: { waiting: this.#sender.waiting, inFlight: this.#reactor.openRequests },
      bytesRead: this.#connection.bytesRead,
      bytesWritten: this.#connection.writer.bytesWritten,
      dictionaries: [...this.heldDictionaries],
      streams: [...this.#decoders.figures.values()]
        .map((figures) => ({ ...figures }))
        .sort((a, b) => a.streamId - b.streamId),
    };
  }

  /**
   * Ends the connection once the requests in flight are answered; a server that does not close it then is left.
   * `graceMs`: what is not answered by then is cancelled.
   */
  close(graceMs?: number): Promise<void> {
    this.#end.close(graceMs);
    return this.closed;
  }

  /** Drops the connection now; requests in flight fail. */
  destroy(reason: Error = closedByUs()): void {
    this.#connection.destroy(reason);
  }

  // ------------------------------------------------------------ what dictionaries need (DictionaryOwner)

  get takesCalls(): boolean {
    return this.#end.refuseReason === undefined;
  }

  fetch(id: string): AsyncIterable<Uint8Array> {
    return this.call('dictionary', { args: { id } }).pieces();
  }

  announce(id: string): void {
    if (!this.#connection.open || !this.server.speaks('dictionary')) return;
    this.#connection.sendPlain(0, FrameType.dictionaryHeld, 0, encodeDictionaryHeld(id));
  }

  fail(error: ProtocolError): void {
    this.#connection.fail(error);
  }

  /** IDs of the dictionaries that are held. */
  get heldDictionaries(): readonly string[] {
    return [...this.#dictionaries.held.keys()];
  }

  // ------------------------------------------------------------------- what requests need (RequestOwner)

  creditCounts = false;

  cancel(request: ClientRequest): void {
    const { requestId } = request;
    this.#sender.forget(request);
    if (requestId === 0 || this.#reactor.get(requestId) !== request) return this.#end.check();
    this.#reactor.forget(requestId);
    this.#data.forget(requestId);
    this.#credits.forget(requestId);
    this.#cancels.send(requestId);
  }

  credit(requestId: number, bytes: number): void {
    if (this.creditCounts) this.#credits.send(requestId, bytes);
  }

  /** Windows hold a server that has announced them; for any other there is a bound. */
  unread(response: UnreadResponse, bytes: number): void {
    if (!this.creditCounts) this.#unread.add(response, bytes);
  }

  // ------------------------------------------------------------------ what command data needs (DataOwner)

  takesData(request: ClientRequest): boolean {
    return this.#reactor.get(request.requestId) === request && this.#connection.open;
  }

  // ---------------------------------------------------------------------------------------- sending

  #begin(request: ClientRequest): void {
    try {
      checkCall(request.command, request.options);
      request.begin();
    } catch (error) {
      request.fail(asError(error));
    }
    if (request.over) return;
    const { refuseReason } = this.#end;
    if (refuseReason === undefined) this.#sender.send(request);
    else request.fail(notStarted(refuseReason));
  }

  get #profiles(): readonly string[] {
    return this.#options.profiles ?? this.#codecs.profiles();
  }

  #sendSettings(limits: Limits): void {
    const { requestWindow } = this;
    const { connectionWindow } = this.#options;
    const settings = settingsOf(this.#profiles, limits, { requestWindow, connectionWindow });
    this.#connection.sendPlain(0, FrameType.senderSettings, 0, encodeSenderSettings(settings));
  }

  get #decodesDictionaries(): boolean {
    return this.#profiles.includes(ZSTD_DICT) && this.server.speaks('dictionary');
  }

  /** Without windows a server that holds much command data reads nothing more, or keeps its replies, until it is read. */
  #answersPings(): boolean {
    if (!this.server.speaks('ping')) return false;
    if (this.server.speaks('data-credit')) return true;
    return this.#reactor.requests().every(({ options }) => options.data === undefined);
  }

  // ------------------------------------------------------------------------------ frames in (FrameOwner)

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
    if (this.#sender.waiting > 0) this.#sender.sendQueued();
    this.#end.check();
  }

  get midCommand(): boolean {
    return false;
  }

  overdue(): undefined {}

  onEnd(): void {
    this.#end.inputEnded();
  }

  onFailed(sendError: () => void): void {
    sendError();
  }

  onClosed(reason: Error | undefined): void {
    const error = this.#end.closed(reason, this.server.expected && this.#framesReceived === 0);
    this.server.fail(error);
    this.pings.fail(error);
    this.#reactor.stop();
    this.#data.close();
    this.#credits.close();
    this.#cancels.close();
    this.#keepAlive.stop();
    this.#resolveClosed();
    this.events.emit('closed', { reason: error });
  }

  #act(action: ClientAction<ClientRequest>): void {
    switch (action.kind) {
      case 'bytes':
        this.#released(action.bytes.length);
        if (action.last) this.#finish(action.request.requestId);
        return action.request.push(action.bytes, action.last);
      case 'unwanted':
        return this.#released(action.bytes);
      case 'error':
        return this.#fail(action.request, errorOf(action.request, action.failure));
      case 'text':
        return action.request.tell(action.request.options.onText, action.text);
      case 'progress':
        return action.request.tell(action.request.options.onProgress, action.progress);
      case 'settings':
        this.#connection.peerTakes(action.settings.maxFrameSize);
        this.#cancels.atMost(action.settings.maxCancels);
        this.#credits.atMost(action.settings.maxCredits);
        this.pings.atMost(action.settings.maxPings);
        this.server.take(action.settings);
        this.creditCounts = this.server.speaks('credit');
        if (this.#decodesDictionaries) this.#dictionaries.offered(action.settings);
        return this.#data.announced(action.settings);
      case 'credit':
        return this.#data.credit(action.requestId, action.bytes);
      case 'ping':
        return this.#connection.sendPlain(0, FrameType.ping, PingFlag.reply, action.payload);
      case 'pong':
        return this.pings.pong(action.payload);
      case 'goaway':
        return this.#goAway(action.lastRequestId, action.reason);
      case 'peer-error':
        return this.#connection.destroy(reportedBy(action.message));
    }
  }

  #finish(requestId: number): void {
    this.#data.finish(requestId);
    this.#credits.forget(requestId);
  }

  #fail(request: ClientRequest, error: CommandError): void {
    this.#finish(request.requestId);
    if (request.options.data !== undefined) this.#data.renewStream();
    request.fail(error);
  }

  #goAway(lastRequestId: number, why: string): void {
    const reason = this.#end.goAway(lastRequestId, why);
    if (reason !== undefined) this.events.emit('goaway', { reason });
  }

  /** The connection's window is for what has arrived, read or not: the request windows bound what waits. */
  #released(bytes: number): void {
    this.#connectionWindow?.receive(bytes);
    this.#connectionWindow?.release(bytes);
  }
}

/** The error with which a server answers. */
function errorOf(
  { refused, options }: ClientRequest,
  { code, message, data }: ReceivedFailure,
): CommandError {
  // One that goes away need not say with each refusal that nothing has run.
  if (refused) code = 'shutting-down';
  // One that sends no codes says it by its text (protocol C6), and may say it before our own clock does.
  else if (code === 'internal' && message === 'deadline exceeded' && options.deadlineMs)
    code = 'deadline-exceeded';
  return new CommandError(message, { code, data, notStarted: saysNotStarted(code) });
}

/** That of a command's or a connection's error; others are the caller's own. */
function codeOf(error: Error): string {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' && code !== '' ? code : 'internal';
}
