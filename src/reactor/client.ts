/**
 * The client's protocol state, without I/O: frames in, actions out (protocol A4, B, C).
 *
 * `T` is whatever the owner wants to find again when something arrives for a request.
 */

import { ProtocolError } from '../wire/errors.ts';
import { BytesResponseFlag, ErrorResponseFlag, type Frame, FrameType, PingFlag } from '../wire/frame.ts';
import type { Limits } from '../wire/limits.ts';
import {
  decodeCredit,
  decodeFailure,
  decodeGoaway,
  decodePing,
  decodeProgress,
  decodeTextOutput,
  decodeUtf8,
  ErrorDetail,
  errorDetailFor,
  type Failure,
  type Progress,
  type ReceivedFailure,
  renderTextOutput,
  type SenderSettings,
} from '../wire/payloads.ts';
import { takeSettings } from './announced.ts';
import { IdTable } from './id-table.ts';
import { type Decoders, IncomingFrames, type Ticket, wrongType } from './incoming.ts';
import { Rate } from './rate.ts';

/** What the owner of a {@link ClientReactor} has to do. */
export type ClientAction<T> =
  /** A piece of a response; the bytes are valid until the next frame is received: copy what must live on. */
  | { readonly kind: 'bytes'; readonly request: T; readonly bytes: Uint8Array; readonly last: boolean }
  /** Response bytes of a request that was forgotten: nobody reads them, but they have used up credit. */
  | { readonly kind: 'unwanted'; readonly bytes: number }
  /** The request failed; it is over. */
  | { readonly kind: 'error'; readonly request: T; readonly failure: ReceivedFailure }
  | { readonly kind: 'text'; readonly request: T; readonly text: string }
  | { readonly kind: 'progress'; readonly request: T; readonly progress: Progress }
  | { readonly kind: 'settings'; readonly settings: SenderSettings }
  /** The server takes more command data: of one request, or with ID 0 of the connection (protocol C4). */
  | { readonly kind: 'credit'; readonly requestId: number; readonly bytes: number }
  | { readonly kind: 'ping'; readonly payload: Uint8Array }
  | { readonly kind: 'pong'; readonly payload: Uint8Array }
  /** The server will answer requests up to `lastRequestId` and no new ones (protocol C5). */
  | { readonly kind: 'goaway'; readonly lastRequestId: number; readonly reason: string }
  /** The server has found a protocol error in what we sent; the connection is over. */
  | { readonly kind: 'peer-error'; readonly message: string };

const HIGHEST_ID = 0xffff;
/** Request IDs that there are: the odd ones. */
export const REQUEST_IDS = (HIGHEST_ID + 1) / 2;

export class ClientReactor<T> {
  readonly #frames: IncomingFrames;
  /** Busy IDs; undefined for cancelled requests whose last frame has not come yet. */
  readonly #requests = new IdTable<T | undefined>();
  readonly #now: () => number;
  readonly #pings: Rate;
  readonly #credits: Rate;
  readonly #empty: Rate;
  readonly #limits: Limits;
  #actions: ClientAction<T>[] = [];
  #nextId = 1;
  #errored = false;
  #framesSeen = false;
  /** What the server's application errors hold. */
  #errorDetail: number = ErrorDetail.message;

  constructor(limits: Limits, decoders: Decoders, now: () => number = () => performance.now()) {
    this.#now = now;
    this.#limits = limits;
    this.#empty = new Rate(limits, 'maxEmptyDataFrames', 'empty frames of responses');
    this.#pings = new Rate(limits, 'maxPings', 'pings');
    this.#credits = new Rate(limits, 'maxCredits', 'credit frames');
    this.#frames = new IncomingFrames('server', limits, decoders, this, now);
  }

  /** Requests whose response is not whole yet. */
  get openRequests(): number {
    return this.#requests.size;
  }

  /** What the owner attached to the requests that still wait. */
  requests(): T[] {
    return this.#requests.values().filter((request) => request !== undefined);
  }

  /**
   * An ID for a new request: 1, 3, 5 … wrapping, skipping busy ones (protocol B4).
   * @throws Error when all 32 768 are busy.
   */
  freeId(): number {
    for (let tried = 0; tried <= HIGHEST_ID >> 1; tried++) {
      const id = this.#nextId;
      this.#nextId = id + 2 > HIGHEST_ID ? 1 : id + 2;
      if (!this.#requests.has(id)) return id;
    }
    throw new Error('all request IDs are busy');
  }

  /** The command with this ID has been sent. */
  open(requestId: number, request: T): void {
    this.#requests.set(requestId, request);
  }

  /** What was attached to an open request. */
  get(requestId: number): T | undefined {
    return this.#requests.get(requestId);
  }

  /** Stop caring about a request that the server has been told to cancel; its ID stays busy until it has answered. */
  forget(requestId: number): void {
    if (this.#requests.has(requestId)) this.#requests.set(requestId, undefined);
  }

  /** Whether a request was given up whose last frame has not come. */
  isForgotten(requestId: number): boolean {
    return this.#requests.has(requestId) && this.#requests.get(requestId) === undefined;
  }

  /**
   * Takes one frame and appends what is to be done to `actions`.
   * @throws ProtocolError, after which the connection is over.
   */
  receive(frame: Frame, actions: ClientAction<T>[]): void {
    if (this.#errored) throw new ProtocolError('already-errored', 'frame after a protocol error');
    this.#guard(actions, () => this.#frames.push(frame));
  }

  /** A decoder has answered. @throws ProtocolError as {@link receive} does. */
  decoded(ticket: Ticket, actions: ClientAction<T>[]): void {
    if (!this.#errored) this.#guard(actions, () => this.#frames.decoded(ticket));
  }

  /** Frees all decoders; nothing more is accepted. */
  stop(): void {
    this.#errored = true;
    this.#frames.close();
  }

  #guard(actions: ClientAction<T>[], step: () => void): void {
    this.#actions = actions;
    try {
      step();
    } catch (error) {
      this.stop();
      throw error;
    }
  }

  /** For {@link IncomingFrames}. */
  take(frame: Frame, payload: Uint8Array, lost: Failure | undefined): void {
    const first = !this.#framesSeen;
    this.#framesSeen = true;
    if (lost !== undefined) throw new ProtocolError('corrupt-frame', lost.message);
    switch (frame.type) {
      case FrameType.bytesResponse:
        return this.#bytes(frame, payload);
      case FrameType.errorResponse:
        return this.#error(frame, payload);
      case FrameType.textOutput:
        return this.#act(frame, (request) => ({
          kind: 'text',
          request,
          text: renderTextOutput(decodeTextOutput(payload)),
        }));
      case FrameType.progress:
        return this.#act(frame, (request) => ({
          kind: 'progress',
          request,
          progress: decodeProgress(payload),
        }));
      default:
        return this.#control(frame, payload, first);
    }
  }

  #bytes(frame: Frame, payload: Uint8Array): void {
    const { requestId, flags } = frame;
    if (flags !== BytesResponseFlag.continuation && flags !== BytesResponseFlag.eos) {
      throw new ProtocolError(
        'response-flags',
        `bytes-response of request ${requestId} needs exactly one flag`,
      );
    }
    const request = this.#request(frame);
    const last = flags === BytesResponseFlag.eos;
    // A server may send one to see whether we are there; without end they would keep us busy for nothing.
    if (payload.length === 0 && !last) this.#empty.count(this.#now());
    if (last) this.#requests.delete(requestId);
    if (request !== undefined) this.#actions.push({ kind: 'bytes', request, bytes: payload, last });
    else this.#actions.push({ kind: 'unwanted', bytes: payload.length });
  }

  #error(frame: Frame, payload: Uint8Array): void {
    const { requestId, flags } = frame;
    if (flags !== ErrorResponseFlag.protocol && flags !== ErrorResponseFlag.application) {
      throw new ProtocolError('error-flags', `error-response of request ${requestId} needs exactly one flag`);
    }
    if (flags === ErrorResponseFlag.protocol) {
      this.#actions.push({ kind: 'peer-error', message: decodeUtf8(payload) });
      return;
    }
    const request = this.#request(frame);
    this.#requests.delete(requestId);
    if (request === undefined) return;
    this.#actions.push({ kind: 'error', request, failure: decodeFailure(payload, this.#errorDetail) });
  }

  #act(frame: Frame, action: (request: T) => ClientAction<T>): void {
    const request = this.#request(frame);
    if (request !== undefined) this.#actions.push(action(request));
  }

  #request(frame: Frame): T | undefined {
    const request = this.#requests.get(frame.requestId);
    if (request === undefined && !this.#requests.has(frame.requestId)) {
      throw new ProtocolError(
        'unknown-request',
        `response for request ${frame.requestId}, which is not open`,
      );
    }
    return request;
  }

  #settings(settings: SenderSettings): void {
    this.#errorDetail = errorDetailFor(settings.extensions);
    this.#actions.push({ kind: 'settings', settings });
  }

  #control(frame: Frame, payload: Uint8Array, first: boolean): void {
    switch (frame.type) {
      case FrameType.senderSettings:
        if (!first) throw new ProtocolError('settings-not-first', 'sender-settings must be the first frame');
        return this.#settings(takeSettings(payload, this.#limits));
      case FrameType.credit:
        this.#credits.count(this.#now());
        this.#actions.push({ kind: 'credit', requestId: frame.requestId, bytes: decodeCredit(payload) });
        return;
      case FrameType.ping:
        this.#pings.count(this.#now());
        this.#actions.push({
          kind: (frame.flags & PingFlag.reply) === 0 ? 'ping' : 'pong',
          payload: decodePing(payload).slice(),
        });
        return;
      case FrameType.goaway:
        this.#actions.push({ kind: 'goaway', ...decodeGoaway(payload) });
        return;
      default:
        throw wrongType(frame, 'server');
    }
  }
}
