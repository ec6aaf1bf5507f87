/**
 * One command by HTTP without frames: a transport whose other end is not a peer but an answer. It says the command in frames, as
 * a client without contexts would, so that the session, the hook, the limits and the deadlines are those of all doors.
 */

import type { Transport } from '../connection/transport.ts';
import {
  BytesResponseFlag,
  ErrorResponseFlag,
  encodeFrame,
  type Frame,
  FrameType,
  MAX_PAYLOAD_LENGTH,
  StreamFlag,
} from '../wire/frame.ts';
import { type Argument, commandDataFrames, commandFrames } from '../wire/frames.ts';
import {
  decodeFailure,
  decodeProgress,
  decodeTextOutput,
  ErrorDetail,
  type Progress,
  type ReceivedFailure,
  renderTextOutput,
  type SenderSettings,
} from '../wire/payloads.ts';
import { Splitter } from '../wire/splitter.ts';
import type { RequestBody } from './request-body.ts';

/** Where a command's response goes. */
export interface ResponseSink {
  /** Bytes of it; they may be used again once {@link flush} has called back. */
  bytes(bytes: Uint8Array, last: boolean): void;
  text(text: string): void;
  progress(progress: Progress): void;
  fail(failure: ReceivedFailure): void;
  /** Calls `written` when all of the above has been taken. */
  flush(written: (error?: Error | null) => void): void;
}

export interface RpcCommand {
  readonly name: string;
  readonly args: readonly Argument[];
  readonly hasData: boolean;
}

const REQUEST_ID = 1;
const STREAM_ID = 1;
/** Bytes of a frame of command data, and of arguments. */
const FRAME_SIZE = 32_768;
/** What a response is taken with, which goes without saying. */
export const TAKES: SenderSettings = {
  contentEncodings: [],
  extensions: ['progress', 'error-codes', 'error-data'],
};
const NOTHING = new Uint8Array(0);
const GIVEN_UP: ReceivedFailure = {
  code: 'shutting-down',
  message: 'the server has given the request up',
  data: undefined,
};

export class RpcCall implements Transport {
  readonly remote: string;
  onData: (chunk: Uint8Array) => void = () => undefined;
  onEnd: () => void = () => undefined;
  onClose: (error: Error | undefined) => void = () => undefined;
  /** Command data, where there is any; it calls {@link push}. */
  body: RequestBody | undefined;
  readonly #command: RpcCommand;
  readonly #sink: ResponseSink;
  readonly #splitter = new Splitter({
    maxPayload: MAX_PAYLOAD_LENGTH,
    onFrame: (frame) => this.#take(frame),
  });
  #paused = true;
  #begun = false;
  #answered = false;
  #closed = false;

  constructor(command: RpcCommand, sink: ResponseSink, remote: string) {
    this.#command = command;
    this.#sink = sink;
    this.remote = remote;
  }

  write(chunks: Uint8Array[], written: (error?: Error | null) => void): void {
    for (const chunk of chunks) this.#splitter.push(chunk);
    this.#sink.flush(written);
  }

  pause(): void {
    this.#paused = true;
    this.body?.pause();
  }

  resume(): void {
    this.#paused = false;
    if (this.#closed) return;
    if (this.#begun) this.body?.resume();
    else
      setImmediate(() => {
        if (this.#paused || this.#begun || this.#closed) return;
        this.#begun = true;
        this.onData(commandBytes(this.#command));
        if (!this.#paused) this.body?.resume();
      });
  }

  end(): void {
    this.#close(undefined);
  }

  destroy(): void {
    this.#close(undefined);
  }

  endOfTick(run: () => void): void {
    setImmediate(run);
  }

  /** A piece of command data. */
  push(bytes: Uint8Array, last: boolean): void {
    if (this.#closed || this.#answered) return;
    commandDataFrames(bytes, last, FRAME_SIZE, (type, flags, payload) =>
      this.onData(frameOf(type, flags, payload)),
    );
  }

  /** Whoever asked is gone. */
  lose(error: Error | undefined): void {
    this.#close(error);
  }

  #take({ requestId, type, flags, payload }: Frame): void {
    if (requestId === REQUEST_ID && type === FrameType.bytesResponse) {
      const last = flags === BytesResponseFlag.eos;
      if (last || payload.length > 0) this.#sink.bytes(payload, last);
      if (last) this.#finish();
    } else if (type === FrameType.errorResponse) {
      const detail = flags === ErrorResponseFlag.application ? ErrorDetail.data : ErrorDetail.message;
      this.#sink.fail(decodeFailure(payload, detail));
      this.#finish();
    } else if (type === FrameType.textOutput) this.#sink.text(renderTextOutput(decodeTextOutput(payload)));
    else if (type === FrameType.progress) this.#sink.progress(decodeProgress(payload));
  }

  /** The answer is whole: nothing more is asked. */
  #finish(): void {
    if (this.#answered) return;
    this.#answered = true;
    this.body?.stop();
    setImmediate(() => {
      if (!this.#closed) this.onEnd();
    });
  }

  #close(error: Error | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.body?.stop();
    if (!this.#answered) this.#sink.fail(GIVEN_UP);
    setImmediate(() => this.onClose(error));
  }
}

function frameOf(type: number, flags: number, payload: Uint8Array, streamFlags = 0): Uint8Array {
  return encodeFrame({ requestId: REQUEST_ID, streamId: STREAM_ID, streamFlags, type, flags, payload });
}

/** The command; it stays out of shared contexts, because what it is answered with has one of its own. */
function commandBytes({ name, args, hasData }: RpcCommand): Uint8Array {
  const frames: Uint8Array[] = [];
  const all: Argument[] = [...args, [':sensitive', NOTHING]];
  commandFrames(name, all, hasData, FRAME_SIZE, (type, flags, payload) => {
    frames.push(frameOf(type, flags, payload, frames.length === 0 ? StreamFlag.begin : 0));
  });
  return frames.length === 1 ? frames[0] : Buffer.concat(frames);
}
