/** The server: listens, owns the lanes, the commands and the cache, and makes a session of every connection. */

import { Recorder, type RecordFigures } from '../capture/recorder.ts';
import { Connection, type Shared } from '../connection/connection.ts';
import { type CloseOptions, DISPOSE_GRACE_MS, graceOf } from '../connection/grace.ts';
import type { Transport } from '../connection/transport.ts';
import { Turns } from '../connection/turns.ts';
import { isWebServer, type WebServer } from '../doors/attach.ts';
import { WebDoors } from '../doors/web-doors.ts';
import type { EncoderOptions } from '../encoding/codec.ts';
import { nativeCodecs, nativeDictionaryCodec } from '../encoding/native.ts';
import { CodecRegistry } from '../encoding/registry.ts';
import { ResponseCache } from '../lanes/cache.ts';
import { compressOnLane } from '../lanes/compress.ts';
import { defaultStreams, MAX_STREAMS, makePolicy } from '../lanes/policy.ts';
import { LanePool, type LanePoolOptions } from '../lanes/pool.ts';
import type { Suspect } from '../lanes/quarantine.ts';
import { MAX_KINDS } from '../lanes/router.ts';
import { listenPlaceOf } from '../options/place.ts';
import {
  arrayOf,
  boolean,
  checkOptions as checkAgainst,
  given,
  object,
  type Rules,
  rule,
  string,
} from '../options/rules.ts';
import { Gate } from '../reactor/flow.ts';
import { FlushQueue } from '../reactor/flush-queue.ts';
import { InputBudget } from '../reactor/input-budget.ts';
import type { TopicOptions } from '../topics/options.ts';
import { RedisRelay } from '../topics/relay.ts';
import type { Topic } from '../topics/topic.ts';
import { Topics } from '../topics/topics.ts';
import { DEFAULT_LIMITS, type Limits } from '../wire/limits.ts';
import { asError, describe, watchRejection } from '../wire/thrown.ts';
import { MAX_MESSAGE_BYTES } from '../wire/topic-records.ts';
import { Admission, type ConnectionInfo } from './authorize.ts';
import { commandTable } from './built-in.ts';
import { laneLost } from './channels.ts';
import type { Command, CommandTable } from './commands.ts';
import { ServerDictionaries, StreamKinds } from './dictionaries.ts';
import { encoderOptions } from './encoder-options.ts';
import { ErrorLog } from './error-log.ts';
import { type Address, DOOR_RULES, type Doors, type ListenAddress, Listener } from './listener.ts';
import {
  type CheckedOptions,
  checkOptions,
  type ErrorContext,
  type ServerOptions,
  type UpdateOptions,
  updatedOptions,
} from './options.ts';
import { Session, type SessionContext, type SessionRules } from './session.ts';
import { Sessions } from './sessions.ts';
import { type ServerStats, statsOf } from './stats.ts';
import { Totals } from './totals.ts';

export type { Address } from './listener.ts';
export type { ServerStats } from './stats.ts';

/** A server, as its user sees it. */
export interface Server {
  /** Where the server listens, once it does. */
  readonly address: Address | undefined;
  /** What has been recorded so far; undefined without the option `record`. */
  readonly recorded: RecordFigures | undefined;
  /**
   * Listens on TCP (`host` 127.0.0.1 unless given; `port` 0, the default: a free one) or on a Unix socket.
   * Before that every worker loads the modules of its commands and codecs, within 30 seconds.
   * @throws TypeError that names the option which is wrong; Error of the system, such as EADDRINUSE, or when the server
   *   is closed. When a module cannot be loaded or lacks its export, the error says which, and the server is closed.
   */
  listen(where?: ListenAddress): Promise<Address>;
  /**
   * Stops: accepts nothing new, lets requests in flight finish for `grace` milliseconds, or `{ graceMs }` (default 5000),
   * their `draining` signals fired at once, then ends what is left. Calling it again returns the same promise.
   */
  close(grace?: number | CloseOptions): Promise<void>;
  /**
   * Serves a connection that is not the listener's: over a transport of the caller's own (its contract: {@link Transport}),
   * or one end of a `memoryPair()`. It counts and ends like any other, and needs no {@link listen}. `info` is what
   * `authorize` is told of it; `remote` is the transport's own unless it is given. One that comes while the server is
   * closing, or has `maxConnections`, is destroyed at once. @throws TypeError when it is no transport, or names what is wrong in `info`.
   */
  accept(transport: Transport, info?: AcceptInfo): void;
  /**
   * Puts the doors for HTTP and WebSockets into a server of node:http or node:https, such as that of Fastify or Express: what
   * comes to `path`, or below it, is ours, whichever listeners the server has; the rest is left as it is. Resolves when the
   * workers have loaded their modules, as {@link listen} does. When this server is closed, the path is no longer ours.
   * @throws TypeError that names what is wrong; whatever {@link listen} throws of modules.
   */
  attach(httpServer: WebServer, where: AttachOptions): Promise<void>;
  stats(): Promise<ServerStats>;
  /**
   * Changes what can be changed while it serves. `contextMemory`, `outputMemory` and `maxConnections` hold at once, all else for
   * connections that come from then on; nothing is dropped. An option that is given as undefined goes back to its default.
   * @throws TypeError that names the option which is wrong, or cannot be changed; nothing has changed then.
   */
  update(changes: UpdateOptions): void;
  /**
   * The topic of this name, 1 to 255 bytes in UTF-8, made if there is none (protocol C10). Clients subscribe and publish to
   * it by `subscribe` and `publish`, each of which `authorize` is asked about.
   * @throws TypeError that names what is wrong; Error when there is one already and options are given.
   */
  topic(name: string, options?: TopicOptions): Topic;
  /** {@link close} with the default grace time, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** What is known of a connection that `server.accept()` gets. */
export type AcceptInfo = Partial<Omit<ConnectionInfo, 'principal'>>;

/** Where the doors are in a server of somebody else's, and which. */
export interface AttachOptions extends Partial<Omit<Doors, 'raw'>> {
  /** Begins with a slash, such as `/millrace`. */
  path: string;
}

/** Makes a server; it serves once {@link Server.listen} is called. @throws Error that names the option which is wrong. */
export function createServer(options: ServerOptions = {}): Server {
  return makeServer(options);
}

/**
 * {@link createServer} on `lanes` of the caller's, which the server uses and leaves open: what the options say of lanes
 * is theirs then.
 */
export function makeServer(options: ServerOptions, lanes?: LanePool): Server {
  return new LaneServer(checkOptions(options), lanes);
}

type Report = (error: unknown, about: ErrorContext) => void;

const DEFAULT_GRACE_MS = DISPOSE_GRACE_MS;
/** How long each forced step of a shutdown may take. */
const FORCE_MS = 1000;
const CLOSING = 'server is shutting down';
/** The server's stream for what no context touches. */
const PLAIN_STREAM = 2;
const ACCEPT_RULES: Rules<AcceptInfo> = {
  remote: string,
  proxies: arrayOf(object, 'what proxies have said'),
  peerCertificate: object,
  certificateVerified: boolean,
  headers: object,
};
const { raw: _, ...WEB_DOOR_RULES } = DOOR_RULES;
const ATTACH_RULES: Rules<AttachOptions> = {
  path: rule(
    'a path that begins with a slash',
    (value) => typeof value === 'string' && /^\/[^?#]*$/.test(value),
  ),
  ...WEB_DOOR_RULES,
};
const ALL_DOORS: Doors = { raw: true, http: true, webSocket: true };
const TRANSPORT_METHODS = ['write', 'pause', 'resume', 'end', 'destroy', 'endOfTick'] as const;

class LaneServer implements Server {
  #options: CheckedOptions;
  #limits: Limits;
  readonly #report: Report;
  /** Where errors go without `onError`. */
  readonly #log = new ErrorLog();
  readonly #listener: Listener;
  readonly #doors: WebDoors;
  readonly #pool: LanePool;
  readonly #ownsLanes: boolean;
  readonly #cache: ResponseCache;
  readonly #recorder: Recorder | undefined;
  readonly #totals: Totals;
  readonly #sessions: Sessions;
  readonly #topics: Topics;
  /** Those that lanes encode by themselves, and those with dictionaries. */
  readonly #codecs: CodecRegistry;
  readonly #allCodecs: CodecRegistry;
  readonly #dictionaries: ServerDictionaries;
  readonly #commands: CommandTable;
  readonly #kinds: StreamKinds;
  /** Of connections that come from now on. */
  #context: SessionContext;
  /** The time of this thread, and memory for what waits to be written and what has been read. */
  readonly #shared: Shared;
  #closing: Promise<void> | undefined;

  constructor(options: CheckedOptions, lanes: LanePool | undefined) {
    this.#options = options;
    this.#limits = limitsOf(options);
    this.#report = reporter(options.onError ?? this.#log.report);
    const turns = new Turns(setImmediate);
    const output = new Gate(options.outputMemory);
    this.#shared = { turns, output, input: new InputBudget(options.inputMemory) };
    this.#cache = new ResponseCache(options.cacheBytes, turns);
    this.#totals = new Totals(this);
    this.#sessions = new Sessions(options.keepAliveInterval, this.#totals);
    this.#codecs = new CodecRegistry(
      [...nativeCodecs(), ...options.codecs.flatMap((module) => module.codecs)],
      nativeDictionaryCodec(),
    );
    const encoders = encoderOptions(options, this.#codecs);
    this.#dictionaries = new ServerDictionaries(options.dictionaries);
    this.#topics = this.#makeTopics(encoders);
    this.#allCodecs = withDictionaries(this.#codecs, this.#dictionaries);
    this.#commands = commandTable(
      options,
      () => this.#limits,
      this.#allCodecs,
      this.#topics,
      this.#dictionaries,
    );
    this.#dictionaries.checkCommands((name) => this.#commands.get(name) !== undefined);
    this.#kinds = kindsOf(options, this.#commands, this.#dictionaries);
    this.#doors = this.#makeDoors();
    this.#listener = this.#makeListener();
    this.#recorder = this.#makeRecorder();
    // What can be wrong with the options is found before the workers are started, which would outlive the error.
    this.#ownsLanes = lanes === undefined;
    this.#pool =
      lanes ?? openLanes(options, this.#commands, this.#dictionaries, turns, this.#report, this.#laneLost);
    this.#context = this.#makeContext(encoders);
  }

  get address(): Address | undefined {
    return this.#listener.address;
  }

  get recorded(): RecordFigures | undefined {
    return this.#recorder?.figures;
  }

  async listen(where: ListenAddress = {}): Promise<Address> {
    const place = listenPlaceOf(where, DOOR_RULES);
    const { raw = true, http = true, webSocket = true } = where;
    if (!raw && !http && !webSocket) throw new TypeError('option raw: every door is shut');
    if (this.#closing === undefined) await this.#load();
    return this.#listener.listen(place, { raw, http, webSocket });
  }

  async attach(httpServer: WebServer, where: AttachOptions): Promise<void> {
    if (!isWebServer(httpServer)) throw new TypeError('attach takes a server of node:http or node:https');
    checkAgainst(where, ATTACH_RULES, 'attach');
    if (where.path === undefined) throw new TypeError('option path: missing, attach takes one');
    if (this.#closing !== undefined) throw new Error('the server is closed');
    this.#doors.attach(httpServer, where.path, { ...ALL_DOORS, ...given(where) });
    await this.#load();
  }

  accept(transport: Transport, info: AcceptInfo = {}): void {
    const lacking = TRANSPORT_METHODS.find((name) => typeof transport?.[name] !== 'function');
    if (lacking !== undefined) throw new TypeError(`the transport has no method ${lacking}()`);
    checkAgainst(info, ACCEPT_RULES, 'accept');
    this.#serveIfTaken(transport, { remote: transport.remote, certificateVerified: false, ...given(info) });
  }

  close(grace: number | CloseOptions = {}): Promise<void> {
    const graceMs = graceOf(typeof grace === 'number' ? { graceMs: grace } : grace) ?? DEFAULT_GRACE_MS;
    this.#closing ??= this.#shutDown(graceMs);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  stats(): Promise<ServerStats> {
    return statsOf({
      pool: this.#pool,
      cache: this.#cache,
      sessions: this.#sessions,
      topics: this.#topics,
      commands: this.#commands,
      totals: this.#totals,
      output: this.#shared.output as Gate,
      input: this.#shared.input as InputBudget,
      isDraining: () => this.#closing !== undefined,
    });
  }

  update(changes: UpdateOptions): void {
    const options = updatedOptions(this.#options, changes);
    // What can be wrong is found before anything has changed.
    const encoders = encoderOptions(options, this.#codecs);
    this.#listener.update(options);
    this.#options = options;
    this.#limits = limitsOf(options);
    this.#context = this.#makeContext(encoders);
    (this.#shared.output as Gate).limit = options.outputMemory;
    if ('contextMemory' in changes) this.#pool.budget.resize(options.contextMemory);
  }

  topic(name: string, options?: TopicOptions): Topic {
    return this.#topics.topic(name, options);
  }

  /** Commands that cannot run are found before anybody can ask for them. */
  async #load(): Promise<void> {
    try {
      await this.#pool.load();
    } catch (error) {
      const wasClosed = this.#closing !== undefined;
      await this.close(0);
      if (!wasClosed) throw error;
    }
  }

  #makeListener(): Listener {
    const { tls, maxConnections, keepAliveInterval, proxyProtocol } = this.#options;
    return new Listener({
      tls,
      proxyProtocol,
      maxConnections,
      handshakeMs: this.#limits.idleTimeout,
      openingMs: this.#limits.openingTimeout,
      keepAliveMs: keepAliveInterval,
      turns: this.#shared.turns,
      accept: (transport, info) => this.#serve(transport, info),
      acceptHttp: (socket, info, doors) => this.#doors.accept(socket, info, doors),
      report: this.#report,
      dropped: (remote) => this.#totals.limitHit('maxConnections', remote),
    });
  }

  #makeDoors(): WebDoors {
    const takes = () => this.#closing === undefined && this.#sessions.count < this.#options.maxConnections;
    return new WebDoors({
      limits: this.#limits,
      commands: this.#commands,
      http: this.#options.http,
      get takesConnections() {
        return takes();
      },
      serve: (transport, info, rules) => this.#serveIfTaken(transport, info, rules),
      ask: async (info, question) => this.#admission(info)?.ask(question),
      compress: (bytes, level, then) =>
        compressOnLane(this.#pool, bytes, (pieces) => then(pieces && Buffer.concat(pieces)), level),
      report: this.#report,
    });
  }

  #makeTopics(encoderOptions: Map<string, EncoderOptions>): Topics {
    const { maxMessageBytes, maxTopicBacklog } = this.#limits;
    const { relay } = this.#options;
    const report = (error: unknown) => this.#report(error, {});
    const context = {
      pool: () => this.#pool,
      encoderOptions,
      dictionary: this.#dictionaries.forCommand('subscribe'),
      pieceSize: this.#options.frameSize,
      flushes: new FlushQueue(0, setImmediate),
      maxMessageBytes: Math.min(maxMessageBytes, MAX_MESSAGE_BYTES),
      maxBacklogBytes: maxTopicBacklog,
      report,
    };
    return new Topics(context, relay === undefined ? undefined : new RedisRelay(relay, report));
  }

  #makeRecorder(): Recorder | undefined {
    const { record } = this.#options;
    if (record === undefined) return undefined;
    return new Recorder(record, {
      codecs: this.#allCodecs,
      limits: this.#limits,
      command: (name) => this.#commands.get(name),
      onFailure: (error) => this.#report(error, { recording: true }),
    });
  }

  #makeContext(encoders: Map<string, EncoderOptions>): SessionContext {
    const { policy, streams, workers, profile, frameSize, halfDuplex, coalesceMs } = this.#options;
    const kinds = this.#kinds;
    return {
      server: this,
      tracing: this.#options.tracing,
      commands: this.#commands,
      kinds,
      dictionaries: this.#dictionaries,
      decodable: this.#allCodecs.profiles(),
      encodable: this.#codecs.encodable(),
      pool: this.#pool,
      cache: this.#cache,
      router: {
        kinds: kinds.all,
        makePolicy: () => makePolicy(policy),
        perRequest: policy === 'per-request',
        adaptive: policy === 'adaptive',
        spread: typeof policy === 'function',
        streams: streams ?? Math.min(MAX_STREAMS, defaultStreams(policy, workers)),
        profile,
        encoderOptions: encoders,
        frameSize,
      },
      halfDuplex,
      coalesceMs,
      report: this.#report,
      closed: (session, reason) => this.#sessions.remove(session, reason),
    };
  }

  readonly #laneLost: LanePoolOptions['onLost'] = (lane, error, suspects) => {
    this.#report(error, { lane, ...contextOf(suspects) });
    if (laneLost.hasSubscribers) laneLost.publish({ server: this, lane, error });
  };

  #serveIfTaken(transport: Transport, info: ConnectionInfo, rules?: SessionRules): void {
    const isFull = this.#sessions.count >= this.#options.maxConnections;
    if (isFull) this.#totals.limitHit('maxConnections', info.remote);
    if (isFull || this.#closing !== undefined) transport.destroy();
    else this.#serve(transport, info, rules);
  }

  /** Makes a session of a connection: of a socket's, or of any other transport. */
  #serve(transport: Transport, info: ConnectionInfo, rules?: SessionRules): void {
    const watched = this.#recorder?.watch(transport) ?? transport;
    const connection = new Connection(watched, this.#limits, PLAIN_STREAM, this.#shared);
    const session = new Session(connection, this.#context, this.#admission(info), rules);
    this.#sessions.add(session, this.#options.maxConnectionAge);
    session.start();
  }

  #admission(info: ConnectionInfo): Admission | undefined {
    const { authorize, authorizeTimeout: timeoutMs } = this.#options;
    if (authorize === undefined) return undefined;
    const report = (error: unknown) => this.#report(error, { remote: info.remote });
    return new Admission(info, { authorize, timeoutMs, report });
  }

  /**
   * First the requests in flight may finish; then they are answered with an error; then workers that do not answer are
   * ended, and with them what ran there; at last the connections of peers that do not read.
   */
  async #shutDown(graceMs: number): Promise<void> {
    await this.#listener.stop();
    this.#doors.stop();
    const gone =
      (await this.#sessions.drain(CLOSING, graceMs)) || (await this.#sessions.stop(CLOSING, FORCE_MS));
    await this.#topics.close();
    if (this.#ownsLanes) await this.#pool.close();
    if (!gone) await this.#sessions.allGone(FORCE_MS);
    this.#doors.close();
    await this.#listener.drop();
    await this.#recorder?.close();
    this.#log.close();
  }
}

function limitsOf({ limits }: CheckedOptions): Limits {
  return { ...DEFAULT_LIMITS, ...given(limits) } as Limits;
}

function withDictionaries(codecs: CodecRegistry, { byId }: ServerDictionaries): CodecRegistry {
  return byId.size > 0 ? codecs.withDictionaries(byId) : codecs;
}

/** @throws TypeError when the commands need more kinds of streams than a connection can have. */
function kindsOf(
  { contexts }: CheckedOptions,
  commands: CommandTable,
  dictionaries: ServerDictionaries,
): StreamKinds {
  const kinds = new StreamKinds(dictionaries, contexts);
  for (const name of commands.names) kinds.of(name, commands.get(name) as Command);
  if (kinds.all.length > MAX_KINDS)
    throw new TypeError(
      `options dictionaries and contexts: commands have ${kinds.all.length} different ones, over ${MAX_KINDS}`,
    );
  return kinds;
}

function openLanes(
  options: CheckedOptions,
  commands: CommandTable,
  dictionaries: ServerDictionaries,
  turns: Turns,
  report: Report,
  onLost: LanePoolOptions['onLost'],
): LanePool {
  const { workers, codecs, coalesceMs, cacheLevel, cacheBytes } = options;
  const { contextMemory, streamIdleTimeout, streamLifetime, laneTimeout, quarantine, resourceLimits } =
    options;
  return new LanePool({
    workers,
    handlers: commands.modules,
    dictionaries: [...dictionaries.byId.values()],
    codecs,
    coalesceMs,
    cacheLevel,
    caching: cacheBytes > 0,
    contextMemory,
    streamIdleTimeout,
    streamLifetime,
    laneTimeout,
    quarantine: quarantine && given(quarantine),
    resourceLimits,
    turns,
    onLost,
    onError: (error) => report(error, {}),
  });
}

/** What a worker died of, as error hooks are told. */
function contextOf(suspects: readonly Suspect[]): ErrorContext {
  if (suspects.length === 0) return {};
  const [{ kind, name }] = suspects;
  const names = { suspects: suspects.map((each) => `${each.kind} '${each.name}'`) };
  return suspects.length === 1 && kind === 'command' ? { command: name, ...names } : names;
}

/** What an error hook itself throws must not meet the code that reports. */
function reporter(onError: NonNullable<ServerOptions['onError']>): Report {
  const failed = (thrown: unknown) => process.emitWarning(`onError threw: ${describe(thrown)}`);
  return (error, about) => {
    try {
      watchRejection(onError(asError(error), about), failed);
    } catch (thrown) {
      failed(thrown);
    }
  };
}
