/** The server: listens, owns the lanes, the commands and the cache, and makes a peer of every client. */

import { once } from 'node:events';
import { createServer as createNetServer, type Server as NetServer, type Socket } from 'node:net';
import { createServer as createTlsServer, TLSSocket } from 'node:tls';
import { Recorder, type RecordFigures } from '../capture/recorder.ts';
import { Connection } from '../connection/connection.ts';
import type { EncoderOptions } from '../encoding/codec.ts';
import { nativeCodecs } from '../encoding/native.ts';
import { IDENTITY } from '../encoding/profiles.ts';
import { CodecRegistry } from '../encoding/registry.ts';
import { fileCommands } from '../files/index.ts';
import { ResponseCache } from '../lanes/cache.ts';
import type { StreamFigures } from '../lanes/figures.ts';
import { defaultStreams, MAX_STREAMS, makePolicy } from '../lanes/policy.ts';
import { LanePool } from '../lanes/pool.ts';
import { within } from '../lanes/within.ts';
import { Gate } from '../reactor/flow.ts';
import { SocketTransport } from '../transport/socket.ts';
import { DEFAULT_LIMITS, type Limits } from '../wire/limits.ts';
import { EXTENSIONS } from '../wire/payloads.ts';
import { Admission, type ConnectionInfo } from './authorize.ts';
import { CommandTable, echo } from './commands.ts';
import { type CheckedOptions, checkOptions, type ServerOptions } from './options.ts';
import { Session, type SessionContext } from './session.ts';

/** Where a server listens. */
export type Address = { host: string; port: number } | { path: string };

export interface ServerStats {
  lanes: LaneRow[];
  streams: StreamRow[];
  cache: { entries: number; bytes: number; hits: number; misses: number };
  connections: number;
  /** Encoding contexts: bytes they are accounted with, their budget, and how often it ran out. */
  contexts: { bytes: number; limit: number; givenUp: number; shrunk: number; refused: number };
}

/** Figures of one lane since it opened. */
export interface LaneRow {
  lane: number;
  cpuSeconds: number;
  memoryBytes: number;
  openStreams: number;
  frames: number;
  bytesIn: number;
  bytesOut: number;
}

/** Figures of one response stream. */
export interface StreamRow extends StreamFigures {
  remote: string;
  /** The lane's CPU, shared out by time spent in the stream's encoder. */
  cpuSeconds: number;
}

export class Server {
  readonly #net: NetServer;
  readonly #options: CheckedOptions;
  readonly #pool: LanePool;
  readonly #ownsLanes: boolean;
  readonly #cache: ResponseCache;
  readonly #limits: Limits;
  readonly #context: SessionContext;
  readonly #recorder: Recorder | undefined;
  readonly #peers = new Set<Session>();
  /** All sockets, those that have not become peers yet among them. */
  readonly #sockets = new Set<Socket>();
  /** Output that waits on any connection. */
  readonly #allOutput: Gate;
  readonly #report: SessionContext['report'];
  #keepAlive: ReturnType<typeof setInterval> | undefined;
  /** Rows of connections that have closed, the newest last. */
  #pastStreams: StreamRow[] = [];
  #onAllGone: () => void = () => undefined;
  #address: Address | undefined;
  /** Settles when the server listens, or cannot. */
  #starting: Promise<unknown> | undefined;
  #closing: Promise<void> | undefined;

  /**
   * `lanes`: ones of the caller's, which the server uses and leaves open; what the options say of lanes is theirs then.
   * @throws Error that names the option which is wrong.
   */
  constructor(options: ServerOptions = {}, lanes?: LanePool) {
    const checked = checkOptions(options);
    this.#options = checked;
    const codecs = new CodecRegistry([
      ...nativeCodecs(),
      ...checked.codecs.flatMap((module) => module.codecs),
    ]);
    const { workers, policy, profile } = checked;
    for (const name of ['level', 'tuning'] as const) {
      if (policy !== 'adaptive' || checked[name] === undefined) continue;
      throw new Error(`option ${name}: the policy 'adaptive' has levels of its own`);
    }
    const encodable = codecs.encodable();
    if (profile !== undefined && !encodable.includes(profile)) {
      throw new Error(`unknown profile '${profile}': this runtime encodes ${encodable.join(', ')}`);
    }
    const { level, windowLog, tuning } = checked;
    const encoder = encoderOptions(codecs, profile, { level, windowLog, tuning });
    const report = reporter(checked.onError);
    this.#report = report;
    this.#allOutput = new Gate(checked.outputMemory);
    this.#limits = { ...DEFAULT_LIMITS, ...checked.limits } as Limits;
    this.#cache = new ResponseCache(checked.cacheBytes);
    const commands = this.#makeCommands(checked, encodable, codecs.profiles());
    // What can be wrong with the options is found before the workers are started, which would outlive the error.
    this.#net = this.#makeListener();
    if (checked.record !== undefined) {
      const command = (name: string) => commands.get(name);
      const onFailure = (error: Error) => report(error, { recording: true });
      this.#recorder = new Recorder(checked.record, { codecs, limits: this.#limits, command, onFailure });
    }
    this.#ownsLanes = lanes === undefined;
    this.#pool =
      lanes ??
      new LanePool({
        workers,
        handlers: commands.modules,
        codecs: checked.codecs,
        coalesceMs: checked.coalesceMs,
        cacheLevel: checked.cacheLevel,
        caching: checked.cacheBytes > 0,
        contextMemory: checked.contextMemory,
        streamIdleTimeout: checked.streamIdleTimeout,
        streamLifetime: checked.streamLifetime,
        laneTimeout: checked.laneTimeout,
        resourceLimits: checked.resourceLimits,
        onLost: (lane, error) => report(error, { lane }),
        onError: (error) => report(error, {}),
      });
    this.#context = {
      commands,
      pool: this.#pool,
      cache: this.#cache,
      decodable: codecs.profiles(),
      encodable,
      router: {
        makePolicy: () => makePolicy(policy),
        perRequest: policy === 'per-request',
        adaptive: policy === 'adaptive',
        streams: checked.streams ?? Math.min(MAX_STREAMS, defaultStreams(policy, workers)),
        profile,
        encoderOptions: encoder,
        frameSize: checked.frameSize,
      },
      halfDuplex: checked.halfDuplex,
      coalesceMs: checked.coalesceMs,
      report,
      closed: (peer) => this.#forget(peer),
    };
  }

  /** What has been recorded so far; undefined without the option `record`. */
  get recorded(): RecordFigures | undefined {
    return this.#recorder?.figures;
  }

  /** Where the server listens, once it does. */
  get address(): Address | undefined {
    return this.#address;
  }

  /** Listens on TCP (`port` 0: a free one) or on a Unix socket. @throws what the system says, such as EADDRINUSE. */
  async listen(where: { host?: string; port?: number } | { path: string } = {}): Promise<Address> {
    // Its lanes have ended, or are about to.
    if (this.#closing !== undefined) throw new Error('the server is closed');
    const target = 'path' in where ? where : { host: where.host ?? '127.0.0.1', port: where.port ?? 0 };
    if (this.#closing !== undefined) throw new Error('the server is closed');
    this.#net.listen(target);
    this.#starting = once(this.#net, 'listening');
    await this.#starting;
    if (this.#closing !== undefined) throw new Error('the server was closed before it listened');
    const { keepAliveInterval } = this.#options;
    if (keepAliveInterval > 0)
      this.#keepAlive = setInterval(() => this.#checkPeers(), keepAliveInterval).unref();
    const bound = this.#net.address();
    this.#address =
      typeof bound === 'object' && bound !== null
        ? { host: bound.address, port: bound.port }
        : { path: bound as string };
    return this.#address;
  }

  /**
   * Stops: accepts nothing new, lets requests in flight finish for `graceMs`, then ends what is left.
   * Calling it again returns the same promise.
   */
  close(graceMs = 5000): Promise<void> {
    this.#closing ??= this.#shutDown(graceMs);
    return this.#closing;
  }

  async stats(): Promise<ServerStats> {
    const lanes = this.#pool.lanes;
    const figures = await Promise.all(lanes.map((lane) => lane.stats()));
    const rows: LaneRow[] = [];
    const cpuBySlot = new Map<string, number>();
    lanes.forEach((lane, i) => {
      const stats = figures[i];
      if (stats === undefined) return;
      const { cpuSeconds, memoryBytes, slots } = stats;
      rows.push({ lane: lane.index, cpuSeconds, memoryBytes, openStreams: lane.openSlots, ...lane.totals });
      const total = slots.reduce((sum, { seconds }) => sum + seconds, 0) || 1;
      for (const { slot, seconds } of slots)
        cpuBySlot.set(`${lane.index}/${slot}`, (cpuSeconds * seconds) / total);
    });
    const open = [...this.#peers].flatMap((peer) => streamRows(peer, cpuBySlot));
    const { entries, bytes, hits, misses } = this.#cache;
    const { budget } = this.#pool;
    return {
      lanes: rows,
      streams: [...this.#pastStreams, ...open],
      cache: { entries, bytes, hits, misses },
      connections: this.#peers.size,
      contexts: { bytes: budget.used, limit: budget.limit, ...budget.counts },
    };
  }

  #makeCommands(options: CheckedOptions, encodable: string[], decodable: string[]): CommandTable {
    const commands = new CommandTable();
    commands.add('echo', { handler: echo, mode: 'ro' });
    const files = options.root === undefined ? {} : fileCommands(options.root);
    for (const [name, definition] of Object.entries({ ...files, ...options.commands })) {
      commands.add(name, definition);
    }
    const limits = this.#limits;
    const capabilities = () =>
      JSON.stringify({
        commands: commands.names,
        profiles: { encode: encodable, decode: decodable },
        limits,
        extensions: EXTENSIONS,
      });
    commands.add('capabilities', { handler: capabilities, mode: 'ro' });
    return commands;
  }

  #makeListener(): NetServer {
    const { tls, maxConnections } = this.#options;
    const options = { allowHalfOpen: true, pauseOnConnect: true };
    const accept = (socket: Socket) => this.#accept(socket);
    const net =
      tls === undefined
        ? createNetServer(options, accept)
        : createTlsServer({ handshakeTimeout: this.#limits.idleTimeout, ...options, ...tls }, accept);
    net.maxConnections = maxConnections;
    net.on('tlsClientError', (error, socket: Socket) => {
      // One that has gone no longer says where it was.
      this.#report(error, socket.remoteAddress === undefined ? {} : { remote: remoteOf(socket) });
      // Node leaves a handshake that has timed out, or was broken off, as it is.
      socket.destroy();
    });
    net.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    // Such as EMFILE at accept: this connection fails, the next may not.
    net.on('error', (error) => {
      if (net.listening) this.#report(error, {});
    });
    return net;
  }

  #accept(socket: Socket): void {
    if (this.#closing !== undefined) {
      socket.destroy();
      return;
    }
    const remote = remoteOf(socket);
    const transport = new SocketTransport(socket, remote, this.#options.keepAliveInterval);
    const watched = this.#recorder?.watch(transport) ?? transport;
    const connection = new Connection(watched, this.#limits, 2, this.#allOutput);
    const peer = new Session(connection, this.#context, this.#admission(socket, remote));
    this.#peers.add(peer);
    peer.start();
  }

  #admission(socket: Socket, remote: string): Admission | undefined {
    const { authorize } = this.#options;
    if (authorize === undefined) return undefined;
    return new Admission(authorize, connectionInfo(socket, remote), (error) =>
      this.#report(error, { remote }),
    );
  }

  #forget(peer: Session): void {
    this.#peers.delete(peer);
    this.#pastStreams.push(...streamRows(peer, new Map()));
    this.#pastStreams = this.#pastStreams.slice(-PAST_STREAMS);
    if (this.#peers.size === 0) this.#onAllGone();
  }

  /** Peers that have said nothing for long are asked, and dropped when they do not answer. */
  #checkPeers(): void {
    for (const peer of this.#peers) peer.checkAlive();
  }

  /**
   * First the requests in flight may finish; then they are answered with an error; then workers that do not answer are
   * ended, and with them what ran there; at last the connections of peers that do not read.
   */
  async #shutDown(graceMs: number): Promise<void> {
    clearInterval(this.#keepAlive);
    // What has begun to listen does so, and only then can be closed.
    if (!this.#net.listening) await this.#starting?.catch(() => undefined);
    const closed = this.#net.listening ? once(this.#net, 'close') : Promise.resolve();
    if (this.#net.listening) this.#net.close();
    for (const peer of this.#peers) peer.drain(CLOSING);
    if (!(await this.#allGone(graceMs))) {
      for (const peer of this.#peers) peer.stop(CLOSING);
      const gone = await this.#allGone(FORCE_TIME);
      await this.#closeLanes();
      if (!gone) await this.#allGone(FORCE_TIME);
    } else await this.#closeLanes();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
    await this.#recorder?.close();
  }

  async #closeLanes(): Promise<void> {
    if (this.#ownsLanes) await this.#pool.close();
  }

  /** Whether all connections are closed within `ms`. */
  async #allGone(ms: number): Promise<boolean> {
    if (this.#peers.size === 0) return true;
    const gone = new Promise<void>((resolve) => {
      this.#onAllGone = resolve;
    });
    return within(gone, ms);
  }
}

const CLOSING = 'server is shutting down';
/** How long each forced step of a shutdown may take, in milliseconds. */
const FORCE_TIME = 1000;

function remoteOf(socket: Socket): string {
  return socket.remoteAddress === undefined ? 'unix' : `${socket.remoteAddress}:${socket.remotePort}`;
}

function connectionInfo(socket: Socket, remote: string): ConnectionInfo {
  if (!(socket instanceof TLSSocket)) return { remote, certificateVerified: false };
  const peerCertificate = socket.getPeerCertificate();
  // Without a certificate it is an empty object.
  const has = peerCertificate !== null && Object.keys(peerCertificate).length > 0;
  return { remote, certificateVerified: socket.authorized, ...(has && { peerCertificate }) };
}

/** What an error hook itself throws must not meet the code that reports. */
function reporter(onError: ServerOptions['onError']): NonNullable<ServerOptions['onError']> {
  return (error, about) => {
    try {
      onError?.(error, about);
    } catch (thrown) {
      process.emitWarning(`onError threw: ${thrown}`);
    }
  };
}

/** Rows of closed connections that stats() still shows. */
const PAST_STREAMS = 64;

function streamRows(peer: Session, cpuBySlot: ReadonlyMap<string, number>): StreamRow[] {
  const { remote } = peer.connection;
  return peer.router.figures().map((figures) => ({
    ...figures,
    remote,
    cpuSeconds: cpuBySlot.get(`${figures.lane}/${figures.slot}`) ?? 0,
  }));
}

/**
 * Level and window for each profile: what was asked for where the profile has such ones, else its own default, for it
 * is the client that says which profile it decodes.
 * @throws RangeError when no profile, or not the one that was chosen, has such a level and window.
 */
function encoderOptions(codecs: CodecRegistry, chosen: string | undefined, asked: EncoderOptions) {
  const byProfile = new Map<string, EncoderOptions>();
  let problem: unknown;
  let fits = false;
  for (const profile of codecs.encodable()) {
    const counts = profile !== IDENTITY && (chosen === undefined || chosen === profile);
    try {
      codecs.get(profile)?.createEncoder?.(asked).close();
      byProfile.set(profile, asked);
      fits ||= counts;
    } catch (error) {
      byProfile.set(profile, {});
      if (counts) problem ??= error;
    }
  }
  if (problem !== undefined && !fits) throw problem;
  return byProfile;
}

/** Makes a server; it serves once {@link Server.listen} is called. */
export function createServer(options?: ServerOptions): Server {
  return new Server(options);
}
