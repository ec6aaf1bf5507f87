/** The arguments of a command: those of its caller, and the reserved ones that its options ask for (protocol C6). */

import { bytesOrTextOf } from '../wire/bytes.ts';
import type { Argument } from '../wire/frames.ts';
import { encodeUtf8 } from '../wire/payloads.ts';
import { checkData } from './data-pieces.ts';
import type { CallOptions } from './options.ts';

const NOTHING = new Uint8Array(0);

/**
 * `authorization`: the client's, for calls that bring none of their own; `deadlineMs`: what is left until the call's
 * deadline. All is checked before anything is sent: half a command would cost the connection. @throws TypeError
 */
export function argumentsOf(
  options: CallOptions,
  authorization: string | undefined,
  deadlineMs: number | undefined,
  traceparent: string | undefined,
): Argument[] {
  const args: Argument[] = Object.entries(options.args ?? {}).map(([name, value]) => [
    name,
    valueBytes(name, value),
  ]);
  if (options.data !== undefined) checkData(options.data);
  const shown = options.authorization ?? authorization;
  if (shown !== undefined) args.push([':authorization', encodeUtf8(shown)]);
  if (options.sensitive) args.push([':sensitive', NOTHING]);
  if (deadlineMs !== undefined)
    args.push([':deadline-ms', encodeUtf8(String(Math.max(0, Math.round(deadlineMs))))]);
  if (traceparent !== undefined) args.push([':traceparent', encodeUtf8(traceparent)]);
  return args;
}

/** An argument's value as it travels. @throws TypeError when it is neither text nor bytes. */
export function valueBytes(name: string, value: unknown): Uint8Array {
  const bytes = bytesOrTextOf(value);
  if (bytes !== undefined) return bytes;
  throw new TypeError(`argument ${name} is neither a string nor a Uint8Array`);
}
