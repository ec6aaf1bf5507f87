/** What stands behind {@link Server}: owns the parts of a server, puts them together, and ends them in order. */

import { Recorder, type RecordFigures } from '../capture/recorder.ts';
import { CrowdTurns } from '../connection/crowd-turns.ts';
import { type CloseOptions, DISPOSE_GRACE_MS, graceOf } from '../connection/grace.ts';
import type { Transport } from '../connection/transport.ts';
import type { Turns } from '../connection/turns.ts';
import { isWebServer, type WebServer } from '../doors/attach.ts';
import { WebDoors } from '../doors/web-doors.ts';
import type { EncoderOptions } from '../encoding/codec.ts';
import { nativeCodecs, nativeDictionaryCodec } from '../encoding/native.ts';
import { CodecRegistry } from '../encoding/registry.ts';
import { ResponseCache } from '../lanes/cache.ts';
import { compressOnLane } from '../lanes/compress.ts';
import { LanePool, type LanePoolOptions } from '../lanes/pool.ts';
import { MAX_ADAPTIVE_KINDS, MAX_KINDS } from '../lanes/stream-kind.ts';
import { listenPlaceOf } from '../options/place.ts';
import {
  arrayOf,
  boolean,
  checkOptions,
  given,
  isUrlPath,
  object,
  type Rules,
  rule,
  string,
} from '../options/rules.ts';
import { FlushQueue } from '../reactor/flush-queue.ts';
import { Gate } from '../reactor/gate.ts';
import { InputBudget } from '../reactor/input-budget.ts';
import type { TopicOptions } from '../topics/options.ts';
import { RedisRelay } from '../topics/relay.ts';
import type { Topic } from '../topics/topic.ts';
import { Topics } from '../topics/topics.ts';
import { type Limits, overLimit } from '../wire/limits.ts';
import { MAX_MESSAGE_BYTES } from '../wire/topic-records.ts';
import { Acceptor } from './acceptor.ts';
import { commandTable } from './built-in.ts';
import type { Command, CommandTable } from './commands.ts';
import { ServerDictionaries, StreamKinds } from './dictionaries.ts';
import { encoderOptions } from './encoder-options.ts';
import { ErrorLog, type Report, reporter } from './error-log.ts';
import { laneOptions } from './lane-options.ts';
import { type Address, DOOR_RULES, type Doors, type ListenAddress, Listener } from './listener.ts';
import { LiveFeed } from './live-figures.ts';
import { type CheckedOptions, limitsOf, type UpdateOptions, updatedOptions } from './options.ts';
import type { AcceptInfo, AttachOptions, Server } from './server.ts';
import { Sessions } from './sessions.ts';
import { type Measured, type ServerStats, statsOf } from './stats.ts';
import { Totals } from './totals.ts';

const DEFAULT_GRACE_MS = DISPOSE_GRACE_MS;
/** How long each forced step of a shutdown may take. */
const FORCE_MS = 1000;
const CLOSING = 'server is shutting down';
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
    'a path that begins with a slash, as URLs have it',
    (value) => typeof value === 'string' && isUrlPath(value),
  ),
  ...WEB_DOOR_RULES,
};
const ALL_DOORS: Doors = { raw: true, http: true, webSocket: true };
const TRANSPORT_METHODS = ['write', 'pause', 'resume', 'end', 'destroy', 'endOfTick'] as const;

export class LaneServer implements Server {
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
  readonly #acceptor: Acceptor;
  readonly #topics: Topics;
  /** Those that lanes encode by themselves. */
  readonly #codecs: CodecRegistry;
  readonly #dictionaries: ServerDictionaries;
  readonly #commands: CommandTable;
  /** Memory for what waits to be written, and for what has been read. */
  readonly #output: Gate;
  readonly #input: InputBudget;
  #closing: Promise<void> | undefined;

  /** `lanes` gives those of the caller's, which are left open. @throws Error that names the option which is wrong. */
  constructor(options: CheckedOptions, lanes: ((wanted: LanePoolOptions) => LanePool) | undefined) {
    const limits = limitsOf(options);
    const turns = new CrowdTurns(setImmediate);
    this.#report = reporter(options.onError ?? this.#log.report);
    this.#output = new Gate(options.outputMemory);
    this.#input = new InputBudget(options.inputMemory);
    this.#cache = new ResponseCache(options.cacheBytes, turns);
    this.#totals = new Totals(this);
    this.#sessions = new Sessions(options.keepAliveInterval, this.#totals);
    this.#codecs = new CodecRegistry(
      [...nativeCodecs(), ...options.codecs.flatMap((module) => module.codecs)],
      nativeDictionaryCodec(),
    );
    const encoders = encoderOptions(options, this.#codecs);
    this.#dictionaries = new ServerDictionaries(options.dictionaries);
    this.#topics = this.#makeTopics(options, limits, encoders, turns);
    const codecs = withDictionaries(this.#codecs, this.#dictionaries);
    this.#commands = commandTable(
      options,
      () => this.#acceptor.limits,
      codecs,
      this.#topics,
      this.#dictionaries,
      new LiveFeed(this, () => this.#measured),
    );
    this.#dictionaries.checkCommands((name) => this.#commands.get(name) !== undefined);
    const kinds = kindsOf(options, this.#commands, this.#dictionaries);
    this.#doors = this.#makeDoors(options, limits, turns);
    this.#listener = this.#makeListener(options, limits, turns);
    this.#recorder = this.#makeRecorder(options, limits, codecs);
    // What can be wrong with the options is found before the workers are started, which would outlive the error.
    this.#ownsLanes = lanes === undefined;
    const wanted = laneOptions(options, {
      server: this,
      commands: this.#commands,
      dictionaries: this.#dictionaries,
      turns,
      report: this.#report,
    });
    this.#pool = lanes?.(wanted) ?? new LanePool(wanted);
    this.#acceptor = new Acceptor(
      {
        context: {
          server: this,
          commands: this.#commands,
          kinds,
          dictionaries: this.#dictionaries,
          decodable: codecs.profiles(),
          encodable: this.#codecs.encodable(),
          pool: this.#pool,
          cache: this.#cache,
        },
        sessions: this.#sessions,
        totals: this.#totals,
        recorder: this.#recorder,
        shared: { turns, output: this.#output, input: this.#input },
        report: this.#report,
      },
      options,
      encoders,
    );
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
    checkOptions(where, ATTACH_RULES, 'attach');
    if (where.path === undefined) throw new TypeError('option path: missing, attach takes one');
    if (this.#closing !== undefined) throw new Error('the server is closed');
    this.#doors.attach(httpServer, where.path, { ...ALL_DOORS, ...given(where) });
    await this.#load();
  }

  accept(transport: Transport, info: AcceptInfo = {}): void {
    const lacking = TRANSPORT_METHODS.find((name) => typeof transport?.[name] !== 'function');
    if (lacking !== undefined) throw new TypeError(`the transport has no method ${lacking}()`);
    checkOptions(info, ACCEPT_RULES, 'accept');
    const known = { remote: transport.remote, certificateVerified: false, ...given(info) };
    this.#acceptor.serveIfTaken(transport, known);
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
    return statsOf(this.#measured);
  }

  get #measured(): Measured {
    return {
      pool: this.#pool,
      cache: this.#cache,
      sessions: this.#sessions,
      topics: this.#topics,
      commands: this.#commands,
      totals: this.#totals,
      output: this.#output,
      input: this.#input,
      isDraining: () => this.#closing !== undefined,
    };
  }

  update(changes: UpdateOptions): void {
    const options = updatedOptions(this.#acceptor.options, changes);
    // What can be wrong is found before anything has changed.
    const encoders = encoderOptions(options, this.#codecs);
    this.#listener.update(options);
    this.#acceptor.update(options, encoders);
    this.#output.limit = options.outputMemory;
    if ('contextMemory' in changes) this.#pool.budget.resize(options.contextMemory);
  }

  topic(name: string, options?: TopicOptions): Topic {
    return this.#topics.topic(name, options);
  }

  /** Commands that cannot run, and topics that nothing can join, are found before anybody can ask for them. */
  async #load(): Promise<void> {
    try {
      await Promise.all([this.#pool.load(), this.#topics.load()]);
    } catch (error) {
      const wasClosed = this.#closing !== undefined;
      await this.close(0);
      if (!wasClosed) throw error;
    }
  }

  #makeListener(options: CheckedOptions, limits: Limits, turns: CrowdTurns): Listener {
    const { tls, maxConnections, keepAliveInterval, proxyProtocol } = options;
    return new Listener({
      tls,
      proxyProtocol,
      maxConnections,
      handshakeMs: limits.idleTimeout,
      openingMs: limits.openingTimeout,
      keepAliveMs: keepAliveInterval,
      turns,
      accept: (transport, info) => this.#acceptor.serve(transport, info),
      acceptHttp: (socket, info, doors) => this.#doors.accept(socket, info, doors),
      report: this.#report,
      dropped: (remote) => this.#totals.limitHit('maxConnections', remote),
    });
  }

  #makeDoors({ http, keepAliveInterval }: CheckedOptions, limits: Limits, turns: Turns): WebDoors {
    const takes = () => this.#acceptor.takes;
    return new WebDoors({
      limits,
      commands: this.#commands,
      http,
      keepAliveMs: keepAliveInterval,
      turns,
      get takesConnections() {
        return takes();
      },
      serve: (transport, info, rules) => this.#acceptor.serveIfTaken(transport, info, rules),
      call: (command, answer, info, admission) => this.#acceptor.call(command, answer, info, admission),
      admission: (info) => this.#acceptor.admission(info),
      openInput: () => this.#input.open(),
      ask: async (info, question) => {
        const admission = this.#acceptor.admission(info);
        return (await admission?.admit()) ?? (question && (await admission?.ask(question)));
      },
      compress: (bytes, level, whose, then) =>
        compressOnLane(this.#pool, whose, bytes, (pieces) => then(pieces && Buffer.concat(pieces)), level),
      report: this.#report,
      limitHit: (limit, what, remote) => {
        this.#totals.limitHit(limit, remote);
        this.#report(overLimit(limit, what), { remote });
      },
    });
  }

  #makeTopics(
    { relay, relayTimeout, frameSize }: CheckedOptions,
    { maxMessageBytes, maxTopicBacklog }: Limits,
    encoders: Map<string, EncoderOptions>,
    turns: Turns,
  ): Topics {
    const report = (error: unknown) => this.#report(error, {});
    const context = {
      pool: () => this.#pool,
      encoderOptions: encoders,
      dictionary: this.#dictionaries.forCommand('subscribe'),
      pieceSize: frameSize,
      flushes: new FlushQueue(0, setImmediate),
      turns,
      maxMessageBytes: Math.min(maxMessageBytes, MAX_MESSAGE_BYTES),
      maxBacklogBytes: maxTopicBacklog,
      report,
    };
    return new Topics(context, relay === undefined ? undefined : new RedisRelay(relay, relayTimeout, report));
  }

  #makeRecorder({ record }: CheckedOptions, limits: Limits, codecs: CodecRegistry): Recorder | undefined {
    if (record === undefined) return undefined;
    return new Recorder(record, {
      codecs,
      limits,
      command: (name) => this.#commands.get(name),
      onFailure: (error) => this.#report(error, { recording: true }),
    });
  }

  /**
   * First the requests in flight may finish; then they are answered with an error; then workers that do not answer are
   * ended, and with them what ran there; at last the connections of peers that do not read.
   */
  async #shutDown(graceMs: number): Promise<void> {
    this.#acceptor.stop();
    this.#topics.drain();
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

function withDictionaries(codecs: CodecRegistry, { byId }: ServerDictionaries): CodecRegistry {
  return byId.size > 0 ? codecs.withDictionaries(byId) : codecs;
}

/** @throws TypeError when the commands need more kinds of streams than a connection can have. */
function kindsOf(
  { contexts, policy }: CheckedOptions,
  commands: CommandTable,
  dictionaries: ServerDictionaries,
): StreamKinds {
  const kinds = new StreamKinds(dictionaries, contexts);
  for (const name of commands.names) kinds.of(name, commands.get(name) as Command);
  const most = policy === 'adaptive' ? MAX_ADAPTIVE_KINDS : MAX_KINDS;
  if (kinds.all.length > most)
    throw new TypeError(
      `options dictionaries and contexts: commands have ${kinds.all.length} different pairs of them, over ${most}: each but one takes a stream of every connection`,
    );
  return kinds;
}
