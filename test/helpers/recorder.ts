/** A TCP proxy between a client and a server that keeps what went over it, and looks at every encoded stream thrice. */

import { connect as connectSocket, createServer as createNetServer, type Socket } from 'node:net';
import zlib from 'node:zlib';
import type { ExecutionContext } from 'ava';
import { Decompress } from 'fzstd';
import { Inflate } from 'pako';
import { nativeCodecs } from '../../src/encoding/native.ts';
import { portableCodecs } from '../../src/encoding/portable.ts';
import { CodecRegistry } from '../../src/encoding/registry.ts';
import { type Frame, FrameType, StreamFlag } from '../../src/wire/frame.ts';
import { DEFAULT_LIMITS } from '../../src/wire/limits.ts';
import { decodeStreamSettings } from '../../src/wire/payloads.ts';
import { Splitter } from '../../src/wire/splitter.ts';
import { ZstdStructure } from '../independent/client.ts';
import { concat } from './samples.ts';
import { listening, Watch } from './serving.ts';

/** What went one way over one connection. */
export class Direction {
  readonly frames: Frame[] = [];
  readonly #watch = new Watch();
  readonly #splitter = new Splitter({
    maxPayload: 0xff_ffff,
    onFrame: (frame) => {
      this.frames.push({ ...frame, payload: frame.payload.slice() });
    },
  });

  push(chunk: Uint8Array): void {
    this.#splitter.push(chunk);
    this.#watch.changed();
  }

  /** The first frame, past or future, that `wanted` says yes to. */
  frame(wanted: (frame: Frame) => boolean): Promise<Frame> {
    return this.#watch.until(() => this.frames.find(wanted));
  }
}

export interface RecordedConnection {
  readonly toServer: Direction;
  readonly toClient: Direction;
}

export interface Recorder {
  /** Where clients connect instead of to the server. */
  readonly address: { host: string; port: number };
  readonly connections: RecordedConnection[];
}

/** A recorder before a server, for the length of one test. */
export async function recording(
  t: ExecutionContext<unknown>,
  server: { host: string; port: number },
): Promise<Recorder> {
  const connections: RecordedConnection[] = [];
  const sockets = new Set<Socket>();
  const proxy = createNetServer({ allowHalfOpen: true }, (client) => {
    const toServer = new Direction();
    const toClient = new Direction();
    connections.push({ toServer, toClient });
    const upstream = connectSocket({ ...server, allowHalfOpen: true });
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on('data', (chunk: Buffer) => toServer.push(chunk));
    upstream.on('data', (chunk: Buffer) => toClient.push(chunk));
    client.pipe(upstream);
    upstream.pipe(client);
  });
  const port = await listening(proxy);
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => proxy.close(resolve));
  });
  return { address: { host: '127.0.0.1', port }, connections };
}

/** The life of a stream, from its begin frame to its end, its next begin, or the end of the recording. */
export interface StreamLife {
  readonly streamId: number;
  readonly profile: string;
  readonly settings: Uint8Array;
  /** Payloads of the encoded frames, in order. */
  readonly payloads: Uint8Array[];
  frames: number;
  ended: boolean;
}

/** The lives of all streams that went one way. @throws Error on a frame of a stream that is not open. */
export function livesOf(frames: readonly Frame[]): StreamLife[] {
  const lives: StreamLife[] = [];
  const open = new Map<number, StreamLife>();
  for (const { streamId, streamFlags, type, payload } of frames) {
    if ((streamFlags & StreamFlag.begin) !== 0) {
      const { profile, bytes } =
        type === FrameType.streamSettings
          ? decodeStreamSettings(payload)
          : { profile: 'identity', bytes: new Uint8Array(0) };
      const begun = { streamId, profile, settings: bytes, payloads: [], frames: 0, ended: false };
      open.set(streamId, begun);
      lives.push(begun);
    }
    const life = open.get(streamId);
    if (life === undefined) throw new Error(`a frame on stream ${streamId}, which is not open`);
    life.frames++;
    if ((streamFlags & StreamFlag.encoded) !== 0) life.payloads.push(payload);
    if ((streamFlags & StreamFlag.end) !== 0) {
      life.ended = true;
      open.delete(streamId);
    }
  }
  return lives;
}

/** The most streams that were open at once. */
export function mostOpen(frames: readonly Frame[]): number {
  const open = new Set<number>();
  let most = 0;
  for (const { streamId, streamFlags } of frames) {
    open.add(streamId);
    most = Math.max(most, open.size);
    if ((streamFlags & StreamFlag.end) !== 0) open.delete(streamId);
  }
  return most;
}

const NATIVE = new CodecRegistry(nativeCodecs());
const PORTABLE = new CodecRegistry(portableCodecs());

/**
 * Decodes every encoded stream of the recording by our two decoders, by fzstd or pako and by the public interface of
 * node:zlib, and compares what they make of it. Returns the number of encoded frames.
 */
export async function decodeThreeWays(
  t: ExecutionContext<unknown>,
  ...directions: readonly Direction[]
): Promise<number> {
  let frames = 0;
  for (const life of directions.flatMap((direction) => livesOf(direction.frames))) {
    if (life.profile === 'identity' || life.payloads.length === 0) continue;
    const name = `stream ${life.streamId}, ${life.profile}, ${life.payloads.length} encoded frames`;
    const native = ours(NATIVE, life);
    t.deepEqual(ours(PORTABLE, life).map(lengthOf), native.map(lengthOf), `${name}: portable codecs`);
    const whole = concat(native);
    t.true(same(concat(ours(PORTABLE, life)), whole), `${name}: portable codecs`);
    t.true(same(await byNode(life), whole), `${name}: node:zlib`);
    if (life.profile === 'zlib') t.true(same(byPako(life), whole), `${name}: pako`);
    else {
      const { bytes, mayLag } = byFzstd(life);
      t.true(same(bytes, whole.subarray(0, bytes.length)), `${name}: fzstd`);
      if (!mayLag) t.is(bytes.length, whole.length, `${name}: fzstd has all`);
    }
    frames += life.payloads.length;
  }
  return frames;
}

function lengthOf(bytes: Uint8Array): number {
  return bytes.length;
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function ours(codecs: CodecRegistry, { profile, settings, payloads }: StreamLife): Uint8Array[] {
  const codec = codecs.get(profile);
  if (codec === undefined) throw new Error(`no codec for ${profile}`);
  const decoder = codec.createDecoder(DEFAULT_LIMITS, settings);
  try {
    return payloads.map((payload) => decoder.decode(payload).slice());
  } finally {
    decoder.close();
  }
}

async function byNode({ profile, payloads }: StreamLife): Promise<Uint8Array> {
  const stream = profile === 'zlib' ? zlib.createInflate() : zlib.createZstdDecompress();
  const chunks: Uint8Array[] = [];
  stream.on('data', (chunk: Uint8Array) => chunks.push(chunk));
  try {
    for (const payload of payloads) {
      await new Promise<void>((resolve, reject) => {
        stream.once('error', reject);
        stream.write(payload, () => {
          stream.off('error', reject);
          resolve();
        });
      });
    }
    await new Promise((resolve) => setImmediate(resolve));
    return concat(chunks);
  } finally {
    stream.destroy();
  }
}

function byPako({ payloads }: StreamLife): Uint8Array {
  const chunks: Uint8Array[] = [];
  const inflate = new Inflate();
  inflate.onData = (chunk) => {
    chunks.push(chunk as Uint8Array);
  };
  for (const payload of payloads) {
    inflate.push(payload, 2);
    if (inflate.err !== 0) throw new Error(`pako: ${inflate.msg}`);
  }
  return concat(chunks);
}

/** fzstd looks at nothing before it has the first 18 bytes of a zstd frame. */
function byFzstd({ payloads }: StreamLife): { bytes: Uint8Array; mayLag: boolean } {
  const chunks: Uint8Array[] = [];
  const decompress = new Decompress((chunk) => {
    chunks.push(chunk);
  });
  const structure = new ZstdStructure();
  for (const payload of payloads) {
    structure.follow(Buffer.from(payload));
    // fzstd keeps and changes what it is given.
    decompress.push(payload.slice());
  }
  return { bytes: concat(chunks), mayLag: structure.sinceFrameStart < 18 };
}
