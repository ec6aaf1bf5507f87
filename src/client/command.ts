/** The arguments of a command: those of its caller, and the reserved ones that its options ask for (protocol C6). */

import { bytesOrTextOf, kindOf } from '../wire/bytes.ts';
import type { COMMAND_LIMITS } from '../wire/extensions.ts';
import type { Argument } from '../wire/frames.ts';
import type { Limits } from '../wire/limits.ts';
import { encodeUtf8 } from '../wire/payloads.ts';
import { MAX_TIMER_MS } from '../wire/timers.ts';
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
  const args = givenArguments(options.args);
  if (options.data !== undefined) checkData(options.data);
  const shown = options.authorization ?? authorization;
  if (shown !== undefined) args.push([':authorization', encodeUtf8(shown)]);
  if (options.sensitive) args.push([':sensitive', NOTHING]);
  if (deadlineMs !== undefined)
    args.push([
      ':deadline-ms',
      encodeUtf8(String(Math.min(MAX_TIMER_MS, Math.max(0, Math.round(deadlineMs))))),
    ]);
  if (traceparent !== undefined) args.push([':traceparent', encodeUtf8(traceparent)]);
  return args;
}

/** What a server takes of one command (protocol B-limits). */
export type CommandLimits = Pick<Limits, (typeof COMMAND_LIMITS)[number]>;

/**
 * Holds a command to what its server takes: one that passes a limit would cost the connection, and every other call on it.
 * @throws RangeError that names the limit.
 */
export function checkCommand(command: string, args: readonly Argument[], limits: CommandLimits): void {
  const { maxCommandName, maxArguments, maxArgumentBytes } = limits;
  // No character has more than 3 bytes for each of its units.
  const nameBytes = command.length * 3 <= maxCommandName ? 0 : encodeUtf8(command).length;
  if (nameBytes > maxCommandName)
    throw new RangeError(
      `maxCommandName: a command's name has at most ${maxCommandName} bytes there, not ${nameBytes}`,
    );
  if (args.length > maxArguments)
    throw new RangeError(
      `maxArguments: a command has at most ${maxArguments} arguments there, not ${args.length}`,
    );
  let bytes = 0;
  for (const [name, value] of args) bytes += name.length + value.length;
  if (bytes > maxArgumentBytes)
    throw new RangeError(
      `maxArgumentBytes: a command has at most ${maxArgumentBytes} bytes of arguments there, not ${bytes}`,
    );
}

/**
 * A call's own arguments as they travel; one that is undefined is not given, as with options.
 * @throws TypeError for what is neither text nor bytes.
 */
export function givenArguments(args: CallOptions['args'] = {}): Argument[] {
  const given: Argument[] = [];
  for (const [name, value] of Object.entries(args)) {
    const bytes = bytesOrTextOf(value);
    if (bytes !== undefined) given.push([name, bytes]);
    else if (value !== undefined)
      throw new TypeError(`argument ${name} is made of bytes or a string, not of ${kindOf(value)}`);
  }
  return given;
}
