/** The side of a child process that is asked: operations by name, over IPC. The asking side is child.ts. */

import { after } from '../../wire/timers.ts';

export interface Call {
  readonly id: number;
  readonly operation: string;
  readonly args: readonly unknown[];
}

export interface Answer {
  readonly id: number;
  readonly value?: unknown;
  /** Why there is no value. */
  readonly error?: string;
}

/** What a process can be asked for. */
export type OperationsOf<O> = { readonly [K in keyof O]: (...args: never[]) => Promise<unknown> };

/** Time to clear up in when the parent has let go. */
const CLOSING_MS = 1000;

/** Does what the parent asks until it lets go; then `close`, and the process ends. */
export function serveOperations<O extends OperationsOf<O>>(
  operations: O,
  close: () => Promise<unknown> = async () => undefined,
): void {
  // A parent that lets go while it is answered wants no answer any more.
  const ignore = () => undefined;
  process.on('message', async (call: Call) => {
    const answer = await answerOf(operations, call);
    if (process.connected) process.send?.(answer, undefined, undefined, ignore);
  });
  process.on('disconnect', () => {
    after(CLOSING_MS, () => process.exit());
    void close().finally(() => process.exit());
  });
  // A terminal's Ctrl-C goes to all its processes; the parent decides, by letting go of the channel.
  process.on('SIGINT', () => undefined);
}

async function answerOf<O extends OperationsOf<O>>(operations: O, call: Call): Promise<Answer> {
  const { id, operation, args } = call;
  try {
    return { id, value: await operations[operation as keyof O](...(args as never[])) };
  } catch (error) {
    return { id, error: error instanceof Error ? error.message : String(error) };
  }
}
