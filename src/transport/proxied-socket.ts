/** A connection that comes through a proxy: its header is read before anything else, and not a byte more. */

import type { Socket } from 'node:net';
import { afterInput } from './after-input.ts';
import { type ProxyHeader, ProxyHeaderError, parseProxyHeader } from './proxy-header.ts';

/**
 * Resolves with the header that `socket` begins with; the socket is paused then, and what follows the header is still to be
 * read from it. @throws ProxyHeaderError when none has come within `timeoutMs`, or another beginning; the socket is gone then.
 */
export function readProxyHeader(socket: Socket, timeoutMs: number): Promise<ProxyHeader> {
  const { promise, resolve, reject } = Promise.withResolvers<ProxyHeader>();
  let bytes: Buffer = Buffer.alloc(0);
  const fail = (error: Error) => {
    stop();
    socket.destroy();
    reject(error);
  };
  const onEnd = () => fail(new ProxyHeaderError('the connection ended before its PROXY header did'));
  const onData = (chunk: Buffer) => {
    // A header is a few hundred bytes: what is longer is refused or belongs to what follows.
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
    try {
      const parsed = parseProxyHeader(bytes);
      if (parsed === undefined) return;
      stop();
      socket.pause();
      if (bytes.length > parsed.length) socket.unshift(bytes.subarray(parsed.length));
      resolve(parsed.header);
    } catch (error) {
      fail(error as Error);
    }
  };
  const late = () => fail(new ProxyHeaderError(`no PROXY header within ${timeoutMs} ms`));
  const notLate = afterInput(timeoutMs, late);
  const stop = () => {
    notLate();
    socket.off('data', onData).off('end', onEnd).off('close', onEnd).off('error', fail);
  };
  socket.on('data', onData).on('end', onEnd).on('close', onEnd).on('error', fail);
  socket.resume();
  return promise;
}
