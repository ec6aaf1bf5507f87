/** The command data of a client's requests: cut into frames, encoded on a stream of its own, held to what is read. */

import type { Connection } from '../connection/connection.ts';
import { Pace } from '../connection/pace.ts';
import { checkedBound, checkedLength, closeQuietly } from '../encoding/checked.ts';
import type { Encoder } from '../encoding/codec.ts';
import { ZSTD, ZSTD_DICT } from '../encoding/profiles.ts';
import type { CodecRegistry } from '../encoding/registry.ts';
import { CommandDataFlag, FrameType, HEADER_SIZE, StreamFlag, writeHeader } from '../wire/frame.ts';
import { commandDataFrames } from '../wire/frames.ts';
import { DEFAULT_LIMITS } from '../wire/limits.ts';
import { encodeStreamSettings, type SenderSettings } from '../wire/payloads.ts';
import { asError } from '../wire/thrown.ts';
import { type CommandData, checkIntact, frameSized, isWhole } from './data-pieces.ts';
import { DataWindows } from './data-window.ts';
import type { ServerSettings } from './negotiation.ts';
import type { ClientOptions } from './options.ts';
import type { Pings } from './pings.ts';
import type { ClientRequest } from './request.ts';

/** What the sender of command data needs of its connection's client. */
export interface DataOwner {
  readonly server: ServerSettings;
  readonly pings: Pings;
  /** Whether the server still waits for this request's data. */
  takesData(request: ClientRequest): boolean;
  /** IDs of the dictionaries that are held, the first to be used for data. */
  readonly heldDictionaries: readonly string[];
}

/** The client's stream for encoded command data. */
const DATA_STREAM = 3;
/** Bytes of command data between two marks, and marks that may be out. */
const DATA_MARK = 256 * 1024;
const MAX_DATA_MARKS = 2;
const NOTHING = new Uint8Array(0);

export class DataSender {
  readonly #connection: Connection;
  readonly #codecs: CodecRegistry;
  readonly #options: ClientOptions;
  readonly #owner: DataOwner;
  #encoder: Encoder | undefined;
  #streamBegun = false;
  /** Its profile. */
  #begunAs = '';
  readonly #begins = new Pace(DEFAULT_LIMITS.maxStreamBegins);
  readonly #windows = new DataWindows();
  /** Requests whose command data is not whole yet. */
  readonly #unfinished = new Set<number>();
  /** Command data sent since the last mark, and the pings that mark what has been read, oldest first. */
  #unmarked = 0;
  readonly #marks: Promise<void>[] = [];

  constructor(connection: Connection, codecs: CodecRegistry, options: ClientOptions, owner: DataOwner) {
    this.#connection = connection;
    this.#codecs = codecs;
    this.#options = options;
    this.#owner = owner;
  }

  /** Sends all of `data` after the command, as fast as it is made and read; what fails cancels the request. */
  async send(request: ClientRequest, data: CommandData): Promise<void> {
    const { requestId } = request;
    this.#unfinished.add(requestId);
    try {
      // What it decodes, and how much it takes before its handlers read, the server says in its settings.
      if (this.#owner.server.awaited) await this.#owner.server.arrival;
      if (!this.#owner.takesData(request)) return;
      this.#windows.open(requestId);
      await this.#sendAll(request, data);
    } catch (error) {
      request.cancel(asError(error));
    }
  }

  async #sendAll(request: ClientRequest, data: CommandData): Promise<void> {
    const open = () => this.#owner.takesData(request);
    // What is at hand can say with its last piece that it ends; what is still being made must not wait for that.
    const whole = isWhole(data);
    let held: Uint8Array = NOTHING;
    for await (const piece of frameSized(data, this.#owner.server.frameSize)) {
      await this.#sendPiece(request, whole ? held : piece);
      if (whole) held = piece;
      if (!open()) return;
      await this.#room();
      if (!open()) return;
    }
    if (open()) await this.#sendLast(request, held);
  }

  /** The server has sent its settings. */
  announced(settings: SenderSettings): void {
    this.#begins.atMost(settings.maxStreamBegins);
    if (this.#owner.server.speaks('data-credit')) this.#windows.announced(settings);
  }

  /** The server takes more command data. @throws ProtocolError when that takes a window too far (protocol C4). */
  credit(requestId: number, bytes: number): void {
    this.#windows.credit(requestId, bytes);
  }

  /** The request was cancelled: the rest of its data is not owed any more. */
  forget(requestId: number): void {
    this.#unfinished.delete(requestId);
    this.#windows.close(requestId);
  }

  /** The response is whole: the server must not wait for the rest of the data, nor find its ID in use. */
  finish(requestId: number): void {
    this.#windows.close(requestId);
    if (!this.#unfinished.delete(requestId)) return;
    this.#connection.sendPlain(requestId, FrameType.commandData, CommandDataFlag.eos);
  }

  /** The server may have lost our stream's context with a worker: the next data begins it afresh (protocol B1). */
  renewStream(): void {
    this.close();
    this.#encoder = undefined;
    this.#streamBegun = false;
  }

  /** Frees the encoder; nothing more is sent. */
  close(): void {
    closeQuietly(this.#encoder);
    this.#windows.wake();
  }

  /** Sends `piece`, waiting where the server's windows are used up; without an end, when the request is over. */
  async #sendPiece(request: ClientRequest, piece: Uint8Array): Promise<void> {
    const { length } = piece;
    for (let at = 0; at < length && this.#owner.takesData(request); ) {
      checkIntact(piece, length);
      const next = this.#windows.available(request.requestId, length - at);
      if (next > 0) this.#sendFrames(request, piece.subarray(at, at + next), false);
      else await this.#windows.change();
      at += next;
    }
  }

  /** The last piece says that it is the last, where all of it may go at once. */
  async #sendLast(request: ClientRequest, piece: Uint8Array): Promise<void> {
    const { requestId } = request;
    let last = piece;
    if (this.#windows.available(requestId, piece.length) < piece.length) {
      await this.#sendPiece(request, piece);
      last = NOTHING;
    }
    if (!this.#owner.takesData(request)) return;
    this.#unfinished.delete(requestId);
    this.#sendFrames(request, last, true);
    this.#windows.close(requestId);
  }

  #sendFrames(request: ClientRequest, piece: Uint8Array, last: boolean): void {
    this.#unmarked += piece.length;
    this.#windows.take(request.requestId, piece.length);
    commandDataFrames(piece, last, this.#owner.server.frameSize, (type, flags, payload) =>
      this.#sendFrame(request, type, flags, payload),
    );
  }

  /**
   * Waits while too much command data is on its way. A server without `data-credit` reads no further than its handlers
   * do, so credit that we grant would arrive only after all data before it: pings show how much has been read.
   */
  async #room(): Promise<void> {
    const { output } = this.#connection;
    if (this.#windows.limited) this.#unmarked = 0;
    else if (this.#unmarked >= DATA_MARK && this.#owner.server.speaks('ping')) {
      this.#unmarked = 0;
      // A lost connection fails the response itself.
      const read = () => void this.#marks.shift();
      this.#marks.push(this.#owner.pings.send().then(read, read));
    }
    while (this.#marks.length > MAX_DATA_MARKS) await this.#marks[0];
    while (output.room === 0 && this.#connection.open)
      await new Promise<void>((resolve) => output.wait(resolve));
  }

  /** Command data goes encoded on a stream of its own, if that was asked for and the server decodes it. */
  #sendFrame({ requestId, options }: ClientRequest, type: number, flags: number, payload: Uint8Array): void {
    const encoder = options.sensitive ? undefined : this.#encoderForData();
    if (encoder === undefined || payload.length === 0) {
      this.#connection.sendPlain(requestId, type, flags, payload);
      return;
    }
    const frame = new Uint8Array(HEADER_SIZE + checkedBound(encoder, payload.length));
    const length = this.#encode(encoder, payload, frame);
    writeHeader(frame, 0, length, requestId, DATA_STREAM, StreamFlag.encoded, type, flags);
    this.#connection.writer.send(frame.subarray(0, HEADER_SIZE + length));
  }

  /** A codec may be its user's: one that fails has lost its context, and the next data begins the stream afresh. */
  #encode(encoder: Encoder, payload: Uint8Array, frame: Uint8Array): number {
    try {
      return checkedLength(encoder.encode(payload, frame, HEADER_SIZE), frame.length - HEADER_SIZE);
    } catch (error) {
      this.renewStream();
      throw error;
    }
  }

  /** `zstd-dict` where a dictionary is held; until then the same without one. */
  #encoding(): { profile: string | undefined; dictionary?: string } {
    const { encodeData: profile } = this.#options;
    if (profile !== ZSTD_DICT) return { profile };
    const [dictionary] = this.#owner.heldDictionaries;
    return dictionary === undefined ? { profile: ZSTD } : { profile, dictionary };
  }

  #encoderForData(): Encoder | undefined {
    const { level } = this.#options;
    const { profile, dictionary } = this.#encoding();
    if (profile === undefined || !this.#owner.server.decodes(profile)) return undefined;
    if (this.#streamBegun && this.#begunAs === profile) return this.#encoder;
    if (this.#streamBegun) this.renewStream();
    // A server takes so many begins in a second, not more: data goes unencoded until the next one may come.
    if (!this.#begins.take()) return undefined;
    this.#streamBegun = true;
    this.#begunAs = profile;
    const codec = this.#codecs.get(profile);
    this.#encoder = codec?.createEncoder?.({ level, dictionary });
    if (codec === undefined || this.#encoder === undefined) return undefined;
    const settings = encodeStreamSettings(profile, codec.settings({ level, dictionary }));
    this.#connection.writer.sendFrame(
      0,
      DATA_STREAM,
      StreamFlag.begin,
      FrameType.streamSettings,
      0,
      settings,
    );
    return this.#encoder;
  }
}
