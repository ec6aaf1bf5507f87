/** A response on its way to an {@link Answer}: how much of it that has not taken yet, and whether it is whole. */

import type { FrameTarget } from '../lanes/batch-lease.ts';
import type { Gate } from '../reactor/gate.ts';
import { BytesResponseFlag, FrameType, MAX_PAYLOAD_LENGTH } from '../wire/frame.ts';
import {
  decodeFailure,
  decodeProgress,
  decodeTextOutput,
  ErrorDetail,
  type Progress,
  type ReceivedFailure,
  renderTextOutput,
} from '../wire/payloads.ts';
import { Splitter } from '../wire/splitter.ts';

/** Where a command's response goes. What it is given is used again as soon as it returns. */
export interface Answer {
  bytes(bytes: Uint8Array, last: boolean): void;
  text(text: string): void;
  progress(progress: Progress): void;
  /** Nothing more will come. */
  fail(failure: ReceivedFailure): void;
  /** Calls `taken` when all of the above has been taken. */
  flush(taken: () => void): void;
}

export class AnswerFeed implements FrameTarget {
  readonly #answer: Answer;
  readonly #output: Gate;
  readonly #onWhole: () => void;
  /** Of the frames that come from a lane. */
  #splitter: Splitter | undefined;
  #isWhole = false;
  #failed = false;
  #closed = false;
  /** Bytes that the answer has got and not taken, and of these those that it is asked about. */
  #untaken = 0;
  #flushing = 0;
  bytesWritten = 0;

  /** `output`: where what the answer has not taken counts, so that its handler waits for room. `onWhole`: nothing more is asked. */
  constructor(answer: Answer, output: Gate, onWhole: () => void) {
    this.#answer = answer;
    this.#output = output;
    this.#onWhole = onWhole;
  }

  /** The answer is whole: all of it has been given. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  /** It is an error, and may be broken off. */
  get failed(): boolean {
    return this.#failed;
  }

  get allTaken(): boolean {
    return this.#untaken === 0;
  }

  send(bytes: Uint8Array, release?: () => void): void {
    this.#splitter ??= new Splitter({
      maxPayload: MAX_PAYLOAD_LENGTH,
      onFrame: ({ type, flags, payload }) => this.take(type, flags, payload),
    });
    this.#splitter.push(bytes);
    release?.();
  }

  /** The contents of one frame. */
  take(type: number, flags: number, payload: Uint8Array): void {
    if (this.#closed || this.#isWhole) return;
    this.bytesWritten += payload.length;
    if (type === FrameType.bytesResponse) this.#takeBytes(payload, flags === BytesResponseFlag.eos);
    else if (type === FrameType.errorResponse) this.fail(decodeFailure(payload, ErrorDetail.data));
    else if (type === FrameType.textOutput) this.#answer.text(renderTextOutput(decodeTextOutput(payload)));
    else if (type === FrameType.progress) this.#answer.progress(decodeProgress(payload));
    else return;
    if (!this.#isWhole) this.#count(payload.length);
  }

  #takeBytes(bytes: Uint8Array, last: boolean): void {
    if (last) this.#becomeWhole();
    if (last || bytes.length > 0) this.#answer.bytes(bytes, last);
  }

  /** Ends an answer that is not whole. */
  fail(failure: ReceivedFailure): void {
    if (this.#closed || this.#isWhole) return;
    this.#failed = true;
    this.#becomeWhole();
    this.#answer.fail(failure);
  }

  /** Nobody wants it any more. */
  close(): void {
    this.#closed = true;
  }

  #becomeWhole(): void {
    this.#isWhole = true;
    this.#onWhole();
  }

  /** What the answer has not taken is output that waits, and its handler waits for room for more. */
  #count(bytes: number): void {
    this.#output.take(bytes);
    if (this.#untaken === 0) setImmediate(this.#flush);
    this.#untaken += bytes;
  }

  readonly #flush = (): void => {
    if (this.#flushing > 0 || this.#untaken === 0 || this.#closed || this.#isWhole) return;
    this.#flushing = this.#untaken;
    this.#answer.flush(this.#taken);
  };

  readonly #taken = (): void => {
    if (this.#closed) return;
    const bytes = this.#flushing;
    this.#flushing = 0;
    this.#untaken -= bytes;
    this.#output.give(bytes);
    this.#flush();
  };
}
