/** Handlers that run in a lane: their bytes go straight into the lane's encoder and only finished frames cross. */

import type { Handler } from '../src/reactor/command.ts';
import { FlushQueue } from '../src/reactor/flush-queue.ts';
import { IdTable } from '../src/reactor/id-table.ts';
import { asError } from '../src/wire/thrown.ts';
import { decodeUtf8 } from '../src/wire/utf8.ts';
import type { BatchReader } from './batch.ts';
import { Call, type CallOwner } from './call.ts';
import { LaneCaller } from './lane-caller.ts';
import type { LaneEncoders } from './lane-encoders.ts';
import type { LaneOutput } from './lane-output.ts';
import { unpackFailure } from './packed.ts';
import { Op } from './records.ts';
import type { TraceWriter } from './trace-writer.ts';

/** Where the code of a command that runs in lanes is. */
export interface HandlerModule {
  /** URL of the module. */
  readonly module: string;
  /** Name of its export: a Handler, or with `options` a factory of one or of a record of them by command. */
  readonly export: string;
  /** Structured-clonable argument for the factory. */
  readonly options?: unknown;
  /** The commands that it is to run. */
  readonly commands: readonly string[];
}

export interface CallsOptions {
  /** Milliseconds for which output may wait for more of it; 0: until the end of the tick. */
  readonly coalesceMs: number;
  /** `bytes` compressed once for the cache, as the payload of a `pieces` record. */
  readonly compress: (bytes: Uint8Array) => Uint8Array;
  /** The code of a slot's last call has ended. */
  readonly slotFree: (slot: number) => void;
}

const NOTHING = new Uint8Array(0);

export class Calls implements CallOwner {
  readonly #handlers: HandlerModule[];
  readonly #loaded: (Handler | Record<string, Handler> | undefined)[] = [];
  readonly #loading: (Promise<Handler | Record<string, Handler>> | undefined)[] = [];
  readonly #encoders: LaneEncoders;
  readonly #output: LaneOutput;
  readonly #trace: TraceWriter;
  /** Calls by slot and request ID whose response is not over. */
  readonly #running = new Map<number, IdTable<Call>>();
  /** Calls by slot whose response is over and whose code is not. */
  readonly #lingering = new Map<number, Set<Call>>();
  /** Whose the calls on a slot are. */
  readonly #callers = new Map<number, LaneCaller>();
  readonly #slotFree: CallsOptions['slotFree'];
  readonly compress: CallsOptions['compress'];
  readonly flushes: FlushQueue;

  constructor(
    handlers: HandlerModule[],
    encoders: LaneEncoders,
    output: LaneOutput,
    trace: TraceWriter,
    options: CallsOptions,
  ) {
    this.#trace = trace;
    this.#handlers = handlers;
    this.#encoders = encoders;
    this.#output = output;
    this.#slotFree = options.slotFree;
    this.compress = options.compress;
    this.flushes = new FlushQueue(options.coalesceMs, setImmediate);
  }

  /** Loads all handlers before they are asked for. Resolves with what is wrong with one of them; empty: nothing. */
  async load(): Promise<string> {
    for (const [index, { commands }] of this.#handlers.entries()) {
      try {
        await this.#loadOnce(index, 0);
      } catch (error) {
        return `command '${commands[0]}' cannot run: ${asError(error).message}`;
      }
    }
    return '';
  }

  record(record: BatchReader): void {
    if (record.op === Op.call) {
      this.#start(record);
      return;
    }
    if (record.op === Op.caller) {
      this.#callers.set(record.slot, new LaneCaller(record.payload));
      return;
    }
    const call = this.#running.get(record.slot)?.get(record.requestId);
    if (call === undefined) {
      // Its response ended while this was on its way.
      if (record.op === Op.callCancel) this.#answerCancel(record);
      return;
    }
    this.#trace.run(call.suspect, () => this.#deal(call, record));
  }

  #deal(call: Call, record: BatchReader): void {
    switch (record.op) {
      case Op.callData:
        return call.data?.push(record.payload.slice(), (record.flags & 1) !== 0);
      case Op.callCancel:
        return call.cancel(unpackFailure(record.payload));
      case Op.callDrain:
        return call.request.drain(decodeUtf8(record.payload));
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
    for (const call of this.#running.get(slot)?.values() ?? []) call.stop(undefined);
    this.#running.delete(slot);
    this.#callers.delete(slot);
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

  #start(record: BatchReader): void {
    const index = record.type;
    const caller = this.#callers.get(record.slot) as LaneCaller;
    const call = new Call(this, this.#encoders, this.#output, caller, record);
    let calls = this.#running.get(call.slot);
    if (calls === undefined) {
      calls = new IdTable();
      this.#running.set(call.slot, calls);
    }
    calls.set(call.requestId, call);
    const loaded = this.#loaded[index];
    if (loaded !== undefined) this.#run(call, loaded);
    else {
      this.#loadOnce(index, call.suspect).then(
        (handler) => this.#run(call, handler),
        (error) =>
          call.pump.start(() => {
            throw error;
          }, call.request),
      );
    }
  }

  /** `suspect`: for whose call. */
  #loadOnce(index: number, suspect: number): Promise<Handler | Record<string, Handler>> {
    this.#loading[index] ??= this.#trace.load(suspect, () => this.#load(index));
    return this.#loading[index];
  }

  #run(call: Call, loaded: Handler | Record<string, Handler>): void {
    const { request, pump } = call;
    if (!call.over) this.#trace.begin(call.mark);
    // What a module exports is its user's: even to look at it may throw.
    const handler: Handler = typeof loaded === 'function' ? loaded : (asked) => loaded[asked.command](asked);
    this.#trace.run(call.suspect, () => pump.start(handler, request));
  }

  async #load(index: number): Promise<Handler | Record<string, Handler>> {
    const { module, export: name, options, commands } = this.#handlers[index];
    const exported = (await import(module))[name];
    if (typeof exported !== 'function') throw new TypeError(`${module} has no function '${name}' to export`);
    const loaded = options === undefined ? exported : await exported(options);
    const missing = commands.find((command) => typeof handlerOf(loaded, command) !== 'function');
    if (missing !== undefined)
      throw new TypeError(`${module}: what '${name}' returns has no handler '${missing}'`);
    this.#loaded[index] = loaded;
    return loaded;
  }
}

function handlerOf(loaded: Handler | Record<string, Handler> | undefined, command: string): unknown {
  return typeof loaded === 'function' ? loaded : loaded?.[command];
}
