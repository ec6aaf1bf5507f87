/** Frames as messages (protocol C7): where a transport has messages, each is one or more whole frames. */

import { HEADER_SIZE, readHeader } from './frame.ts';

/** The subprotocol's name in a WebSocket handshake (protocol C7). */
export const SUBPROTOCOL = 'millrace.v1';

/** Bytes that we put into one message, unless a single frame has more; a server takes as many. */
export const MESSAGE_SIZE = 60 * 1024;

/** `chunk`, which is whole frames, as messages of at most {@link MESSAGE_SIZE} bytes, or of one frame. */
export function messagesOf(chunk: Uint8Array): Uint8Array[] {
  if (chunk.length <= MESSAGE_SIZE) return [chunk];
  const messages: Uint8Array[] = [];
  let start = 0;
  for (let at = 0; at < chunk.length; ) {
    const end = at + HEADER_SIZE + readHeader(chunk, at).length;
    if (end - start > MESSAGE_SIZE && at > start) {
      messages.push(chunk.subarray(start, at));
      start = at;
    }
    at = end;
  }
  messages.push(chunk.subarray(start));
  return messages;
}
