/**
 * From a handler's output to the frames of one response. Runs where the handler runs: on the main thread or in a lane.
 *
 * Small pieces that a handler yields within one tick go out as one frame. The newest bytes are held until the handler
 * goes on, so that the last frame of a response can say that it is the last; the end of the tick releases them.
 */

import { kindOf } from '../wire/bytes.ts';
import type { Failure } from '../wire/failure.ts';
import { asError } from '../wire/thrown.ts';
import {
  CachedOutput,
  type CommandRequest,
  cached,
  type Handler,
  type Output,
  ProgressOutput,
  TextOutput,
} from './command.ts';
import { failureOf } from './failure-of.ts';
import {
  isPromise,
  isSpecial,
  iteratorOf,
  nestedIteratorOf,
  outputBytes,
  type Step,
  settle,
  stepOf,
  type UserIterator,
} from './output.ts';
import { PendingBytes } from './pending-bytes.ts';

/** Steps of a handler, each of some 0.5 µs where it gives nothing, in one turn of the event loop. */
const STEPS_A_TURN = 1024;

/** Where the frames of one response go. */
export interface ResponseSink {
  /** How many response bytes may be sent now, at most `wanted`; 0: wait. */
  allowance(wanted: number): number;
  /** Calls `resume` once, when the allowance may have grown. */
  wait(resume: () => void): void;
  /** Sends a frame of response bytes, which stay as they are from now on; takes them off the allowance. */
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
  /** Calls `goOn` in a turn of the event loop of its own, after those of others. */
  nextTurn(goOn: () => void): void;
  /** Something was thrown that is not meant for the peer. */
  report(error: unknown): void;
  /** The last frame has been sent, or the response was stopped. */
  done(): void;
  /** The handler's code has ended: before done() if it came to its end, else when it has noticed. Called once. */
  ended(): void;
}

export class ResponsePump {
  readonly #sink: ResponseSink;
  readonly #command: string;
  readonly #frameSize: number;
  /** The handler's, and those of what it has yielded that comes in pieces itself; the innermost last. */
  readonly #iterators: UserIterator[] = [];
  readonly #bytes = new PendingBytes();
  #cached: CachedOutput | undefined;
  /** What goes on once the bytes in hand have been sent far enough; set while we wait for allowance. */
  #blocked: (() => void) | undefined;
  /** A step of the handler that came while we were blocked. */
  #parked: (() => void) | undefined;
  #flushPlanned = false;
  /** Steps of the handler since it last left others a turn. */
  #steps = 0;
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
    try {
      this.begin(handler(request));
    } catch (error) {
      this.threw(error);
    }
  }

  /** Sends what the handler has returned. */
  begin(output: unknown): void {
    try {
      const iterator = iteratorOf(output);
      if (iterator !== undefined) this.#iterate(iterator, this.#handlerEnds);
      else if (isPromise(output)) settle(output, this.#returned, this.threw);
      else this.#returned(output as Output | undefined);
    } catch (error) {
      this.threw(error);
    }
  }

  /** Sends what is held, because the tick ends before the handler has gone on. */
  flush(): void {
    this.#flushPlanned = false;
    if (this.#over || this.#blocked !== undefined) return;
    this.#enter(() => {
      if (this.#cached !== undefined) this.#sendCached(false, () => undefined);
      else this.#drain(0, () => undefined);
    });
  }

  /** Goes on from outside: nobody there could deal with what goes wrong, and it is this response's alone. */
  #enter(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.fail(error);
    }
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
    if (this.#iterators.length === 0 || !this.#codeRuns) return;
    const ends = this.#iterators.splice(0).reverse().map(this.#return);
    Promise.all(ends).then(() => this.#codeEnded());
  }

  readonly #return = async (iterator: UserIterator): Promise<void> => {
    try {
      await iterator.return?.();
    } catch (error) {
      this.#sink.report(error);
    }
  };

  #codeEnded(): void {
    if (!this.#codeRuns) return;
    this.#codeRuns = false;
    this.#sink.ended();
  }

  /** The handler has thrown, or what it gave has. */
  readonly threw = (error: unknown): void => {
    this.#iterators.pop();
    if (this.#iterators.length === 0) this.#codeEnded();
    this.fail(error);
  };

  readonly #returned = (output: Output | undefined): void => {
    try {
      this.#takeReturned(output);
    } catch (error) {
      this.threw(error);
    }
  };

  #takeReturned(output: Output | undefined): void {
    const bytes = outputBytes(output);
    const iterator = bytes === undefined && !isSpecial(output) ? nestedIteratorOf(output) : undefined;
    if (iterator !== undefined) {
      this.#iterate(iterator, this.#handlerEnds);
      return;
    }
    this.#codeEnded();
    if (this.#over) return;
    if (output === undefined) this.#finish();
    else if (bytes === undefined) this.#takeOther(output, () => this.#finish());
    else if (!this.#sendWhole(bytes)) this.#append(bytes, () => this.#finish());
  }

  /** A response that is there at once and fits one frame needs nothing of what follows. */
  #sendWhole(bytes: Uint8Array): boolean {
    if (bytes.length > this.#frameSize || this.#sink.allowance(bytes.length) < bytes.length) return false;
    this.#sink.sendBytes(bytes, true);
    this.#close();
    return true;
  }

  readonly #handlerEnds = (): void => {
    this.#codeEnded();
    this.#finish();
  };

  /** Takes all that `iterator` gives; then `end`. */
  #iterate(iterator: UserIterator, end: () => void): void {
    this.#iterators.push(iterator);
    if (this.#over) this.#unwind();
    else this.#step(iterator, end);
  }

  /** A handler that waits for nothing, and gives little or nothing, would keep the thread: promises go before all else. */
  #step(iterator: UserIterator, end: () => void): void {
    if (this.#over) return;
    if (this.#steps++ >= STEPS_A_TURN) {
      this.#steps = 0;
      this.#sink.nextTurn(() => this.#step(iterator, end));
      return;
    }
    try {
      settle(iterator.next(), (result) => this.#stepped(iterator, result, end), this.threw);
    } catch (error) {
      this.threw(error);
    }
  }

  #stepped(iterator: UserIterator, result: unknown, end: () => void): void {
    let step: Step;
    try {
      step = stepOf(result);
    } catch (error) {
      this.threw(error);
      return;
    }
    if (step.done) this.#iterators.pop();
    if (step.done && this.#iterators.length === 0) this.#codeEnded();
    if (!this.#over)
      this.#goOn(() => (step.done ? end() : this.#take(step.value, () => this.#step(iterator, end))));
  }

  /** Goes on with a step of the handler, now or when what is in hand has been sent far enough. */
  #goOn(run: () => void): void {
    if (this.#blocked !== undefined) this.#parked = run;
    else this.#enter(run);
  }

  #take(output: Output, then: () => void): void {
    if (this.#cached !== undefined) {
      this.#sendCached(false, () => this.#take(output, then));
      return;
    }
    const bytes = outputBytes(output);
    if (bytes !== undefined) this.#append(bytes, then);
    else this.#takeOther(output, then);
  }

  #takeOther(output: unknown, then: () => void): void {
    if (output instanceof CachedOutput) this.#takeCached(cached(output.key, output.produce), then);
    else if (output instanceof TextOutput || output instanceof ProgressOutput)
      this.#drain(0, () => this.#sendBeside(output, then));
    else {
      const iterator = nestedIteratorOf(output);
      if (iterator === undefined) throw noOutput(output);
      this.#iterate(iterator, then);
    }
  }

  #takeCached(output: CachedOutput, then: () => void): void {
    this.#drain(0, () => {
      this.#cached = output;
      this.#planFlush();
      then();
    });
  }

  #sendBeside(output: TextOutput | ProgressOutput, then: () => void): void {
    if (!this.#sink.hasRoom) {
      this.#wait(() => this.#sendBeside(output, then));
      return;
    }
    if (output instanceof TextOutput) this.#sink.sendText(output);
    else this.#sink.sendProgress(output);
    then();
  }

  #append(bytes: Uint8Array, then: () => void): void {
    if (bytes.length > 0) {
      this.#bytes.add(bytes);
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
      const allowed = this.#sink.allowance(this.#bytes.length);
      if (allowed < this.#bytes.length) {
        if (allowed > 0) this.#sink.sendBytes(this.#bytes.take(allowed), false);
        this.#wait(() => this.#finish());
        return;
      }
      this.#sink.sendBytes(this.#bytes.take(this.#bytes.length), true);
      this.#close();
    });
  }

  /** Sends whole frames until at most `keep` bytes are left, waiting where it must, then goes on with `then`. */
  #drain(keep: number, then: () => void): void {
    while (this.#bytes.length > keep) {
      const allowed = this.#sink.allowance(Math.min(this.#bytes.length, this.#frameSize));
      if (allowed === 0) {
        this.#wait(() => this.#drain(keep, then));
        return;
      }
      this.#sink.sendBytes(this.#bytes.take(allowed), false);
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
      this.#enter(() => {
        if (bytes === undefined) then();
        else this.#append(bytes, last ? () => this.#finish() : then);
        this.#unpark();
      });
    });
  }

  #wait(then: () => void): void {
    this.#blocked = then;
    this.#sink.wait(() => {
      if (this.#over || this.#blocked !== then) return;
      this.#blocked = undefined;
      this.#enter(() => {
        then();
        this.#unpark();
        // The flush of the tick that they came in found us blocked, and the handler may take its time.
        if (this.#bytes.length > 0) this.#planFlush();
      });
    });
  }

  #unpark(): void {
    const parked = this.#parked;
    if (parked === undefined || this.#blocked !== undefined) return;
    this.#parked = undefined;
    parked();
  }

  #planFlush(): void {
    if (this.#flushPlanned) return;
    this.#flushPlanned = true;
    this.#sink.flushLater(this);
  }

  /** Ends the response with an application error. */
  fail(error: unknown): void {
    if (this.#over) {
      // Nobody is told; but what was thrown may be a promise, and that may reject.
      asError(error);
      return;
    }
    this.#end();
    const internal = `command '${this.#command}' failed: internal error`;
    this.#sink.sendError(failureOf(error, internal, (broken) => this.#sink.report(broken)));
    this.#sink.done();
    this.#unwind();
  }

  #close(): void {
    this.#end();
    this.#sink.done();
  }

  #end(): void {
    this.#over = true;
    this.#bytes.clear();
    this.#cached = undefined;
    this.#parked = undefined;
    this.#blocked = undefined;
  }
}

function noOutput(output: unknown): TypeError {
  const possible = 'bytes, strings, streams of these, text, progress or cached output';
  return new TypeError(`a handler may yield ${possible}, not ${kindOf(output)}`);
}
