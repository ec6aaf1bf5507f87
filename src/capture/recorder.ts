/**
 * Records what a server answers, for experiments. It looks at the bytes of each connection as they pass, by the same
 * reactors and decoders that the two ends have; the server's own code knows nothing of it, and without a recorder
 * nothing of this is there. While it records, the main thread decodes all that is sent.
 */

import { createWriteStream, openSync, type WriteStream } from 'node:fs';
import { LocalDecoders } from '../connection/local-decoders.ts';
import type { Transport } from '../connection/transport.ts';
import type { CodecRegistry } from '../encoding/registry.ts';
import { decoderCost } from '../lanes/budget.ts';
import { ClientReactor } from '../reactor/client.ts';
import { ServerReactor } from '../reactor/server.ts';
import type { ReceivedCommand } from '../reactor/server-action.ts';
import { type Frame, HEADER_SIZE, MAX_PAYLOAD_LENGTH } from '../wire/frame.ts';
import { DEFAULT_LIMITS, type Limits } from '../wire/limits.ts';
import { Splitter } from '../wire/splitter.ts';
import { type CaptureRecord, captureHeader } from './format.ts';

/** What a server records, and how much of it. */
export interface RecordOptions {
  /** File to write; it must not be there yet. */
  readonly path: string;
  /** Bytes of the file at which recording stops; default 256 MiB. */
  readonly maxBytes?: number;
}

/** What has been recorded. */
export interface RecordFigures {
  readonly responses: number;
  readonly bytes: number;
  /** Responses that were left out because they were too large or the disk was too slow. */
  readonly leftOut: number;
  /** The file is as large as it may get. */
  readonly full: boolean;
  /** What ended the recording before its time: the file lacks what was last recorded. */
  readonly failure?: Error;
}

const DEFAULT_MAX_BYTES = 256 << 20;
/** A larger response is not kept: it would have to be held until it is whole. */
const MAX_RESPONSE = 16 << 20;
/** Bytes of all responses that are not whole yet: those past it are left out. */
const MAX_UNDERWAY = 64 << 20;
/** Bytes of decoders of what clients encode, on all connections: one that needs more is not watched any more. */
const MAX_DECODERS = 128 << 20;
/** Lines that wait for the disk. */
const MAX_WAITING = 64 << 20;

/** What the recorder needs to know of a command. */
export interface RecordedCommand {
  /** What belongs together under the policy `affinity`. */
  affinityKey?(args: ReadonlyMap<string, Uint8Array>): string | undefined;
  /** Its responses stay out of the file. */
  readonly sensitive?: boolean;
}

/** What the recorder needs to know of its server. */
export interface RecorderContext {
  readonly codecs: CodecRegistry;
  readonly limits: Limits;
  command(name: string): RecordedCommand | undefined;
  /** The file cannot be written any more; told once. */
  onFailure(error: Error): void;
}

export class Recorder {
  readonly context: RecorderContext;
  readonly #file: WriteStream;
  readonly #maxBytes: number;
  readonly #startedMs = performance.now();
  #connections = 0;
  #responses = 0;
  #bytes = 0;
  #leftOut = 0;
  #underway = 0;
  #decoders = 0;
  #full = false;
  #failure: Error | undefined;
  #closed = false;

  /** @throws Error of the system when the file is there already or cannot be written. */
  constructor({ path, maxBytes = DEFAULT_MAX_BYTES }: RecordOptions, context: RecorderContext) {
    this.context = context;
    this.#maxBytes = maxBytes;
    // Bodies are in clear: nobody else may read them.
    this.#file = createWriteStream(path, { fd: openSync(path, 'wx', 0o600) });
    this.#file.on('error', (error) => {
      this.#failure = Object.assign(error, { path });
      context.onFailure(error);
    });
    this.#put(captureHeader(new Date()));
  }

  get recording(): boolean {
    return !this.#full && !this.#closed && this.#failure === undefined;
  }

  get figures(): RecordFigures {
    return {
      responses: this.#responses,
      // Of a file that failed, what reached the disk.
      bytes: this.#failure === undefined ? this.#bytes : this.#file.bytesWritten,
      leftOut: this.#leftOut,
      full: this.#full,
      ...(this.#failure !== undefined && { failure: this.#failure }),
    };
  }

  /** Since the recording began. */
  get elapsedMs(): number {
    return Math.round((performance.now() - this.#startedMs) * 100) / 100;
  }

  /** The transport to use in the place of `transport`. */
  watch(transport: Transport): Transport {
    if (!this.recording) return transport;
    return new WatchedTransport(transport, new Observer(this, this.#connections++));
  }

  add(record: CaptureRecord): void {
    if (!this.recording) return;
    const line = JSON.stringify(record);
    if (this.#bytes + line.length > this.#maxBytes) this.#full = true;
    else if (this.#file.writableLength > MAX_WAITING) this.leaveOut();
    else {
      this.#responses++;
      this.#put(line);
    }
  }

  /** Whether `bytes` more of responses that are not whole may be kept, until they are let go of. */
  keep(bytes: number): boolean {
    if (this.#underway + bytes > MAX_UNDERWAY) return false;
    this.#underway += bytes;
    return true;
  }

  letGo(bytes: number): void {
    this.#underway -= bytes;
  }

  /** @throws Error when there is no memory for another decoder. */
  takeDecoder(cost: number): void {
    if (this.#decoders + cost > MAX_DECODERS) throw new Error('too many decoders for a recording');
    this.#decoders += cost;
  }

  giveDecoder(cost: number): void {
    this.#decoders -= cost;
  }

  leaveOut(): void {
    this.#leftOut++;
  }

  /** Resolves when the file is whole. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#failure !== undefined) return;
    await new Promise<void>((resolve) => {
      this.#file.once('error', () => resolve());
      this.#file.end(() => resolve());
    });
  }

  #put(line: string): void {
    this.#bytes += line.length + 1;
    this.#file.write(`${line}\n`);
  }
}

/** A transport that shows an observer what passes. */
class WatchedTransport implements Transport {
  readonly remote: string;
  readonly messages: boolean | undefined;
  readonly halfCloses: boolean | undefined;
  onData: (chunk: Uint8Array) => void = () => undefined;
  onEnd: () => void = () => undefined;
  onClose: (error: Error | undefined) => void = () => undefined;
  readonly #inner: Transport;
  readonly #observer: Observer;

  constructor(inner: Transport, observer: Observer) {
    this.#inner = inner;
    this.#observer = observer;
    this.remote = inner.remote;
    this.messages = inner.messages;
    this.halfCloses = inner.halfCloses;
    inner.onData = (chunk) => {
      observer.received(chunk);
      this.onData(chunk);
    };
    inner.onEnd = () => this.onEnd();
    inner.onClose = (error) => {
      observer.stop();
      this.onClose(error);
    };
  }

  write(chunks: Uint8Array[], written: () => void): void {
    for (const chunk of chunks) this.#observer.sent(chunk);
    this.#inner.write(chunks, written);
  }
  pause(): void {
    this.#inner.pause();
  }
  resume(): void {
    this.#inner.resume();
  }
  end(): void {
    this.#inner.end();
  }
  destroy(): void {
    this.#inner.destroy();
  }
  endOfTick(run: () => void): void {
    this.#inner.endOfTick(run);
  }
}

/**
 * Decoders of what one client encodes, which may ask for any window. Those of our responses have the windows of our own
 * encoders, which contextMemory bounds.
 */
class UploadDecoders extends LocalDecoders {
  readonly #recorder: Recorder;
  readonly #costs = new Map<number, number>();

  constructor(recorder: Recorder) {
    const { codecs, limits } = recorder.context;
    super(codecs, limits);
    this.#recorder = recorder;
  }

  override open(streamId: number, profile: string, settings: Uint8Array): void {
    const cost = decoderCost(profile, this.#recorder.context.limits.maxWindowSize);
    this.#recorder.takeDecoder(cost);
    this.#costs.set(streamId, cost);
    try {
      super.open(streamId, profile, settings);
    } catch (error) {
      this.close(streamId);
      throw error;
    }
  }

  override close(streamId: number): void {
    this.#recorder.giveDecoder(this.#costs.get(streamId) ?? 0);
    this.#costs.delete(streamId);
    super.close(streamId);
  }
}

/** What the server sends itself is not held to the limits on what its peers may send. */
const OF_OUR_OWN: Limits = { ...DEFAULT_LIMITS, maxPayload: MAX_PAYLOAD_LENGTH, minFrameSize: 1 };

/** A response that is on its way. */
interface Underway extends Omit<CaptureRecord, 'body'> {
  chunks: Uint8Array[];
  length: number;
  /** Bytes of the chunks that the recorder keeps for it. */
  kept: number;
  /** It stays out of the file. */
  readonly secret: boolean;
}

/** Follows one connection: requests on the way in, responses on the way out. */
class Observer {
  readonly #recorder: Recorder;
  readonly #connection: number;
  readonly #requests: ServerReactor;
  readonly #responses: ClientReactor<Underway>;
  readonly #incoming: Splitter;
  readonly #outgoing: Splitter;
  #watching = true;

  constructor(recorder: Recorder, connection: number) {
    this.#recorder = recorder;
    this.#connection = connection;
    const { codecs, limits } = recorder.context;
    this.#requests = new ServerReactor(limits, new UploadDecoders(recorder));
    this.#responses = new ClientReactor(OF_OUR_OWN, new LocalDecoders(codecs, OF_OUR_OWN));
    const splitter = ({ maxPayload }: Limits, onFrame: (frame: Frame) => void) =>
      new Splitter({ maxPayload, onFrame });
    this.#incoming = splitter(limits, (frame) => this.#onRequestFrame(frame));
    this.#outgoing = splitter(OF_OUR_OWN, (frame) => this.#onResponseFrame(frame));
  }

  received(chunk: Uint8Array): void {
    this.#look(() => this.#incoming.push(chunk));
  }

  sent(chunk: Uint8Array): void {
    this.#look(() => this.#outgoing.push(chunk));
  }

  stop(): void {
    if (!this.#watching) return;
    this.#watching = false;
    for (const underway of this.#responses.requests()) this.#letGo(underway);
    this.#requests.stop();
    this.#responses.stop();
  }

  /** A peer that breaks the protocol ends the watching, not the connection: that is for the server to do. */
  #look(step: () => void): void {
    if (!this.#watching) return;
    try {
      step();
    } catch {
      this.stop();
    }
    if (!this.#recorder.recording) this.stop();
  }

  #onRequestFrame(frame: Frame): void {
    const actions: Parameters<ServerReactor['receive']>[1] = [];
    this.#requests.receive(frame, actions);
    for (const action of actions) if (action.kind === 'run') this.#open(action.command);
  }

  #open({ requestId, command, args }: ReceivedCommand): void {
    const definition = this.#recorder.context.command(command);
    const key = definition?.affinityKey?.(args);
    this.#responses.open(requestId, {
      at: this.#recorder.elapsedMs,
      connection: this.#connection,
      command,
      ...(key !== undefined && { key }),
      args: Object.fromEntries([...args].map(([name, value]) => [name, value.length])),
      pieces: [],
      wire: 0,
      chunks: [],
      length: 0,
      kept: 0,
      secret: args.has(':sensitive') || definition?.sensitive === true,
    });
  }

  #onResponseFrame(frame: Frame): void {
    const { requestId } = frame;
    const underway = this.#responses.get(requestId);
    if (underway !== undefined) underway.wire += HEADER_SIZE + frame.payload.length;
    const actions: Parameters<ClientReactor<Underway>['receive']>[1] = [];
    this.#responses.receive(frame, actions);
    for (const action of actions) {
      if (action.kind === 'bytes') this.#piece(action.request, action.bytes, action.last);
      const ended = action.kind === 'error' || (action.kind === 'bytes' && action.last);
      if (!ended) continue;
      this.#letGo(action.request);
      this.#requests.finishResponse(requestId);
    }
  }

  #piece(underway: Underway, bytes: Uint8Array, last: boolean): void {
    underway.length += bytes.length;
    const whole = underway.kept === underway.length - bytes.length;
    const kept =
      !underway.secret && whole && underway.length <= MAX_RESPONSE && this.#recorder.keep(bytes.length);
    if (kept) {
      underway.kept += bytes.length;
      underway.chunks.push(bytes.slice());
      underway.pieces.push([
        Math.max(0, Math.round(100 * (this.#recorder.elapsedMs - underway.at)) / 100),
        bytes.length,
      ]);
    } else this.#letGo(underway);
    if (!last || underway.secret) return;
    if (!kept) {
      this.#recorder.leaveOut();
      return;
    }
    const { chunks, length: _length, kept: _kept, secret: _secret, ...record } = underway;
    this.#recorder.add({ ...record, body: Buffer.concat(chunks).toString('base64') });
  }

  #letGo(underway: Underway): void {
    this.#recorder.letGo(underway.kept);
    underway.kept = 0;
    underway.chunks = [];
  }
}
