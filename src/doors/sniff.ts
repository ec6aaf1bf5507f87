/** Frames or HTTP: what a connection to a port with several doors has come for, by its first bytes (protocol C8). */

import type { Socket } from 'node:net';
import { afterInput } from '../transport/after-input.ts';
import { ConnectionError } from '../wire/errors.ts';
import { HEADER_SIZE } from '../wire/frame.ts';
import { overLimit } from '../wire/limits.ts';

/** Bytes that tell. */
const ENOUGH = 3;

/** What comes in at a port, apart from TLS, which is a layer beneath it. */
export type Speech = 'frames' | 'http';

/**
 * What `bytes` begin with; undefined while it may be either. A frame's third byte is the highest of its length, which no first
 * frame fills up to a letter or to the end of a line; all HTTP methods begin with three capitals, or a hyphen among them, and
 * before the first there may be empty lines (RFC 9112 section 2.2).
 */
export function speechOf(bytes: Uint8Array): Speech | undefined {
  const length = Math.min(ENOUGH, bytes.length);
  for (let i = 0; i < length; i++) if (!isOfMethod(bytes[i]) && !isLineEnd(bytes[i])) return 'frames';
  return length < ENOUGH ? undefined : 'http';
}

function isOfMethod(byte: number): boolean {
  return (byte >= 0x41 && byte <= 0x5a) || byte === 0x2d;
}

function isLineEnd(byte: number): boolean {
  return byte === 0x0d || byte === 0x0a;
}

/**
 * Calls `then` with what `socket` speaks; it is paused then, and nothing of it is read. One that says nothing waits as long as
 * a connection between two frames may; once it has sent a byte it has `timeoutMs` for the others. `failed` is told of one that
 * has not come so far, with an error where it did not just end; its socket is gone.
 */
export function sniff(
  socket: Socket,
  timeoutMs: number,
  then: (speech: Speech) => void,
  failed: (error: Error | undefined) => void,
): void {
  let bytes: Buffer = Buffer.alloc(0);
  let notLate: (() => void) | undefined;
  const stop = () => {
    notLate?.();
    socket.off('data', onData).off('end', onEnd).off('close', onClose);
  };
  const fail = (error: Error | undefined) => {
    stop();
    socket.destroy();
    failed(error);
  };
  const late = () => fail(overLimit('openingTimeout', `no ${ENOUGH} bytes within ${timeoutMs} ms`));
  const onData = (chunk: Buffer) => {
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
    const speech = speechOf(bytes);
    if (speech !== undefined) finish(speech);
    else notLate ??= afterInput(timeoutMs, late);
  };
  const finish = (speech: Speech) => {
    stop();
    socket.pause();
    socket.unshift(bytes);
    then(speech);
  };
  const onEnd = () => {
    const text = `input ends inside a frame header, after ${bytes.length} of ${HEADER_SIZE} bytes`;
    fail(bytes.length === 0 ? undefined : new ConnectionError(text, { code: 'lost' }));
  };
  const onClose = () => fail(undefined);
  socket.on('data', onData).on('end', onEnd).on('close', onClose);
  socket.resume();
}
