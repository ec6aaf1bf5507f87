/** The command data of a client's requests: cut into frames, encoded on a stream of its own, held to what is read. */

import type { Connection } from '../connection/connection.ts';
import type { Encoder } from '../encoding/codec.ts';
import type { CodecRegistry } from '../encoding/registry.ts';
import { CommandDataFlag, FrameType, HEADER_SIZE, StreamFlag, writeHeader } from '../wire/frame.ts';
import { commandDataFrames } from '../wire/frames.ts';
import { encodeStreamSettings, encodeUtf8 } from '../wire/payloads.ts';
import type { ServerSettings } from './negotiation.ts';
import type { CallOptions, ClientOptions } from './options.ts';
import type { Pings } from './pings.ts';
import type { ClientRequest } from './request.ts';

type Data = NonNullable<CallOptions['data']>;

/** What the sender of command data needs of its connection's client. */
export interface DataOwner {
  readonly server: ServerSettings;
  readonly pings: Pings;
  /** Whether the server still waits for this request's data. */
  takesData(request: ClientRequest): boolean;
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
  async send(request: ClientRequest, data: Data): Promise<void> {
    const { requestId } = request;
    const open = () => this.#owner.takesData(request);
    this.#unfinished.add(requestId);
    try {
      if (this.#options.encodeData !== undefined) await this.#owner.server.arrival;
      // What is at hand can say with its last piece that it ends; what is still being made must not wait for that.
      const whole = typeof data === 'string' || data instanceof Uint8Array;
      let held: Uint8Array = NOTHING;
      for await (const piece of frameSized(data, this.#owner.server.frameSize)) {
        if (held.length > 0 && open()) this.#sendPiece(request, held, false);
        if (whole) held = piece;
        else if (open()) this.#sendPiece(request, piece, false);
        await this.#room();
        if (!open()) return;
      }
      if (!open()) return;
      this.#unfinished.delete(requestId);
      this.#sendPiece(request, held, true);
    } catch (error) {
      request.cancel(error);
    }
  }

  /** The request was cancelled: the rest of its data is not owed any more. */
  forget(requestId: number): void {
    this.#unfinished.delete(requestId);
  }

  /** The response is whole: the server must not wait for the rest of the data, nor find its ID in use. */
  finish(requestId: number): void {
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
    this.#encoder?.close();
  }

  #sendPiece(request: ClientRequest, piece: Uint8Array, last: boolean): void {
    this.#unmarked += piece.length;
    commandDataFrames(piece, last, this.#owner.server.frameSize, (type, flags, payload) =>
      this.#sendFrame(request, type, flags, payload),
    );
  }

  /**
   * Waits while too much command data is on its way. A server reads no further than its handlers do, so credit that
   * we grant would arrive only after all data before it: pings show how much has been read.
   */
  async #room(): Promise<void> {
    const { output } = this.#connection.flow;
    if (this.#unmarked >= DATA_MARK && this.#owner.server.speaks('ping')) {
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
    const frame = new Uint8Array(HEADER_SIZE + encoder.bound(payload.length));
    const length = encoder.encode(payload, frame, HEADER_SIZE);
    writeHeader(frame, 0, length, requestId, DATA_STREAM, StreamFlag.encoded, type, flags);
    this.#connection.writer.send(frame.subarray(0, HEADER_SIZE + length));
  }

  #encoderForData(): Encoder | undefined {
    const { encodeData, level } = this.#options;
    if (encodeData === undefined || !this.#owner.server.decodes(encodeData)) return undefined;
    if (this.#streamBegun) return this.#encoder;
    this.#streamBegun = true;
    const codec = this.#codecs.get(encodeData);
    this.#encoder = codec?.createEncoder?.({ level });
    if (codec === undefined || this.#encoder === undefined) return undefined;
    const settings = encodeStreamSettings(encodeData, codec.settings({ level }));
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

/** Command data in pieces of at most one frame. */
async function* frameSized(data: Data, frameSize: number): AsyncGenerator<Uint8Array> {
  const pieces = typeof data === 'string' ? [encodeUtf8(data)] : data instanceof Uint8Array ? [data] : data;
  for await (const piece of pieces) {
    for (let at = 0; at < piece.length; at += frameSize) yield piece.subarray(at, at + frameSize);
  }
}
