/** Frames as a server that encodes nothing makes them: responses, errors, lines of text, each on a stream of its own. */

import {
  BytesResponseFlag,
  ErrorResponseFlag,
  encodeFrame,
  FrameType,
  StreamFlag,
} from '../../src/wire/frame.ts';
import type { FrameSink } from '../../src/wire/frames.ts';
import { encodeTextOutput, type TextAtom } from '../../src/wire/payloads.ts';
import { cutUtf8 } from '../../src/wire/utf8.ts';

/**
 * A piece of a response; `isLast` ends the response (protocol A2). No piece makes an empty frame but a last one that is
 * itself empty. @throws RangeError when a frame would hold nothing.
 */
export function responseFrames(
  data: Uint8Array,
  isLast: boolean,
  maxFrameSize: number,
  sink: FrameSink,
): void {
  if (maxFrameSize < 1) throw new RangeError(`no frame has ${maxFrameSize} bytes`);
  const lastFlag = isLast ? BytesResponseFlag.eos : BytesResponseFlag.continuation;
  let offset = 0;
  for (; data.length - offset > maxFrameSize; offset += maxFrameSize) {
    const payload = data.subarray(offset, offset + maxFrameSize);
    sink(FrameType.bytesResponse, BytesResponseFlag.continuation, payload);
  }
  if (isLast || offset < data.length) {
    sink(FrameType.bytesResponse, lastFlag, offset === 0 ? data : data.subarray(offset));
  }
}

/**
 * An error-response frame (protocol B5): `protocol` ends the connection, `application` the request. The message, for people,
 * is cut at a character to fit `maxFrameSize` bytes.
 */
export function errorFrame(
  message: string | Uint8Array,
  kind: keyof typeof ErrorResponseFlag,
  maxFrameSize: number,
  sink: FrameSink,
): void {
  sink(FrameType.errorResponse, ErrorResponseFlag[kind], cutUtf8(message, maxFrameSize));
}

/** One text-output frame with all `atoms` (protocol A3). @throws TextOutputError when they do not fit one. */
export function textOutputFrame(atoms: readonly TextAtom[], sink: FrameSink): void {
  sink(FrameType.textOutput, 0, encodeTextOutput(atoms));
}

/** One outgoing stream without encoding: knows whether it has begun, and so which frame carries `begin` (protocol A5). */
export class StreamCursor {
  /** 1 … 255; odd: the client's, even: the server's. */
  readonly streamId: number;
  /** Whether `begin` was sent and `end` was not. */
  begun = false;

  constructor(streamId: number) {
    this.streamId = streamId;
  }

  /**
   * A whole frame as bytes. `streamFlags` may add `end`, after which the stream can be begun afresh.
   * @throws RangeError when a field does not fit, or for stream-settings on a stream that has begun (protocol A5).
   */
  frame(
    requestId: number,
    type: number,
    flags: number,
    payload: Uint8Array,
    streamFlags = 0,
  ): Uint8Array<ArrayBuffer> {
    if (type === FrameType.streamSettings && this.begun) {
      throw new RangeError('stream-settings may only ride on the frame that begins a stream');
    }
    const allFlags = this.begun ? streamFlags : streamFlags | StreamFlag.begin;
    const { streamId } = this;
    const bytes = encodeFrame({ requestId, streamId, streamFlags: allFlags, type, flags, payload });
    this.begun = (streamFlags & StreamFlag.end) === 0;
    return bytes;
  }
}
