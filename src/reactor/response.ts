/**
 * From a handler's output to the frames of one response. Runs where the handler runs: on the main thread or in a lane.
 *
 * Small pieces that a handler yields within one tick go out as one frame. The newest bytes are held until the handler
 * goes on, so that the last frame of a response can say that it is the last; the end of the tick releases them.
 */

import { CommandError } from '../wire/errors.ts';
import { type Failure, isErrorCode } from '../wire/failure.ts';
import {
  CachedOutput,
  type CommandRequest,
  type Handler,
  type Output,
  ProgressOutput,
  TextOutput,
} from './command.ts';

/** Where the frames of one response go. */
export interface ResponseSink {
  /** How many response bytes may be sent now, at most `wanted`; 0: wait. */
  allowance(wanted: number): number;
  /** Calls `resume` once, when the allowance may have grown. */
  wait(resume: () => void): void;
  /** Sends a frame of response bytes; takes them off the allowance and copies them before it returns. */
  sendBytes(bytes: Uint8Array, last: boolean): void;
  /** Text and progress are not credited, but wait until there is room for output. */
  readonly hasRoom: boolean;
  /** @throws RangeError when the output does not fit its frame. */
  sendText(output: TextOutput): void;
  sendProgress(output: ProgressOutput): void;
  sendError(failure: Failure): void;
  /**
   * Sends cached output, as the end of the response when `last`; then calls `then`, with the bytes if they have to
   * go the ordinary way after all.
   */
  sendCached(output: CachedOutput, last: boolean, then: (bytes?: Uint8Array) => void): void;
  /** Calls {@link ResponsePump.flush} at the end of the tick. */
  flushLater(pump: ResponsePump): void;
  /** Something was thrown that is not meant for the peer. */
  report(error: unknown): void;
  /** The last frame has been sent, or the response was stopped. */
  done(): void;
  /** The handler's code has ended: before done() if it came to its end, else when it has noticed. Called once. */
  ended(): void;
}

type AnyIterator = AsyncIterator<Output> | Iterator<Output>;

const utf8 = new TextEncoder();
/** No chunks; never added to. */
const NONE: Uint8Array[] = [];

export class ResponsePump {
  readonly #sink: ResponseSink;
  readonly #command: string;
  readonly #frameSize: number;
  #iterator: AnyIterator | undefined;
  #chunks: Uint8Array[] = NONE;
  #length = 0;
  #cached: CachedOutput | undefined;
  /** What goes on once the bytes in hand have been sent far enough; set while we wait for allowance. */
  #blocked: (() => void) | undefined;
  /** A step of the handler that came while we were blocked. */
  #parked: (() => void) | undefined;
  #flushPlanned = false;
  #over = false;
  #codeRuns = true;

  /** `frameSize`: most response bytes in one frame. */
  constructor(command: string, sink: ResponseSink, frameSize: number) {
    this.#command = command;
    this.#sink = sink;
    this.#frameSize = frameSize;
  }

  /** Runs `handler` and sends what it yields. */
  start(handler: Handler, request: CommandRequest): void {
    if (this.#over) {
      this.#codeEnded();
      return;
    }
    let output: ReturnType<Handler>;
    try {
      output = handler(request);
      this.#iterator = iteratorOf(output);
    } catch (error) {
      this.#threw(error);
      return;
    }
    if (this.#iterator !== undefined) this.#step();
    else if (isPromise(output)) {
      output.then(
        (value) => this.#returned(value),
        (error) => this.#threw(error),
      );
    } else this.#returned(output as Output | undefined);
  }

  /** Sends what is held, because the tick ends before the handler has gone on. */
  flush(): void {
    this.#flushPlanned = false;
    if (this.#over || this.#blocked !== undefined) return;
    if (this.#cached !== undefined) this.#sendCached(false, () => undefined);
    else this.#drain(0, () => undefined);
  }

  /** Stops the handler; nothing more is sent but `failure` as an application error, if given. */
  stop(failure?: Failure): void {
    if (this.#over) return;
    this.#end();
    if (failure !== undefined) this.#sink.sendError(failure);
    this.#sink.done();
    this.#unwind();
  }

  /** Lets a handler that is not at its end run its finally blocks: in the middle of an await, when that is over. */
  #unwind(): void {
    const iterator = this.#iterator;
    if (iterator === undefined || !this.#codeRuns) return;
    new Promise((resolve) => resolve(iterator.return?.()))
      .catch((error) => this.#sink.report(error))
      .then(() => this.#codeEnded());
  }

  #codeEnded(): void {
    if (!this.#codeRuns) return;
    this.#codeRuns = false;
    this.#sink.ended();
  }

  #threw(error: unknown): void {
    this.#codeEnded();
    this.fail(error);
  }

  #returned(output: Output | undefined): void {
    this.#codeEnded();
    if (this.#over) return;
    if (output === undefined) this.#finish();
    else if (!this.#sendWhole(output)) this.#take(output, () => this.#finish());
  }

  /** A response that is there at once and fits one frame needs nothing of what follows. */
  #sendWhole(output: Output): boolean {
    if (!(output instanceof Uint8Array) || output.length > this.#frameSize) return false;
    if (this.#sink.allowance(output.length) < output.length) return false;
    this.#sink.sendBytes(output, true);
    this.#close();
    return true;
  }

  #step(): void {
    if (this.#over) return;
    try {
      const result = (this.#iterator as AnyIterator).next();
      (result instanceof Promise ? result : Promise.resolve(result)).then(
        (step) => this.#stepped(step),
        (error) => this.#threw(error),
      );
    } catch (error) {
      this.#threw(error);
    }
  }

  #stepped(result: IteratorResult<Output>): void {
    if (result.done) this.#codeEnded();
    if (this.#over) return;
    if (this.#blocked !== undefined) {
      this.#parked = () => this.#stepped(result);
      return;
    }
    if (result.done) this.#finish();
    else this.#take(result.value, () => this.#step());
  }

  #take(output: Output, then: () => void): void {
    if (this.#cached !== undefined) this.#sendCached(false, () => this.#take(output, then));
    else if (output instanceof Uint8Array) this.#append(output, then);
    else if (typeof output === 'string') this.#append(utf8.encode(output), then);
    else if (output instanceof CachedOutput) {
      this.#drain(0, () => {
        this.#cached = output;
        this.#planFlush();
        then();
      });
    } else if (output instanceof TextOutput || output instanceof ProgressOutput) {
      this.#drain(0, () => this.#sendBeside(output, then));
    } else
      this.fail(new TypeError('a handler may yield Uint8Array, string, text, progress or cached output'));
  }

  #sendBeside(output: TextOutput | ProgressOutput, then: () => void): void {
    if (!this.#sink.hasRoom) {
      this.#wait(() => this.#sendBeside(output, then));
      return;
    }
    try {
      if (output instanceof TextOutput) this.#sink.sendText(output);
      else this.#sink.sendProgress(output);
    } catch (error) {
      this.fail(error);
      return;
    }
    then();
  }

  #append(bytes: Uint8Array, then: () => void): void {
    if (bytes.length > 0) {
      if (this.#chunks === NONE) this.#chunks = [];
      this.#chunks.push(bytes);
      this.#length += bytes.length;
      this.#planFlush();
    }
    this.#drain(this.#frameSize, then);
  }

  #finish(): void {
    if (this.#over) return;
    if (this.#cached !== undefined) {
      this.#sendCached(true, () => this.#close());
      return;
    }
    this.#drain(this.#frameSize, () => {
      const allowed = this.#sink.allowance(this.#length);
      if (allowed < this.#length) {
        if (allowed > 0) this.#sink.sendBytes(this.#gather(allowed), false);
        this.#wait(() => this.#finish());
        return;
      }
      this.#sink.sendBytes(this.#gather(this.#length), true);
      this.#close();
    });
  }

  /** Sends whole frames until at most `keep` bytes are left, waiting where it must, then goes on with `then`. */
  #drain(keep: number, then: () => void): void {
    while (this.#length > keep) {
      const allowed = this.#sink.allowance(Math.min(this.#length, this.#frameSize));
      if (allowed === 0) {
        this.#wait(() => this.#drain(keep, then));
        return;
      }
      this.#sink.sendBytes(this.#gather(allowed), false);
    }
    then();
  }

  #sendCached(last: boolean, then: () => void): void {
    const output = this.#cached as CachedOutput;
    this.#cached = undefined;
    this.#blocked = then;
    this.#sink.sendCached(output, last, (bytes) => {
      if (this.#over) return;
      this.#blocked = undefined;
      if (bytes === undefined) then();
      else this.#append(bytes, last ? () => this.#finish() : then);
      this.#unpark();
    });
  }

  #wait(then: () => void): void {
    this.#blocked = then;
    this.#sink.wait(() => {
      if (this.#over || this.#blocked !== then) return;
      this.#blocked = undefined;
      then();
      this.#unpark();
      // The flush of the tick that they came in found us blocked, and the handler may take its time.
      if (this.#length > 0) this.#planFlush();
    });
  }

  #unpark(): void {
    const parked = this.#parked;
    if (parked === undefined || this.#blocked !== undefined) return;
    this.#parked = undefined;
    parked();
  }

  /** The oldest `length` bytes in hand, in one piece. */
  #gather(length: number): Uint8Array {
    this.#length -= length;
    const first = this.#chunks[0];
    if (first === undefined) return new Uint8Array(0);
    if (first.length > length) {
      this.#chunks[0] = first.subarray(length);
      return first.subarray(0, length);
    }
    if (first.length === length) return this.#chunks.shift() as Uint8Array;
    const gathered = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      const chunk = this.#chunks[0];
      const part = chunk.subarray(0, length - filled);
      gathered.set(part, filled);
      filled += part.length;
      if (part.length === chunk.length) this.#chunks.shift();
      else this.#chunks[0] = chunk.subarray(part.length);
    }
    return gathered;
  }

  #planFlush(): void {
    if (this.#flushPlanned) return;
    this.#flushPlanned = true;
    this.#sink.flushLater(this);
  }

  /** Ends the response with an application error. */
  fail(error: unknown): void {
    if (this.#over) return;
    this.#end();
    this.#sink.sendError(this.#failureOf(error));
    this.#sink.done();
    this.#unwind();
  }

  /** What the peer is told; anything but a CommandError stays on this side. */
  #failureOf(error: unknown): Failure {
    try {
      if (error instanceof CommandError) return { ...codeAndMessage(error), data: this.#dataOf(error) };
      this.#sink.report(error);
    } catch (broken) {
      this.#sink.report(broken);
    }
    return { code: 'internal', message: `command '${this.#command}' failed: internal error` };
  }

  /** Undefined for what JSON has no word for, such as a function or a circle. */
  #dataOf({ data }: CommandError): string | undefined {
    try {
      return data === undefined ? undefined : JSON.stringify(data);
    } catch (error) {
      this.#sink.report(error);
      return undefined;
    }
  }

  #close(): void {
    this.#end();
    this.#sink.done();
  }

  #end(): void {
    this.#over = true;
    this.#chunks = NONE;
    this.#length = 0;
    this.#cached = undefined;
    this.#parked = undefined;
    this.#blocked = undefined;
  }
}

function iteratorOf(value: unknown): AnyIterator | undefined {
  if (typeof value !== 'object' || value === null || isOutput(value)) return undefined;
  if (Symbol.asyncIterator in value) return (value as AsyncIterable<Output>)[Symbol.asyncIterator]();
  if (Symbol.iterator in value) return (value as Iterable<Output>)[Symbol.iterator]();
  return undefined;
}

function isPromise(value: unknown): value is Promise<Output | undefined> {
  return typeof (value as Promise<unknown> | null | undefined)?.then === 'function';
}

function isOutput(value: unknown): value is Output {
  return (
    value instanceof Uint8Array ||
    typeof value === 'string' ||
    value instanceof CachedOutput ||
    value instanceof TextOutput ||
    value instanceof ProgressOutput
  );
}

/** @throws TypeError when its code was changed to what is none. */
function codeAndMessage({ code, message }: CommandError): Failure {
  if (!isErrorCode(code)) throw new TypeError('the code of a CommandError is none');
  return { code, message: String(message) };
}
