/** The server: listens, owns the lanes, the commands and the cache, and makes a peer of every client. */

import { once } from 'node:events';
import { createServer as createNetServer, type Server as NetServer, type Socket } from 'node:net';
import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { type CommandDefinition, CommandTable, echo } from './commands.ts';
import { Connection } from './connection.ts';
import type { EncoderOptions } from './encoding/codec.ts';
import { nativeCodecs } from './encoding/native.ts';
import { CodecRegistry } from './encoding/registry.ts';
import { fileCommands } from './files/index.ts';
import { ResponseCache } from './lanes/cache.ts';
import { defaultStreams, makePolicy, POLICY_NAMES, type Policy, type PolicyName } from './lanes/policy.ts';
import { LanePool } from './lanes/pool.ts';
import type { StreamFigures } from './lanes/router.ts';
import { EXTENSIONS, Peer, type PeerContext } from './peer.ts';
import type { CommandRequest } from './reactor/command.ts';
import { SocketTransport } from './transport/socket.ts';
import { DEFAULT_FRAME_SIZE } from './wire/frame.ts';
import { DEFAULT_LIMITS, type Limits } from './wire/limits.ts';

export interface ServerOptions {
  /** Commands by name, beside the built-in `capabilities` and `echo`. */
  commands?: Record<string, CommandDefinition>;
  /** Folder that `files.list`, `files.get` and `files.stat` serve; without it there are no such commands. */
  root?: string;
  /** Worker threads; default: the cores of the machine. */
  workers?: number;
  /** Which stream answers a request; default `shared`. */
  policy?: PolicyName | Policy;
  /** Response streams per connection, 1 … 12; default by policy. */
  streams?: number;
  /** Encoding of responses for clients that can decode it; default: the client's first choice. */
  profile?: string;
  /** Compression level in the profile's own scale. */
  level?: number;
  /** Base-2 logarithm of the compression window. */
  windowLog?: number;
  /** Budget of the cache of compressed outputs in bytes; 0: none; default 64 MiB. */
  cacheBytes?: number;
  /** zstd level for cached outputs; default 9. */
  cacheLevel?: number;
  /** Most payload bytes of a frame before encoding; default 32 768. */
  frameSize?: number;
  /** Hold all output until the client has ended its input (protocol.md A6). */
  halfDuplex?: boolean;
  limits?: Partial<Limits>;
  /** Told of handlers' exceptions, broken connections and dead workers; default: nobody is. */
  onError?: (error: unknown, about: { command?: string; remote?: string; lane?: number }) => void;
}

/** With the plain streams and the cache streams that makes the 16 which a peer takes by default (B-limits). */
const MAX_STREAMS = 12;

const count = z.int().min(1);
const OPTIONS = z.strictObject({
  commands: z.record(z.string().min(1), z.any()).default({}),
  root: z.string().optional(),
  workers: count.max(256).default(availableParallelism()),
  policy: z
    .union([z.enum(POLICY_NAMES), z.custom<Policy>((value) => typeof value === 'function')])
    .default('shared'),
  streams: count.max(MAX_STREAMS).optional(),
  profile: z.string().optional(),
  level: z.int().optional(),
  windowLog: z.int().min(9).max(23).optional(),
  cacheBytes: z
    .int()
    .min(0)
    .default(64 << 20),
  cacheLevel: z.int().min(1).max(19).default(9),
  frameSize: count.max(DEFAULT_FRAME_SIZE).default(DEFAULT_FRAME_SIZE),
  halfDuplex: z.boolean().default(false),
  limits: z
    .strictObject(Object.fromEntries(Object.keys(DEFAULT_LIMITS).map((name) => [name, count.optional()])))
    .default({}),
  onError: z.custom<NonNullable<ServerOptions['onError']>>((value) => typeof value === 'function').optional(),
});

/** Where a server listens. */
export type Address = { host: string; port: number } | { path: string };

export interface ServerStats {
  lanes: LaneRow[];
  streams: StreamRow[];
  cache: { entries: number; bytes: number; hits: number; misses: number };
  connections: number;
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
  readonly #pool: LanePool;
  readonly #cache: ResponseCache;
  readonly #limits: Limits;
  readonly #context: PeerContext;
  readonly #peers = new Set<Peer>();
  /** Rows of connections that have closed, the newest last. */
  #pastStreams: StreamRow[] = [];
  #address: Address | undefined;
  #closing: Promise<void> | undefined;

  /** @throws Error that names the option which is wrong. */
  constructor(options: ServerOptions = {}) {
    const checked = checkOptions(options);
    const codecs = new CodecRegistry(nativeCodecs());
    const { workers, policy, profile } = checked;
    const encodable = codecs.encodable();
    if (profile !== undefined && !encodable.includes(profile)) {
      throw new Error(`unknown profile '${profile}': this runtime encodes ${encodable.join(', ')}`);
    }
    const report = (error: unknown, about: { command?: string; remote?: string; lane?: number }) =>
      checked.onError?.(error, about);
    this.#limits = { ...DEFAULT_LIMITS, ...checked.limits } as Limits;
    this.#cache = new ResponseCache(checked.cacheBytes);
    const commands = this.#makeCommands(checked, encodable, codecs.profiles());
    this.#pool = new LanePool({
      workers,
      handlers: commands.modules,
      cacheLevel: checked.cacheLevel,
      onLost: (lane, error) => report(error, { lane }),
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
        streams: checked.streams ?? Math.min(MAX_STREAMS, defaultStreams(policy, workers)),
        profile,
        encoderOptions: encoderOptions(codecs, profile ?? encodable[0], checked),
        frameSize: checked.frameSize,
      },
      halfDuplex: checked.halfDuplex,
      report,
      closed: (peer) => this.#forget(peer),
    };
    this.#net = createNetServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) =>
      this.#accept(socket),
    );
  }

  /** Where the server listens, once it does. */
  get address(): Address | undefined {
    return this.#address;
  }

  /** Listens on TCP (`port` 0: a free one) or on a Unix socket. @throws what the system says, such as EADDRINUSE. */
  async listen(where: { host?: string; port?: number } | { path: string } = {}): Promise<Address> {
    const target = 'path' in where ? where : { host: where.host ?? '127.0.0.1', port: where.port ?? 0 };
    this.#net.listen(target);
    await once(this.#net, 'listening');
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
    return {
      lanes: rows,
      streams: [...this.#pastStreams, ...open],
      cache: { entries, bytes, hits, misses },
      connections: this.#peers.size,
    };
  }

  #makeCommands(options: ServerOptions, encodable: string[], decodable: string[]): CommandTable {
    const commands = new CommandTable();
    commands.add('echo', echo);
    const files = options.root === undefined ? {} : fileCommands(options.root);
    for (const [name, definition] of Object.entries({ ...files, ...options.commands })) {
      commands.add(name, definition);
    }
    const limits = this.#limits;
    commands.add('capabilities', (_request: CommandRequest) =>
      JSON.stringify({
        commands: commands.names,
        profiles: { encode: encodable, decode: decodable },
        limits,
        extensions: EXTENSIONS,
      }),
    );
    return commands;
  }

  #accept(socket: Socket): void {
    if (this.#closing !== undefined) {
      socket.destroy();
      return;
    }
    const remote =
      socket.remoteAddress === undefined ? 'unix' : `${socket.remoteAddress}:${socket.remotePort}`;
    const connection = new Connection(new SocketTransport(socket, remote), this.#limits, 2);
    const peer = new Peer(connection, this.#context);
    this.#peers.add(peer);
    connection.start(peer);
  }

  #forget(peer: Peer): void {
    this.#peers.delete(peer);
    this.#pastStreams.push(...streamRows(peer, new Map()));
    this.#pastStreams = this.#pastStreams.slice(-PAST_STREAMS);
  }

  async #shutDown(graceMs: number): Promise<void> {
    const closed = this.#net.listening ? once(this.#net, 'close') : Promise.resolve();
    if (this.#net.listening) this.#net.close();
    for (const peer of this.#peers) peer.drain('server is shutting down');
    const force = setTimeout(() => {
      for (const peer of this.#peers) peer.connection.destroy();
    }, graceMs);
    await closed;
    clearTimeout(force);
    await this.#pool.close();
  }
}

/** Rows of closed connections that stats() still shows. */
const PAST_STREAMS = 64;

function streamRows(peer: Peer, cpuBySlot: ReadonlyMap<string, number>): StreamRow[] {
  const { remote } = peer.connection;
  return peer.router.figures().map((figures) => ({
    ...figures,
    remote,
    cpuSeconds: cpuBySlot.get(`${figures.lane}/${figures.slot}`) ?? 0,
  }));
}

/**
 * Level and window for each profile: what was asked for where the profile has such a one, else its own default, for
 * it is the client that says which profile it decodes.
 * @throws Error when even `preferred` has no such level or window.
 */
function encoderOptions(codecs: CodecRegistry, preferred: string, asked: EncoderOptions) {
  const { level, windowLog } = asked;
  const byProfile = new Map<string, EncoderOptions>();
  for (const profile of codecs.encodable()) {
    try {
      codecs.get(profile)?.createEncoder?.({ level, windowLog }).close();
      byProfile.set(profile, { level, windowLog });
    } catch (error) {
      if (profile === preferred) throw new Error(`profile ${profile}: ${(error as Error).message}`);
      byProfile.set(profile, {});
    }
  }
  return byProfile;
}

function checkOptions(options: ServerOptions) {
  const result = OPTIONS.safeParse(options);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const at = issue.path.length > 0 ? `option ${issue.path.join('.')}: ` : '';
  throw new Error(`${at}${issue.message}`);
}

/** Makes a server; it serves once {@link Server.listen} is called. */
export function createServer(options?: ServerOptions): Server {
  return new Server(options);
}
