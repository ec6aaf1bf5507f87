/**
 * The process of the bench `topics`: a server that publishes at a pace, or the client that has all subscribers. Both take the
 * time from the same clock of the machine.
 */
import { subscribe as subscribeTo } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { constants, deflateRawSync } from 'node:zlib';
import { WebSocket, WebSocketServer } from 'ws';
import { serveOperations } from '../src/experiment/process/operations.ts';
import { type Client, connect, createServer } from '../src/index.ts';
import { type FeedName, makeFeed } from './feeds.ts';
import { CONNECT_MS } from './peers/peer.ts';
import { Latency } from './stats.ts';
import { type Usage, usage, watchWorkers } from './usage.ts';

export type TopicPeer = 'millrace' | 'ws + deflate' | 'ws' | 'ws, one prepared frame';

export interface TopicOperations {
  /** `dictionary`: file of the one that subscriptions use, where the peer uses any. */
  serve(peer: TopicPeer, dictionary: string): Promise<number>;
  /** Publishes at `rate` messages a second for `seconds`; gives when each went out, in milliseconds since the epoch. */
  publish(feed: FeedName, seed: number, rate: number, seconds: number): Promise<number[]>;
  usage(): Promise<Usage>;
  /** Calls of encoders so far. */
  encodes(): Promise<number>;
  /** Bytes of the main thread's heap and beside it, without garbage. */
  settledMemory(): Promise<number>;
  connect(peer: TopicPeer, port: number, count: number, subscribes: boolean): Promise<void>;
  /** All of ours that do not yet, subscribe. */
  subscribe(): Promise<void>;
  /** The first so many connections read nothing from now on. */
  stall(count: number): Promise<void>;
  /** All read again. */
  readOn(): Promise<void>;
  /** So many subscribers a second leave, and as many come; until the process ends. */
  churn(perSecond: number): Promise<void>;
  /** What came since the last mark, and what subscribers were told that they have lost. */
  mark(): Promise<{ received: number; lost: number; wireBytes: number }>;
  /** Waits until all but the first `skipped` connections have had `each` messages since the mark. @throws Error when no more come. */
  arrived(each: number, skipped: number): Promise<void>;
  /** Of all that came since the mark, but on the first `skipped` connections: `times` says when each message went out. */
  latency(times: readonly number[], skipped: number): Promise<{ p50: number; p99: number; count: number }>;
}

/** Between two looks at what has come, and so long without any more of it a message is missing; milliseconds. */
const LOOK_MS = 20;
const PATIENCE_MS = 60_000;

const now = () => performance.timeOrigin + performance.now();
const sockets: Socket[] = [];
subscribeTo('net.client.socket', (message) => {
  sockets.push((message as { socket: Socket }).socket);
});
watchWorkers();

let send: (message: Buffer) => void = () => undefined;
let encodes: () => Promise<number> = async () => 0;
let close: () => unknown = () => undefined;

const servers: Record<TopicPeer, (dictionary: string) => Promise<number>> = {
  async millrace(file) {
    const dictionaries = [{ file, commands: ['subscribe'] }];
    const server = createServer({ workers: 1, dictionaries });
    const topic = server.topic('feed');
    const { port } = (await server.listen()) as { port: number };
    send = (message) => void topic.publish(message);
    encodes = async () => (await server.stats()).topics[0]!.encodes;
    close = () => server.close(0);
    return port;
  },
  'ws + deflate': () => serveWebSockets({ threshold: 0 }, (socket, message) => socket.send(message)),
  ws: () => serveWebSockets(false, (socket, message) => socket.send(message)),
  'ws, one prepared frame': () => {
    let prepared: { message: Buffer; frame: Buffer } | undefined;
    return serveWebSockets({ threshold: 0 }, (socket, message) => {
      if (prepared?.message !== message) prepared = { message, frame: preparedFrame(message) };
      (socket as unknown as { _socket: Socket })._socket.write(prepared.frame);
    });
  },
};

async function serveWebSockets(
  perMessageDeflate: false | object,
  sendTo: (socket: WebSocket, message: Buffer) => void,
): Promise<number> {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate });
  await new Promise((resolve) => server.once('listening', resolve));
  send = (message) => {
    for (const socket of server.clients) sendTo(socket, message);
  };
  close = () => {
    for (const socket of server.clients) socket.terminate();
    server.close();
  };
  return (server.address() as { port: number }).port;
}

/** A binary message that stands alone, compressed (RFC 7692): the same frame for every socket. */
function preparedFrame(message: Buffer): Buffer {
  const payload = deflateRawSync(message, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4);
  const head =
    payload.length < 126
      ? Buffer.of(0xc2, payload.length)
      : Buffer.of(0xc2, 126, payload.length >> 8, payload.length);
  return Buffer.concat([head, payload]);
}

// ------------------------------------------------------------------------------------------------- the client

/** When messages came, by connection, since the mark; not a number: it was lost. */
const arrivals: number[][] = [];
const leave: (() => void)[] = [];
/** Clients that have not subscribed. */
const silent: Client[] = [];
let received = 0;
let lost = 0;
let wireBefore = 0;

const connectors: Record<string, (port: number, subscribes: boolean) => Promise<void>> = {
  async millrace(port, subscribes) {
    const client = await connect({ port }, { timeoutMs: CONNECT_MS });
    while (client.stats().dictionaries.length === 0) await client.ping();
    if (subscribes) await follow(client, track());
    else silent.push(client);
  },
};

function track(): number[] {
  const times: number[] = [];
  arrivals.push(times);
  return times;
}

/** Resolves once it is subscribed: what is asked after it has been answered. */
async function follow(client: Client, times: number[]): Promise<void> {
  const onGap = (gap: { lost: number }) => {
    lost += gap.lost;
    for (let i = 0; i < gap.lost; i++) times.push(Number.NaN);
  };
  const subscription = client.subscribe('feed', { onGap });
  leave.push(() => {
    subscription.cancel();
    void follow(client, times);
  });
  void (async () => {
    for await (const _ of subscription) {
      received++;
      times.push(now());
    }
  })().catch(() => undefined);
  await client.ping();
}

async function connectWebSocket(port: number, deflate: boolean): Promise<void> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: deflate && { threshold: 0 } });
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  const times = track();
  socket.on('message', () => {
    received++;
    times.push(now());
  });
}

const operations: TopicOperations = {
  serve: (peer, dictionary) => servers[peer](dictionary),
  async publish(feed, seed, rate, seconds) {
    const next = makeFeed(feed, seed);
    const times: number[] = [];
    const began = performance.now();
    while (times.length < rate * seconds) {
      const due = began + (times.length * 1000) / rate;
      const waitMs = due - performance.now();
      if (waitMs > 0) await delay(waitMs);
      times.push(now());
      send(next());
    }
    return times;
  },
  usage: () => usage(),
  encodes: () => encodes(),
  async settledMemory() {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    for (let i = 0; i < 3; i++) {
      collect();
      await delay(100);
    }
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  },
  async connect(peer, port, count, subscribes) {
    for (let i = 0; i < count; i++) {
      if (peer === 'millrace') await connectors.millrace!(port, subscribes);
      else await connectWebSocket(port, peer !== 'ws');
    }
  },
  async subscribe() {
    for (const client of silent.splice(0)) await follow(client, track());
  },
  async stall(count) {
    for (const socket of sockets.slice(0, count)) socket.pause();
  },
  async readOn() {
    for (const socket of sockets) socket.resume();
  },
  async churn(perSecond) {
    setInterval(
      () => leave.splice(Math.floor(Math.random() * leave.length), 1)[0]?.(),
      1000 / perSecond,
    ).unref();
  },
  async mark() {
    const wire = sockets.reduce((sum, socket) => sum + socket.bytesRead, 0);
    const marked = { received, lost, wireBytes: wire - wireBefore };
    wireBefore = wire;
    received = 0;
    lost = 0;
    for (const times of arrivals) times.length = 0;
    return marked;
  },
  async arrived(each, skipped) {
    const missing = () =>
      arrivals.slice(skipped).reduce((sum, { length }) => sum + Math.max(0, each - length), 0);
    let before = missing();
    for (let sinceMs = performance.now(); before > 0; await delay(LOOK_MS)) {
      const left = missing();
      if (left < before) sinceMs = performance.now();
      else if (performance.now() - sinceMs > PATIENCE_MS) throw new Error(`${left} messages did not come`);
      before = left;
    }
  },
  async latency(times, skipped) {
    const latency = new Latency();
    for (const each of arrivals.slice(skipped))
      for (const [i, at] of each.entries()) if (!Number.isNaN(at)) latency.record(at - times[i]!);
    const { p50, p99, count } = latency.summary();
    return { p50, p99, count };
  },
};

serveOperations(operations, async () => close());
