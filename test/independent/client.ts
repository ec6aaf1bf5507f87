// A raw client written from the protocol document alone: it shares no code with src/, so that a misreading there
// cannot hide behind the same misreading here. Every frame that arrives is held against the document; whatever does
// not fit is collected in `violations`.
import { type ChildProcess, spawn } from 'node:child_process';
import net from 'node:net';
import path from 'node:path';
import zlib from 'node:zlib';
import { Decompress } from 'fzstd';
import { Inflate } from 'pako';

export const Type = {
  commandName: 1,
  commandArgument: 2,
  commandData: 3,
  bytesResponse: 4,
  errorResponse: 5,
  textOutput: 6,
  progress: 7,
  streamSettings: 8,
  senderSettings: 9,
  cancel: 10,
  credit: 11,
  ping: 12,
  goaway: 13,
} as const;

export const StreamFlag = { begin: 1, end: 2, encoded: 4 } as const;
export const Name = { eos: 1, haveArgs: 2, haveData: 4 } as const;
export const Arg = { continuation: 1, eoa: 2 } as const;
export const Data = { continuation: 1, eos: 2 } as const;
export const Failure = { protocol: 1, application: 2 } as const;

const WIRE_MAX = 65_535;
const DECODED_MAX = 32_768;
const WINDOW_MAX = 8 * 1024 * 1024;

export interface Part {
  type: number;
  flags: number;
  payload?: Uint8Array | string;
}

export interface RawFrame extends Part {
  request: number;
  stream: number;
  streamFlags: number;
  /** What the header claims, when it is to claim something else than the truth. */
  claimedLength?: number;
}

export interface Frame {
  request: number;
  stream: number;
  begin: boolean;
  end: boolean;
  encoded: boolean;
  type: number;
  flags: number;
  /** After decoding. */
  payload: Buffer;
  wireLength: number;
  /** Which life of which stream: a number that changes with every `begin`. */
  life: number;
  profile: string;
}

export type Outcome =
  | { kind: 'bytes'; body: Buffer }
  | { kind: 'error'; message: string /** Bytes that came before the error. */; body: Buffer };

export function rawFrame(spec: RawFrame): Buffer {
  const payload =
    typeof spec.payload === 'string' ? Buffer.from(spec.payload) : (spec.payload ?? Buffer.alloc(0));
  const header = Buffer.alloc(8);
  header.writeUIntLE(spec.claimedLength ?? payload.length, 0, 3);
  header.writeUInt16LE(spec.request, 3);
  header[5] = spec.stream;
  header[6] = spec.streamFlags;
  header[7] = (spec.type << 4) | spec.flags;
  return Buffer.concat([header, payload]);
}

function bytesOf(value: Uint8Array | string): Buffer {
  return Buffer.from(value as string);
}

export function argumentPayload(
  name: Uint8Array | string,
  value: Uint8Array | string,
  total = bytesOf(value).length,
): Buffer {
  const n = bytesOf(name);
  const head = Buffer.alloc(4);
  head.writeUInt16LE(n.length, 0);
  head.writeUInt16LE(total, 2);
  return Buffer.concat([head, n, bytesOf(value)]);
}

export interface CommandSpec {
  args?: ReadonlyArray<readonly [name: string, value: Uint8Array | string]>;
  /** Each element becomes one command-data frame; absent: no command data at all. */
  data?: ReadonlyArray<Uint8Array | string>;
  /** Leave the command data open: no frame of `data` carries eos. */
  open?: boolean;
  /** Values longer than this are sent in several frames. */
  piece?: number;
}

/** The frames of one command, in order. */
export function commandParts(name: string, spec: CommandSpec = {}): Part[] {
  const args = spec.args ?? [];
  const hasData = spec.data !== undefined || spec.open === true;
  let flags = 0;
  if (args.length > 0) flags |= Name.haveArgs;
  if (hasData) flags |= Name.haveData;
  const parts: Part[] = [{ type: Type.commandName, flags: flags === 0 ? Name.eos : flags, payload: name }];
  for (const [i, [argName, argValue]] of args.entries()) {
    const value = bytesOf(argValue);
    const size = spec.piece ?? 30_000;
    const eoa = i === args.length - 1 ? Arg.eoa : 0;
    for (let at = 0; at === 0 || at < value.length; at += size) {
      const piece = value.subarray(at, at + size);
      const last = at + size >= value.length;
      parts.push({
        type: Type.commandArgument,
        flags: last ? eoa : Arg.continuation,
        payload: at === 0 ? argumentPayload(argName, piece, value.length) : piece,
      });
    }
  }
  const data = spec.data ?? [];
  for (const [i, piece] of data.entries()) parts.push(dataPart(piece, i === data.length - 1 && !spec.open));
  return parts;
}

export function dataPart(payload: Uint8Array | string, eos: boolean): Part {
  return { type: Type.commandData, flags: eos ? Data.eos : Data.continuation, payload };
}

export function settingsPart(settings: object): Part {
  return { type: Type.senderSettings, flags: 0, payload: JSON.stringify(settings) };
}

export function creditPart(bytes: number): Part {
  const payload = Buffer.alloc(4);
  payload.writeUInt32LE(bytes);
  return { type: Type.credit, flags: 0, payload };
}

export function streamSettingsPayload(profile: string, extra: Uint8Array = Buffer.alloc(0)): Buffer {
  return Buffer.concat([Buffer.from([profile.length]), Buffer.from(profile, 'ascii'), extra]);
}

/** One step of the event loop, for a zlib stream to hand over what it has already produced. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** One long-lived encoding context, over node:zlib's public streaming API. */
export class Encoder {
  readonly #stream: zlib.Deflate | zlib.ZstdCompress;
  readonly #flush: number;
  #out: Buffer[] = [];

  constructor(profile: string, windowLog = 20) {
    if (profile === 'zlib') {
      this.#stream = zlib.createDeflate();
      this.#flush = zlib.constants.Z_SYNC_FLUSH;
    } else if (profile === 'zstd-8mb') {
      this.#stream = zlib.createZstdCompress({ params: { [zlib.constants.ZSTD_c_windowLog]: windowLog } });
      this.#flush = zlib.constants.ZSTD_e_flush;
    } else {
      throw new Error(`no encoder for ${profile}`);
    }
    this.#stream.on('data', (chunk: Buffer) => this.#out.push(chunk));
  }

  async encode(bytes: Uint8Array): Promise<Buffer> {
    this.#stream.write(bytes);
    await new Promise<void>((resolve) => this.#stream.flush(this.#flush, () => resolve()));
    await turn();
    return this.#take();
  }

  /** Encode and finish the underlying format. */
  async finish(bytes: Uint8Array): Promise<Buffer> {
    await new Promise<void>((resolve, reject) => {
      this.#stream.once('end', resolve).once('error', reject);
      this.#stream.end(bytes);
    });
    return this.#take();
  }

  close(): void {
    this.#stream.destroy();
  }

  #take(): Buffer {
    const all = Buffer.concat(this.#out);
    this.#out = [];
    return all;
  }
}

/** Follows the structure of RFC 8878 through payloads, without decoding anything. */
export class ZstdStructure {
  #inFrame = false;
  #checksum = false;
  /** Wire bytes since the zstd frame that was begun last. */
  sinceFrameStart = 0;

  /** Throws unless the payload ends where a block or a zstd frame ends and no window is over 8 MiB. */
  follow(payload: Buffer): void {
    let at = 0;
    let countFrom = 0;
    const need = (n: number): void => {
      if (at + n > payload.length) throw new Error('the payload is cut inside a zstd frame header or block');
    };
    while (at < payload.length) {
      if (!this.#inFrame) {
        need(5);
        countFrom = at;
        this.sinceFrameStart = 0;
        const magic = payload.readUInt32LE(at);
        if (magic >= 0x184d2a50 && magic <= 0x184d2a5f) {
          need(8);
          const size = payload.readUInt32LE(at + 4);
          at += 8;
          need(size);
          at += size;
          continue;
        }
        if (magic !== 0xfd2fb528) throw new Error(`not a zstd frame: magic ${magic.toString(16)}`);
        const descriptor = payload[at + 4]!;
        at += 5;
        const single = (descriptor & 0x20) !== 0;
        this.#checksum = (descriptor & 4) !== 0;
        const dictionary = [0, 1, 2, 4][descriptor & 3]!;
        const sizeField = [single ? 1 : 0, 2, 4, 8][descriptor >> 6]!;
        let window = 0;
        if (!single) {
          need(1);
          const base = 2 ** (10 + (payload[at]! >> 3));
          window = base + (base / 8) * (payload[at]! & 7);
          at += 1;
        }
        need(dictionary + sizeField);
        at += dictionary;
        if (single) {
          if (sizeField === 8) window = Number(payload.readBigUInt64LE(at));
          else window = payload.readUIntLE(at, sizeField) + (sizeField === 2 ? 256 : 0);
        }
        at += sizeField;
        if (window > WINDOW_MAX) throw new Error(`a zstd window of ${window} bytes`);
        this.#inFrame = true;
        continue;
      }
      need(3);
      const block = payload.readUIntLE(at, 3);
      at += 3;
      const kind = (block >> 1) & 3;
      if (kind === 3) throw new Error('reserved zstd block type');
      const size = kind === 1 ? 1 : block >> 3;
      need(size);
      at += size;
      if ((block & 1) !== 0) {
        if (this.#checksum) {
          need(4);
          at += 4;
        }
        this.#inFrame = false;
      }
    }
    this.sinceFrameStart += payload.length - countFrom;
  }
}

/** One incoming context, decoded by node:zlib and, next to it, by a second implementation. */
class Decoder {
  readonly #profile: string;
  readonly #stream: zlib.Inflate | zlib.ZstdDecompress;
  #out: Buffer[] = [];
  #error: Error | undefined;
  readonly #pako = new Inflate();
  readonly #fzstd: Decompress;
  readonly #structure = new ZstdStructure();
  #second: Buffer[] = [];
  #behind: Buffer = Buffer.alloc(0);

  constructor(profile: string) {
    this.#profile = profile;
    const chunkSize = 128 * 1024;
    this.#stream =
      profile === 'zlib' ? zlib.createInflate({ chunkSize }) : zlib.createZstdDecompress({ chunkSize });
    this.#stream.on('data', (chunk: Buffer) => this.#out.push(chunk));
    this.#stream.on('error', (error) => {
      this.#error = error;
    });
    this.#pako.onData = (chunk) => {
      this.#second.push(Buffer.from(chunk));
    };
    this.#fzstd = new Decompress((chunk) => {
      this.#second.push(Buffer.from(chunk));
    });
  }

  async decode(payload: Buffer): Promise<Buffer> {
    if (this.#profile === 'zlib' && this.#pako.ended)
      throw new Error('an encoded frame after the zlib stream finished');
    await new Promise<void>((resolve, reject) => {
      const fail = (error: Error): void => reject(error);
      this.#stream.once('error', fail);
      this.#stream.write(payload, () => {
        this.#stream.off('error', fail);
        resolve();
      });
    });
    await turn();
    if (this.#error) throw this.#error;
    const first = Buffer.concat(this.#out);
    this.#out = [];
    if (this.#profile === 'zlib') this.#checkZlib(payload, first);
    else this.#checkZstd(payload, first);
    return first;
  }

  close(): void {
    this.#stream.destroy();
  }

  #checkZlib(payload: Buffer, first: Buffer): void {
    this.#pako.push(payload, 2);
    if (this.#pako.err !== 0) throw new Error(`pako: ${this.#pako.msg}`);
    const second = Buffer.concat(this.#second);
    this.#second = [];
    if (!second.equals(first))
      throw new Error(`pako gives ${second.length} bytes, node:zlib ${first.length}`);
    if (!this.#pako.ended && payload.subarray(-4).toString('hex') !== '0000ffff') {
      throw new Error('a zlib payload that is not cut after a Z_SYNC_FLUSH');
    }
  }

  #checkZstd(payload: Buffer, first: Buffer): void {
    this.#structure.follow(payload);
    this.#fzstd.push(payload);
    const expected = Buffer.concat([this.#behind, first]);
    const second = Buffer.concat(this.#second);
    this.#second = [];
    if (!second.equals(expected.subarray(0, second.length))) throw new Error('fzstd and node:zlib differ');
    this.#behind = expected.subarray(second.length);
    // fzstd itself looks at nothing before it has the first 18 bytes of a zstd frame.
    if (this.#behind.length > 0 && this.#structure.sinceFrameStart >= 18) {
      throw new Error(`fzstd is ${this.#behind.length} bytes behind node:zlib`);
    }
  }
}

interface Incoming {
  life: number;
  profile: string;
  settings: boolean;
  decoder?: Decoder;
}

/** One request under way, from the client's side. */
export class Exchange {
  readonly id: number;
  readonly frames: Frame[] = [];
  readonly outcome: Promise<Outcome>;
  finished = false;
  received = 0;
  readonly #chunks: Buffer[] = [];
  #resolve!: (outcome: Outcome) => void;
  #reject!: (error: Error) => void;

  constructor(id: number) {
    this.id = id;
    this.outcome = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.outcome.catch(() => {});
  }

  get body(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  take(frame: Frame): void {
    this.frames.push(frame);
    if (frame.type === Type.bytesResponse) {
      this.#chunks.push(frame.payload);
      this.received += frame.payload.length;
      if (frame.flags === Data.eos) this.#finish({ kind: 'bytes', body: this.body });
    } else if (frame.type === Type.errorResponse) {
      this.#finish({ kind: 'error', message: frame.payload.toString(), body: this.body });
    }
  }

  abandon(error: Error): void {
    this.#reject(error);
  }

  #finish(outcome: Outcome): void {
    this.finished = true;
    this.#resolve(outcome);
  }
}

export interface ServerSettings {
  contentEncodings?: string[];
  extensions?: string[];
  [key: string]: unknown;
}

/** A ping and what has become of it. */
interface Ping {
  token: Buffer;
  reply?: Frame;
}

interface Waiter {
  probe: () => void;
  closed: (reason: Error) => void;
}

export interface PutOptions {
  begin?: boolean;
  end?: boolean;
}

export interface ConnectOptions {
  /** Sent as sender-settings before anything else; without it the client is a plain part-A peer. */
  settings?: object;
  /** Count as a peer with these settings, but let the test send them. */
  manual?: boolean;
}

export const EXTENSIONS = ['progress', 'sender-settings', 'cancel', 'credit', 'ping', 'goaway'];

export class Client {
  readonly socket: net.Socket;
  readonly frames: Frame[] = [];
  readonly violations: string[] = [];
  readonly plain: boolean;
  readonly protocolErrors: Frame[] = [];
  serverSettings: ServerSettings | undefined;
  /** The server has ended its side, or the connection is gone. */
  ended = false;
  readonly #maxWire: number;
  #buffer: Buffer = Buffer.alloc(0);
  #chain: Promise<void> = Promise.resolve();
  readonly #incoming = new Map<number, Incoming>();
  readonly #open = new Map<number, Exchange>();
  readonly #outgoing = new Map<number, Encoder | undefined>();
  /** Pings without a reply, the oldest first. */
  readonly #pings: Ping[] = [];
  #waiters = new Set<Waiter>();
  #lives = 0;
  #nextRequest = 1;

  private constructor(socket: net.Socket, options: ConnectOptions) {
    this.socket = socket;
    this.plain = options.settings === undefined;
    const limit = (options.settings as { maxFrameSize?: number } | undefined)?.maxFrameSize;
    this.#maxWire = limit ?? WIRE_MAX;
    socket.on('data', (chunk: Buffer) => this.#feed(chunk));
    const finish = (): void => {
      this.#chain = this.#chain.then(() => this.#ended());
    };
    socket.on('end', finish).on('close', finish);
    socket.on('error', () => {});
  }

  static async connect(port: number, options: ConnectOptions = {}): Promise<Client> {
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve).once('error', reject);
    });
    const client = new Client(socket, options);
    if (options.settings !== undefined && !options.manual) {
      client.write(client.put(1, 0, settingsPart(options.settings)));
      await client.until(() => client.serverSettings, "the server's sender-settings");
    }
    return client;
  }

  // ---- what is sent

  /** The next free request ID: 1, 3, 5 …, wrapping, skipping busy ones. */
  nextId(): number {
    while (this.#open.has(this.#nextRequest)) this.#advance();
    const id = this.#nextRequest;
    this.#advance();
    return id;
  }

  /** Goes on counting from this request ID. */
  skipTo(id: number): void {
    this.#nextRequest = id;
  }

  #advance(): void {
    this.#nextRequest = this.#nextRequest === 65_535 ? 1 : this.#nextRequest + 2;
  }

  /** Expect an answer under this ID. */
  expect(id: number): Exchange {
    const exchange = new Exchange(id);
    this.#open.set(id, exchange);
    if (this.ended) exchange.abandon(new Error('the connection has already ended'));
    return exchange;
  }

  /** One unencoded frame; `begin` is set where the stream is not open yet. */
  put(stream: number, request: number, part: Part, options: PutOptions = {}): Buffer {
    return rawFrame({ ...part, request, stream, streamFlags: this.#flags(stream, options) });
  }

  #flags(stream: number, options: PutOptions): number {
    const begin = options.begin ?? !this.#outgoing.has(stream);
    if (begin) this.#outgoing.set(stream, undefined);
    if (options.end) this.#forget(stream);
    return (begin ? StreamFlag.begin : 0) | (options.end ? StreamFlag.end : 0);
  }

  #forget(stream: number): void {
    this.#outgoing.get(stream)?.close();
    this.#outgoing.delete(stream);
  }

  /** Begin (or begin anew) an own stream under a profile: the bytes of its stream-settings frame. */
  beginStream(stream: number, profile: string, request = 0, extra?: Uint8Array): Buffer {
    this.#forget(stream);
    this.#outgoing.set(stream, profile === 'identity' ? undefined : new Encoder(profile));
    return rawFrame({
      request,
      stream,
      streamFlags: StreamFlag.begin,
      type: Type.streamSettings,
      flags: 0,
      payload: streamSettingsPayload(profile, extra),
    });
  }

  /** One frame through the stream's encoder; `finish` also finishes the underlying format. */
  async putEncoded(
    stream: number,
    request: number,
    part: Part,
    options: { end?: boolean; finish?: boolean } = {},
  ): Promise<Buffer> {
    const encoder = this.#outgoing.get(stream);
    if (!encoder) throw new Error(`stream ${stream} has no encoder`);
    const plain = bytesOf(part.payload ?? '');
    const payload = options.finish ? await encoder.finish(plain) : await encoder.encode(plain);
    const streamFlags = StreamFlag.encoded | (options.end ? StreamFlag.end : 0);
    if (options.end) this.#forget(stream);
    return rawFrame({ ...part, payload, request, stream, streamFlags });
  }

  write(...bytes: Uint8Array[]): void {
    if (this.socket.writableEnded) return;
    this.socket.write(bytes.length === 1 ? bytes[0]! : Buffer.concat(bytes));
  }

  /** Each piece its own write, the next one only after the last has been handed to the kernel. */
  async writeInPieces(bytes: Buffer, nextSize: () => number): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const size = nextSize();
      const piece = bytes.subarray(at, at + size);
      await new Promise<void>((resolve, reject) => {
        this.socket.write(piece, (error) => (error ? reject(error) : resolve()));
      });
      at += size;
    }
  }

  /** All frames of one command as bytes, on one stream. */
  commandBytes(id: number, name: string, spec: CommandSpec = {}, stream = 1): Buffer {
    return Buffer.concat(commandParts(name, spec).map((part) => this.put(stream, id, part)));
  }

  /** Send a command at once and expect its answer. */
  start(name: string, spec: CommandSpec = {}, stream = 1, id = this.nextId()): Exchange {
    const exchange = this.expect(id);
    this.write(this.commandBytes(id, name, spec, stream));
    return exchange;
  }

  async call(name: string, spec: CommandSpec = {}, stream = 1): Promise<Outcome> {
    return await this.answer(this.start(name, spec, stream));
  }

  /** The answer to one request, within bounds. */
  async answer(exchange: Exchange): Promise<Outcome> {
    await this.until(() => exchange.finished, `the answer to request ${exchange.id}`);
    return await exchange.outcome;
  }

  /** The body of a response that must be one. */
  async body(exchange: Exchange): Promise<Buffer> {
    const outcome = await this.answer(exchange);
    if (outcome.kind === 'error') throw new Error(`request ${exchange.id}: ${outcome.message}`);
    return outcome.body;
  }

  /** Round trips: ping, then small requests, so that whatever was on its way has had every chance to arrive. */
  async settle(rounds = 4): Promise<void> {
    for (let i = 0; i < rounds; i++) {
      if (!this.plain) await this.ping(Buffer.from(`settle${String(i).padStart(2, '0')}`));
      const word = `round ${i}`;
      const back = await this.body(this.start('echo', { args: [['value', word]] }));
      if (back.toString() !== word) throw new Error(`echo gave ${back.toString()} for ${word}`);
    }
  }

  async ping(token: Buffer): Promise<Frame> {
    const ping: Ping = { token };
    this.#pings.push(ping);
    this.write(this.put(1, 0, { type: Type.ping, flags: 0, payload: token }));
    return await this.until(() => ping.reply, 'the reply to a ping');
  }

  // ---- what is waited for

  /** Resolves with the first truthy value of `probe`, looked at after every event; rejects at the end. */
  until<T>(probe: () => T | undefined | false, what: string): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const settle = (act: () => void): void => {
        this.#waiters.delete(waiter);
        act();
      };
      const waiter: Waiter = {
        probe: () => {
          const value = probe();
          if (value) settle(() => resolve(value));
        },
        closed: (reason) => settle(() => reject(reason)),
      };
      this.#waiters.add(waiter);
      waiter.probe();
      if (this.ended && this.#waiters.has(waiter)) {
        waiter.closed(new Error(`the connection had ended before ${what}; ${this.summary()}`));
      }
    });
  }

  /** Resolves when the server has ended its side and everything before that has been looked at. */
  async untilEnded(): Promise<void> {
    await this.until(() => this.ended, 'the server to close the connection');
  }

  summary(): string {
    const last = this.frames
      .slice(-4)
      .map(
        (f) =>
          `${f.request} ${f.stream} ${f.type}:${f.flags} ${f.payload.subarray(0, 60).toString('latin1')}`,
      );
    return `${this.frames.length} frames, last: [${last.join('; ')}], violations: [${this.violations.join('; ')}]`;
  }

  close(): void {
    for (const stream of this.#outgoing.keys()) this.#outgoing.get(stream)?.close();
    for (const { decoder } of this.#incoming.values()) decoder?.close();
    this.socket.destroy();
  }

  // ---- what is received

  #feed(chunk: Buffer): void {
    this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk]);
    while (this.#buffer.length >= 8) {
      const length = this.#buffer[0]! + 256 * this.#buffer[1]! + 65_536 * this.#buffer[2]!;
      if (this.#buffer.length < 8 + length) break;
      const header = this.#buffer.subarray(0, 8);
      const wire = this.#buffer.subarray(8, 8 + length);
      this.#buffer = this.#buffer.subarray(8 + length);
      this.#chain = this.#chain.then(() => this.#accept(header, wire));
    }
  }

  #ended(): void {
    if (this.ended) return;
    this.ended = true;
    if (this.#buffer.length > 0)
      this.#violation(`${this.#buffer.length} bytes of an unfinished frame at the end`);
    for (const waiter of [...this.#waiters]) {
      waiter.probe();
      if (this.#waiters.has(waiter)) waiter.closed(new Error(`the connection ended; ${this.summary()}`));
    }
    for (const exchange of this.#open.values()) exchange.abandon(new Error('the connection ended'));
  }

  #violation(text: string): void {
    if (this.violations.length < 20) this.violations.push(text);
  }

  async #accept(header: Buffer, wire: Buffer): Promise<void> {
    const streamFlags = header[6]!;
    const frame: Frame = {
      request: header.readUInt16LE(3),
      stream: header[5]!,
      begin: (streamFlags & StreamFlag.begin) !== 0,
      end: (streamFlags & StreamFlag.end) !== 0,
      encoded: (streamFlags & StreamFlag.encoded) !== 0,
      type: header[7]! >> 4,
      flags: header[7]! & 15,
      payload: wire,
      wireLength: wire.length,
      life: 0,
      profile: 'identity',
    };
    const say = (text: string): void =>
      this.#violation(
        `${text} (frame ${this.frames.length}: request ${frame.request} stream ${frame.stream}` +
          ` flags ${streamFlags} type ${frame.type}:${frame.flags} length ${wire.length})`,
      );
    if ((streamFlags & ~7) !== 0) say('an unknown stream flag');
    if (frame.stream === 0 || frame.stream % 2 !== 0) say('a server stream ID that is not even and positive');
    if (wire.length > this.#maxWire) say(`a payload over ${this.#maxWire} bytes`);

    let stream = this.#incoming.get(frame.stream);
    if (frame.begin) {
      stream?.decoder?.close();
      this.#lives += 1;
      stream = { life: this.#lives, profile: 'identity', settings: false };
      this.#incoming.set(frame.stream, stream);
    } else if (!stream) {
      say('a frame on a closed stream without begin');
      stream = { life: -1, profile: 'identity', settings: false };
    }
    frame.life = stream.life;
    if (frame.type === Type.streamSettings) this.#streamSettings(frame, stream, say);
    frame.profile = stream.profile;
    if (frame.encoded && this.plain) say('an encoded frame to a plain peer');
    if (frame.encoded && stream.profile !== 'identity') {
      try {
        stream.decoder ??= new Decoder(stream.profile);
        frame.payload = await stream.decoder.decode(wire);
      } catch (error) {
        say(`an encoded frame that does not decode: ${String(error)}`);
      }
    }
    if (frame.payload.length > DECODED_MAX) say(`${frame.payload.length} bytes before encoding`);
    if (frame.end) {
      stream.decoder?.close();
      this.#incoming.delete(frame.stream);
    }
    this.#interpret(frame, say);
    this.frames.push(frame);
    for (const waiter of [...this.#waiters]) waiter.probe();
  }

  #streamSettings(frame: Frame, stream: Incoming, say: (text: string) => void): void {
    if (this.plain) say('stream-settings to a plain peer');
    if (!frame.begin) say('stream-settings without begin');
    if (frame.encoded) say('encoded stream-settings');
    const n = frame.payload[0] ?? 0;
    if (frame.payload.length < 1 + n || n === 0) {
      say('malformed stream-settings');
      return;
    }
    const extra = frame.payload.subarray(1 + n);
    stream.profile = frame.payload.toString('latin1', 1, 1 + n);
    stream.settings = true;
    if (!['identity', 'zlib', 'zstd-8mb'].includes(stream.profile))
      say(`an unknown profile ${stream.profile}`);
    if (stream.profile !== 'zstd-8mb' && extra.length > 0) say('settings bytes where the profile has none');
    if (stream.profile === 'zstd-8mb' && (extra.length > 1 || (extra[0] ?? 10) > 23))
      say('a window log over 23');
  }

  #takeReply(reply: Frame): void {
    const at = this.#pings.findIndex(({ token }) => reply.payload.equals(token));
    if (at >= 0) this.#pings.splice(at, 1)[0]!.reply = reply;
  }

  #interpret(frame: Frame, say: (text: string) => void): void {
    const { type, flags } = frame;
    if (type > Type.streamSettings || type === Type.progress) {
      if (this.plain) say('a part-C frame to a plain peer');
    }
    const known = this.#open.get(frame.request);
    const active = known !== undefined && !known.finished;
    switch (type) {
      case Type.bytesResponse:
        if (flags !== Data.continuation && flags !== Data.eos) say('not exactly one of continuation and eos');
        if (!active) say('a response to a request that is not active');
        break;
      case Type.errorResponse:
        if (flags !== Failure.protocol && flags !== Failure.application) say('not exactly one error flag');
        if (!frame.payload.equals(Buffer.from(frame.payload.toString('utf8'))))
          say('an error that is not UTF-8');
        if (flags === Failure.protocol) this.protocolErrors.push(frame);
        else if (!active) say('an error for a request that is not active');
        break;
      case Type.textOutput:
        if (flags !== 0) say('flags on text-output');
        if (!active) say('text-output for a request that is not active');
        break;
      case Type.progress:
        if (flags !== 0) say('flags on progress');
        if (frame.request !== 0 && !active) say('progress for a request that is not active');
        break;
      case Type.streamSettings:
        if (flags !== 0) say('flags on stream-settings');
        if (frame.request !== 0 && frame.request % 2 === 0) say('stream-settings under an even request ID');
        break;
      case Type.senderSettings:
        if (flags !== 0 || frame.request !== 0) say('sender-settings with flags or a request ID');
        if (this.frames.length > 0) say('sender-settings that are not the first frame');
        if (frame.payload.length > 4096) say('sender-settings over 4 096 bytes');
        try {
          const settings: unknown = JSON.parse(frame.payload.toString());
          if (typeof settings !== 'object' || settings === null || Array.isArray(settings))
            throw new Error('no object');
          this.serverSettings = settings as ServerSettings;
        } catch (error) {
          say(`sender-settings that are not a JSON object: ${String(error)}`);
        }
        break;
      case Type.ping:
        if (flags > 1 || frame.payload.length !== 8 || frame.request !== 0) say('a malformed ping');
        if (flags === 0) this.write(this.put(1, 0, { type: Type.ping, flags: 1, payload: frame.payload }));
        else this.#takeReply(frame);
        break;
      case Type.goaway:
        if (flags !== 0 || frame.request !== 0 || frame.payload.length < 2) say('a malformed goaway');
        break;
      default:
        say('a type that a server does not send');
    }
    const protocol = type === Type.errorResponse && flags === Failure.protocol;
    if (known && active && !protocol) {
      known.take(frame);
      if (known.finished) this.#open.delete(frame.request);
    }
  }
}

export interface RunningServer {
  port: number;
  pid: number;
  stop: () => Promise<void>;
}

const ANSI = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`, 'g');

/** Starts the server over a folder on a free port and waits for the line that names its address. */
export async function startServer(folder: string): Promise<RunningServer> {
  const root = path.resolve(import.meta.dirname, '../..');
  const cli = process.env.MILLRACE_INDEPENDENT_CLI ?? 'src/cli/millrace.ts';
  const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: '1' };
  delete env.FORCE_COLOR;
  const child: ChildProcess = spawn(
    process.execPath,
    [cli, 'serve', folder, '--port', '0', '--host', '127.0.0.1', '--limit', 'laneTimeout=600000'],
    { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const kill = (): void => {
    child.kill('SIGKILL');
  };
  process.once('exit', kill);
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => resolve()).once('error', () => resolve());
  });
  let errors = '';
  child.stderr!.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-4000);
  });
  const stop = async (): Promise<void> => {
    process.off('exit', kill);
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGTERM');
    const timer = setTimeout(kill, 5000);
    await exited;
    clearTimeout(timer);
  };
  try {
    const port = await new Promise<number>((resolve, reject) => {
      let output = '';
      child.stdout!.on('data', (chunk: Buffer) => {
        output = (output + chunk.toString()).slice(-4000);
        const found = /127\.0\.0\.1:(\d+)\D/.exec(output.replace(ANSI, ''));
        if (found) resolve(Number(found[1]));
      });
      exited.then(() => reject(new Error(`the server ended: ${output}${errors}`)));
    });
    return { port, pid: child.pid!, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Repeatable chance. */
export function chance(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 4_294_967_296) * below);
  };
}

/** Bytes that do not compress. */
export function noise(size: number, seed: number): Buffer {
  const next = chance(seed);
  const bytes = Buffer.alloc(size);
  for (let i = 0; i < size; i++) bytes[i] = next(256);
  return bytes;
}

/** Text that compresses well, but not to nothing. */
export function text(size: number, seed: number): Buffer {
  const next = chance(seed);
  const words = Array.from({ length: 400 }, () =>
    Array.from({ length: 3 + next(8) }, () => String.fromCharCode(97 + next(26))).join(''),
  );
  const lines: string[] = [];
  for (let length = 0; length < size; ) {
    const line = Array.from({ length: 4 + next(9) }, () => words[next(words.length)]!).join(' ');
    lines.push(line);
    length += line.length + 1;
  }
  return Buffer.from(lines.join('\n')).subarray(0, size);
}
