/** Handlers that run in a lane: their bytes go straight into the lane's encoder and only finished frames cross. */

import type { CachedOutput, Handler, ProgressOutput, TextOutput } from '../src/reactor/command.ts';
import { IdTable } from '../src/reactor/id-table.ts';
import { DataQueue, HandlerRequest, NO_DATA } from '../src/reactor/request.ts';
import { ResponsePump, type ResponseSink } from '../src/reactor/response.ts';
import { CommandError } from '../src/wire/errors.ts';
import { BytesResponseFlag, ErrorResponseFlag, FrameType, HEADER_SIZE } from '../src/wire/frame.ts';
import { cutUtf8, decodeUtf8, encodeProgress, encodeTextOutput } from '../src/wire/payloads.ts';
import {
  type BatchReader,
  CallFlag,
  FrameFlag,
  LookupAnswer,
  Op,
  packPieces,
  unpackPieces,
} from './batch.ts';

/** Where the code of a command that runs in lanes is. */
export interface HandlerModule {
  /** URL of the module. */
  readonly module: string;
  /** Name of its export: a Handler, or with `options` a factory of one or of a record of them by command. */
  readonly export: string;
  /** Structured-clonable argument for the factory. */
  readonly options?: unknown;
}

/** What calls need of their lane. */
export interface CallLane {
  encode(
    slot: number,
    requestId: number,
    type: number,
    flags: number,
    payload: Uint8Array,
    origin: number,
  ): void;
  plain(
    slot: number,
    requestId: number,
    type: number,
    flags: number,
    payload: Uint8Array,
    counted: number,
    origin: number,
  ): void;
  frameSize(slot: number): number;
  compress(bytes: Uint8Array): Uint8Array;
}

/** Where calls put records for the main thread. */
export interface CallOutput {
  add(op: number, slot: number, requestId: number, flags: number, payload: Uint8Array, extra?: number): void;
  flushSoon(): void;
}

/** Bytes of text and progress that a call may send before it has to ask for room. */
const ROOM = 16 * 1024;
const NOTHING = new Uint8Array(0);
const utf8 = new TextEncoder();

/** One handler at work. */
class Call implements ResponseSink {
  readonly slot: number;
  readonly requestId: number;
  readonly pump: ResponsePump;
  readonly request: HandlerRequest;
  readonly data: DataQueue | undefined;
  readonly #calls: Calls;
  readonly #lane: CallLane;
  readonly #output: CallOutput;
  readonly #sendsProgress: boolean;
  #grant: number;
  #wanted = 0;
  #room = ROOM;
  #roomAsked = false;
  #resume: (() => void) | undefined;
  #codeRuns = true;
  /** Cached output is being produced, which the end of the call does not end. */
  #produces = false;
  #mustTell = false;
  #lookup: ((answer: number) => void) | undefined;
  #over = false;

  constructor(calls: Calls, lane: CallLane, output: CallOutput, record: BatchReader) {
    this.#calls = calls;
    this.#lane = lane;
    this.#output = output;
    this.slot = record.slot;
    this.requestId = record.requestId;
    this.#grant = record.extra;
    const [command, ...rest] = unpackPieces(record.payload);
    const args = new Map<string, Uint8Array>();
    for (let i = 0; i < rest.length; i += 2) args.set(decodeUtf8(rest[i]), rest[i + 1]);
    this.#sendsProgress = (record.flags & CallFlag.progress) !== 0;
    if ((record.flags & CallFlag.data) !== 0) this.data = new DataQueue((cost) => this.#dataRead(cost));
    this.request = new HandlerRequest(decodeUtf8(command), args, this.data ?? NO_DATA);
    this.pump = new ResponsePump(this.request.command, this, lane.frameSize(this.slot));
  }

  get over(): boolean {
    return this.#over;
  }

  granted(bytes: number): void {
    this.#grant += bytes;
    this.#wanted = 0;
    this.#wake();
  }

  roomGiven(): void {
    this.#room = ROOM;
    this.#roomAsked = false;
    this.#wake();
  }

  lookupAnswered(answer: number): void {
    const lookup = this.#lookup;
    this.#lookup = undefined;
    lookup?.(answer);
  }

  get codeRuns(): boolean {
    return this.#codeRuns || this.#produces;
  }

  /** Stops the handler because the main thread says so, which wants to know when its code has ended. */
  cancel(reason: string): void {
    this.#mustTell = true;
    const ended = !this.codeRuns;
    this.stop(reason);
    if (ended) this.tellEnded();
  }

  tellEnded(): void {
    this.#output.add(Op.callEnded, this.slot, this.requestId, 0, NOTHING);
    this.#output.flushSoon();
  }

  /** Stops the handler; the peer is told `reason`, or nothing when it is empty. */
  stop(reason: string): void {
    this.request.abort(new CommandError(reason || 'connection closed'));
    this.data?.fail(new CommandError(reason || 'connection closed'));
    this.pump.stop(reason || undefined);
  }

  allowance(wanted: number): number {
    this.#wanted = wanted;
    return Math.min(wanted, this.#grant);
  }

  /** Where both are used up, room is asked for first, and then the grant. */
  wait(resume: () => void): void {
    this.#resume = resume;
    if (this.hasRoom) this.#add(Op.want, 0, NOTHING, this.#wanted);
    else if (!this.#roomAsked) {
      this.#roomAsked = true;
      this.#add(Op.wantRoom, 0, NOTHING);
    }
  }

  sendBytes(bytes: Uint8Array, last: boolean): void {
    this.#grant -= bytes.length;
    this.#wanted -= bytes.length;
    const flags = last ? BytesResponseFlag.eos : BytesResponseFlag.continuation;
    this.#lane.encode(this.slot, this.requestId, FrameType.bytesResponse, flags, bytes, FrameFlag.call);
    this.#output.flushSoon();
  }

  get hasRoom(): boolean {
    return this.#room > 0;
  }

  sendText(output: TextOutput): void {
    this.#sendBeside(FrameType.textOutput, encodeTextOutput(output.atoms));
  }

  sendProgress(output: ProgressOutput): void {
    if (this.#sendsProgress) this.#sendBeside(FrameType.progress, encodeProgress(output));
  }

  sendError(message: string): void {
    const payload = cutUtf8(message, this.#lane.frameSize(this.slot));
    this.#plain(FrameType.errorResponse, ErrorResponseFlag.application, payload);
  }

  sendCached(output: CachedOutput, last: boolean, then: (bytes?: Uint8Array) => void): void {
    this.#lookup = (answer) => {
      if (answer === LookupAnswer.spliced) then();
      else this.#produce(output, answer, then);
    };
    const unused = this.#grant;
    this.#grant = 0;
    this.#add(Op.lookup, last ? 1 : 0, utf8.encode(output.key), unused);
  }

  flushLater(pump: ResponsePump): void {
    this.#calls.flushLater(pump);
  }

  report(error: unknown): void {
    const told = error instanceof Error ? (error.stack ?? error.message) : String(error);
    const pieces = [this.request.command, told].map((each) => utf8.encode(each));
    this.#output.add(Op.report, this.slot, this.requestId, 0, packPieces(pieces));
    this.#output.flushSoon();
  }

  done(): void {
    this.data?.drop();
    this.#over = true;
    this.#calls.over(this);
  }

  ended(): void {
    this.#codeRuns = false;
    this.#codeEnded();
  }

  #codeEnded(): void {
    if (this.codeRuns) return;
    if (this.#mustTell) this.tellEnded();
    this.#calls.ended(this);
  }

  async #produce(output: CachedOutput, answer: number, then: (bytes?: Uint8Array) => void): Promise<void> {
    let bytes: Uint8Array;
    this.#produces = true;
    try {
      bytes = await output.produce();
      if (!(bytes instanceof Uint8Array)) throw new TypeError('cached output must be a Uint8Array');
    } catch (error) {
      if (answer === LookupAnswer.produce) this.#add(Op.pieces, 1, NOTHING);
      this.pump.fail(error);
      return;
    } finally {
      this.#produces = false;
      this.#codeEnded();
    }
    if (answer === LookupAnswer.stream) {
      then(bytes);
      return;
    }
    this.#lookup = (spliced) => {
      if (spliced === LookupAnswer.spliced) then();
      else then(bytes);
    };
    this.#add(Op.pieces, 0, this.#lane.compress(bytes), bytes.length);
  }

  #sendBeside(type: number, payload: Uint8Array): void {
    this.#room -= HEADER_SIZE + payload.length;
    this.#plain(type, 0, payload);
  }

  #plain(type: number, flags: number, payload: Uint8Array): void {
    this.#lane.plain(this.slot, this.requestId, type, flags, payload, 0, FrameFlag.call);
    this.#output.flushSoon();
  }

  #wake(): void {
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.();
  }

  #dataRead(cost: number): void {
    this.#add(Op.dataRead, 0, NOTHING, cost);
  }

  /** After the end nothing may be said of the request: its ID may be another's by then. */
  #add(op: number, flags: number, payload: Uint8Array, extra = 0): void {
    if (this.#over) return;
    this.#output.add(op, this.slot, this.requestId, flags, payload, extra);
    this.#output.flushSoon();
  }
}

export class Calls {
  readonly #handlers: HandlerModule[];
  readonly #loaded: (Handler | Record<string, Handler> | undefined)[] = [];
  readonly #loading: (Promise<Handler | Record<string, Handler>> | undefined)[] = [];
  readonly #lane: CallLane;
  readonly #output: CallOutput;
  /** Calls by slot and request ID whose response is not over. */
  readonly #running = new Map<number, IdTable<Call>>();
  /** Calls by slot whose response is over and whose code is not. */
  readonly #lingering = new Map<number, Set<Call>>();
  readonly #slotFree: (slot: number) => void;
  readonly #coalesceMs: number;
  #dirty: ResponsePump[] = [];

  /** `slotFree` is told when the code of a slot's last call has ended. */
  constructor(
    handlers: HandlerModule[],
    lane: CallLane,
    output: CallOutput,
    coalesceMs: number,
    slotFree: (slot: number) => void,
  ) {
    this.#slotFree = slotFree;
    this.#coalesceMs = coalesceMs;
    this.#handlers = handlers;
    this.#lane = lane;
    this.#output = output;
  }

  record(record: BatchReader): void {
    if (record.op === Op.call) {
      this.#start(record);
      return;
    }
    const call = this.#running.get(record.slot)?.get(record.requestId);
    if (call === undefined) {
      // Its response ended while this was on its way.
      if (record.op === Op.callCancel) this.#answerCancel(record);
      return;
    }
    switch (record.op) {
      case Op.callData:
        return call.data?.push(record.payload.slice(), (record.flags & 1) !== 0);
      case Op.callCancel:
        return call.cancel(decodeUtf8(record.payload));
      case Op.callGrant:
        return call.granted(record.extra);
      case Op.callRoom:
        return call.roomGiven();
      case Op.lookupAnswer:
        return call.lookupAnswered(record.flags);
    }
  }

  /** The slot's stream is gone: its calls stop, and nothing of theirs is sent. */
  dropSlot(slot: number): void {
    for (const call of this.#running.get(slot)?.values() ?? []) call.stop('');
    this.#running.delete(slot);
  }

  /** True while code of the slot's calls runs. */
  busy(slot: number): boolean {
    return this.#lingering.has(slot);
  }

  over(call: Call): void {
    this.#running.get(call.slot)?.delete(call.requestId);
    if (!call.codeRuns) return;
    const calls = this.#lingering.get(call.slot);
    if (calls === undefined) this.#lingering.set(call.slot, new Set([call]));
    else calls.add(call);
  }

  ended(call: Call): void {
    const calls = this.#lingering.get(call.slot);
    if (calls === undefined || !calls.delete(call) || calls.size > 0) return;
    this.#lingering.delete(call.slot);
    this.#slotFree(call.slot);
  }

  #answerCancel(record: BatchReader): void {
    const { slot, requestId } = record;
    this.#output.add(Op.callEnded, slot, requestId, 0, NOTHING);
  }

  flushLater(pump: ResponsePump): void {
    if (this.#dirty.length === 0) {
      if (this.#coalesceMs > 0) setTimeout(this.#flush, this.#coalesceMs);
      else setImmediate(this.#flush);
    }
    this.#dirty.push(pump);
  }

  readonly #flush = (): void => {
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const each of dirty) each.flush();
  };

  #start(record: BatchReader): void {
    const index = record.type;
    const call = new Call(this, this.#lane, this.#output, record);
    let calls = this.#running.get(call.slot);
    if (calls === undefined) {
      calls = new IdTable();
      this.#running.set(call.slot, calls);
    }
    calls.set(call.requestId, call);
    const loaded = this.#loaded[index];
    if (loaded !== undefined) this.#run(call, loaded);
    else {
      this.#loading[index] ??= this.#load(index);
      this.#loading[index].then(
        (handler) => this.#run(call, handler),
        (error) =>
          call.pump.start(() => {
            throw error;
          }, call.request),
      );
    }
  }

  #run(call: Call, loaded: Handler | Record<string, Handler>): void {
    const handler = typeof loaded === 'function' ? loaded : loaded[call.request.command];
    call.pump.start(handler, call.request);
  }

  async #load(index: number): Promise<Handler | Record<string, Handler>> {
    const { module, export: name, options } = this.#handlers[index];
    const exported = (await import(module))[name];
    if (typeof exported !== 'function') throw new TypeError(`${module} has no function '${name}' to export`);
    const loaded = options === undefined ? exported : exported(options);
    this.#loaded[index] = loaded;
    return loaded;
  }
}
