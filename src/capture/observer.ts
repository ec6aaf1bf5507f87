/**
 * What an experiment needs of one connection. It looks at the bytes as they pass, by the same reactors and decoders that the two
 * ends have: while a server records, its main thread decodes all that is sent.
 */

import { LocalDecoders } from '../connection/local-decoders.ts';
import type { CodecRegistry } from '../encoding/registry.ts';
import { decoderCost } from '../lanes/context-cost.ts';
import { ClientReactor } from '../reactor/client.ts';
import { ServerReactor } from '../reactor/server.ts';
import type { ReceivedCommand, ServerAction } from '../reactor/server-action.ts';
import { type Frame, HEADER_SIZE, MAX_PAYLOAD_LENGTH } from '../wire/frame.ts';
import { DEFAULT_LIMITS, type Limits } from '../wire/limits.ts';
import { Splitter } from '../wire/splitter.ts';
import type { CaptureRecord } from './format.ts';

/** A larger response is not kept: it would have to be held until it is whole. */
const MAX_RESPONSE = 16 << 20;

/** What a recording needs to know of a command. */
interface RecordedCommand {
  /** What belongs together under the policy `affinity`. */
  affinityKey?(args: ReadonlyMap<string, Uint8Array>): string | undefined;
  /** Its responses stay out of the file. */
  readonly sensitive?: boolean;
}

/** What a recording needs to know of its server. */
export interface RecorderContext {
  readonly codecs: CodecRegistry;
  readonly limits: Limits;
  command(name: string): RecordedCommand | undefined;
  /** The file cannot be written any more; told once. */
  onFailure(error: Error): void;
}

/** Where the responses of all connections go, and what bounds what is held of them. */
export interface Recording {
  readonly context: RecorderContext;
  /** False: nothing more is kept. */
  readonly recording: boolean;
  /** Since the recording began. */
  readonly elapsedMs: number;
  add(record: CaptureRecord): void;
  /** A response stays out of the file that should be in it. */
  leaveOut(): void;
  /** Whether `bytes` more of responses that are not whole may be kept, until they are let go of. */
  keep(bytes: number): boolean;
  letGo(bytes: number): void;
  /** @throws Error when there is no memory for another decoder. */
  takeDecoder(cost: number): void;
  giveDecoder(cost: number): void;
}

/**
 * Decoders of what one client encodes, which may ask for any window. Those of our responses have the windows of our own
 * encoders, which contextMemory bounds.
 */
class UploadDecoders extends LocalDecoders {
  readonly #recording: Recording;
  readonly #costs = new Map<number, number>();

  constructor(recording: Recording) {
    const { codecs, limits } = recording.context;
    super(codecs, limits);
    this.#recording = recording;
  }

  override open(streamId: number, profile: string, settings: Uint8Array): void {
    const cost = decoderCost(profile, this.#recording.context.limits.maxWindowSize);
    this.#recording.takeDecoder(cost);
    this.#costs.set(streamId, cost);
    try {
      super.open(streamId, profile, settings);
    } catch (error) {
      this.close(streamId);
      throw error;
    }
  }

  override close(streamId: number): void {
    this.#recording.giveDecoder(this.#costs.get(streamId) ?? 0);
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
  /** Bytes of the chunks that the recording keeps for it. */
  kept: number;
  /** It stays out of the file. */
  readonly secret: boolean;
}

/** Follows one connection: requests on the way in, responses on the way out. */
export class Observer {
  readonly #recording: Recording;
  readonly #connection: number;
  readonly #requests: ServerReactor;
  readonly #responses: ClientReactor<Underway>;
  readonly #incoming: Splitter;
  readonly #outgoing: Splitter;
  #watching = true;

  constructor(recording: Recording, connection: number) {
    this.#recording = recording;
    this.#connection = connection;
    const { codecs, limits } = recording.context;
    this.#requests = new ServerReactor(limits, new UploadDecoders(recording));
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
    if (!this.#recording.recording) this.stop();
  }

  #onRequestFrame(frame: Frame): void {
    const actions: ServerAction[] = [];
    this.#requests.receive(frame, actions);
    for (const action of actions) if (action.kind === 'run') this.#open(action.command);
  }

  #open({ requestId, command, args }: ReceivedCommand): void {
    const definition = this.#recording.context.command(command);
    const key = definition?.affinityKey?.(args);
    this.#responses.open(requestId, {
      at: this.#recording.elapsedMs,
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
      !underway.secret && whole && underway.length <= MAX_RESPONSE && this.#recording.keep(bytes.length);
    if (kept) {
      underway.kept += bytes.length;
      underway.chunks.push(bytes.slice());
      underway.pieces.push([
        Math.max(0, Math.round(100 * (this.#recording.elapsedMs - underway.at)) / 100),
        bytes.length,
      ]);
    } else this.#letGo(underway);
    if (!last || underway.secret) return;
    if (!kept) {
      this.#recording.leaveOut();
      return;
    }
    const { chunks, length: _length, kept: _kept, secret: _secret, ...record } = underway;
    this.#recording.add({ ...record, body: Buffer.concat(chunks).toString('base64') });
  }

  #letGo(underway: Underway): void {
    this.#recording.letGo(underway.kept);
    underway.kept = 0;
    underway.chunks = [];
  }
}
