/** What the server's lanes run, and its main thread as well. */

import type { CommandRequest, Output } from '../../../src/reactor/command.ts';
import { pattern } from '../../fixtures/pattern.ts';

const MAX_SIZE = 200_000;

/** `size` bytes that depend on `seed`, both brought within bounds: the request may have been damaged. */
export function patternFor(request: CommandRequest): Uint8Array {
  const size = Number(request.text('size')) || 0;
  return pattern(Number(request.text('seed')) & 7, Math.max(0, Math.min(MAX_SIZE, size)));
}

export async function* fill(request: CommandRequest): AsyncGenerator<Output> {
  const bytes = patternFor(request);
  for (let at = 0; at < bytes.length; at += 16_384) yield bytes.slice(at, at + 16_384);
}
