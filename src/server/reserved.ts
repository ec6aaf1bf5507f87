/** The reserved arguments of a command (protocol C6): what they ask for, apart from what the handler gets. */

import type { ReceivedCommand } from '../reactor/server-action.ts';
import { decodeUtf8 } from '../wire/payloads.ts';
import { MAX_TIMER_MS } from '../wire/timers.ts';

/** What a command asks for beside its own arguments. */
export interface Asked {
  /** Milliseconds from now; undefined: no deadline; NaN: what was given is not a decimal number. */
  readonly deadlineMs: number | undefined;
  readonly sensitive: boolean;
  readonly authorization: Uint8Array | undefined;
  /** Whose part the request is in a trace, as the peer says. */
  readonly traceparent: Uint8Array | undefined;
}

const NOTHING_ASKED: Asked = {
  deadlineMs: undefined,
  sensitive: false,
  authorization: undefined,
  traceparent: undefined,
};

/** The handler's arguments, and what the reserved ones among them ask for. */
export function splitArguments({ args, reserved }: ReceivedCommand): {
  args: ReadonlyMap<string, Uint8Array>;
  asked: Asked;
} {
  if (!reserved) return { args, asked: NOTHING_ASKED };
  return {
    args: new Map([...args].filter(([name]) => !name.startsWith(':'))),
    asked: {
      deadlineMs: deadlineMsOf(args.get(':deadline-ms')),
      sensitive: args.has(':sensitive'),
      authorization: args.get(':authorization'),
      traceparent: args.get(':traceparent'),
    },
  };
}

function deadlineMsOf(value: Uint8Array | undefined): number | undefined {
  if (value === undefined) return undefined;
  const text = decodeUtf8(value);
  return /^\d{1,15}$/.test(text) ? Math.min(Number(text), MAX_TIMER_MS) : Number.NaN;
}
