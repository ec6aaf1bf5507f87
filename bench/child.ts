/**
 * The process that proc.ts starts: it is a server or a client of one peer, and does what it is asked over IPC. It ends
 * with its parent.
 */
import { subscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { serveOperations } from '../src/experiment/process/operations.ts';
import { type Threads, threadsOf } from './cgroup.ts';
import { Load, type LoadMark, type LoadShape } from './load.ts';
import { makePayloads, type PayloadSpec } from './payloads.ts';
import { findPeer } from './peers/index.ts';
import type { Connection, PeerOptions, Served } from './peers/peer.ts';
import { type Usage, usage, watchWorkers } from './usage.ts';

export interface Operations {
  serve(peer: string, payloads: PayloadSpec, options: PeerOptions): Promise<{ port: number; rss: number }>;
  connect(
    peer: string,
    payloads: PayloadSpec,
    options: PeerOptions,
    port: number,
    connections: number,
  ): Promise<void>;
  start(shape: LoadShape): Promise<void>;
  /** What was received since the last mark, wire bytes included. */
  mark(): Promise<LoadMark & { wireBytes: number }>;
  stop(): Promise<void>;
  /** One request on each connection. */
  touch(): Promise<void>;
  /** Collects garbage, so that resident memory is what is in use. */
  settle(): Promise<void>;
  usage(): Promise<Usage>;
  /** Which threads work here, on Linux. */
  threads(): Promise<Threads>;
}

let served: Served | undefined;
const connections: Connection[] = [];
let load: Load | undefined;
let wireBytesBefore = 0;

/** Every socket that a client opened, whichever library did. */
const sockets: Socket[] = [];
subscribe('net.client.socket', (message) => {
  sockets.push((message as { socket: Socket }).socket);
});
watchWorkers();

const operations: Operations = {
  async serve(peer, payloadSpec, options) {
    const { serve } = await findPeer(peer);
    const payloads = makePayloads(payloadSpec);
    const { rss } = process.memoryUsage();
    served = await serve(payloads, options);
    return { port: served.port, rss };
  },
  async connect(peer, payloadSpec, options, port, count) {
    const payloads = makePayloads(payloadSpec);
    const { connect } = await findPeer(peer);
    for (let i = 0; i < count; i++) connections.push(await connect(port, options));
    load = new Load(connections, payloads);
  },
  async start(shape) {
    load?.start(shape);
  },
  async mark() {
    if (load === undefined) throw new Error('not connected');
    const wireBytes = sockets.reduce((sum, socket) => sum + socket.bytesRead, 0);
    const mark = { ...load.mark(), wireBytes: wireBytes - wireBytesBefore };
    wireBytesBefore = wireBytes;
    return mark;
  },
  async stop() {
    await load?.stop();
  },
  async touch() {
    await Promise.all(connections.map((connection, i) => connection.fetch(i)));
  },
  async settle() {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    for (let i = 0; i < 3; i++) {
      collect();
      await delay(100);
    }
  },
  async usage() {
    const encodedFrames = await served?.encodedFrames?.();
    const all = await usage(served?.outsideCpu?.());
    return { ...all, encodedFrames, peakRss: served?.outsidePeakRss?.() ?? all.peakRss };
  },
  async threads() {
    return threadsOf(process.pid);
  },
};

serveOperations(operations, async () => {
  await Promise.all(connections.map((connection) => connection.close()));
  await served?.close();
});
