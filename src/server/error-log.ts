/** Where errors go: to the hook that asks for them; without one to the console, not faster than it can be read. */

import { inspect } from 'node:util';
import { asError, describe, watchRejection } from '../wire/thrown.ts';
import { after } from '../wire/timers.ts';
import { visible, visibleLines } from '../wire/visible.ts';
import type { ErrorContext, ServerOptions } from './options.ts';

/** Something of ours went wrong, or a peer broke the protocol. */
export type Report = (error: unknown, about: ErrorContext) => void;

const PERIOD_MS = 1000;

export class ErrorLog {
  /** Runs while the last line is younger than the period. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #leftOut = 0;
  /** The newest of those. */
  #last: { error: unknown; about: ErrorContext } | undefined;

  /** Writes it down, or only counts it: one a second is written. */
  readonly report = (error: unknown, about: ErrorContext): void => {
    if (this.#timer === undefined) {
      this.#write(error, about, '');
      return;
    }
    this.#leftOut++;
    this.#last = { error, about };
  };

  /** Writes what waits. */
  close(): void {
    clearTimeout(this.#timer);
    this.#writeLast();
    clearTimeout(this.#timer);
  }

  #write(error: unknown, about: ErrorContext, also: string): void {
    this.#timer = after(PERIOD_MS, () => this.#writeLast()).unref();
    console.error(`millrace: ${placeOf(about)}`, shown(error, about), also);
  }

  #writeLast(): void {
    this.#timer = undefined;
    if (this.#last === undefined) return;
    const { error, about } = this.#last;
    const others = this.#leftOut - 1;
    this.#last = undefined;
    this.#leftOut = 0;
    this.#write(error, about, others > 0 ? `(and ${others} more errors in the last second)` : '');
  }
}

/** What a peer did to its own connection is a line; what is ours to mend has its stack. Either may have a peer's words in it. */
function shown(error: unknown, { remote, command }: ErrorContext): string {
  if (remote === undefined || command !== undefined || !(error instanceof Error))
    return visibleLines(inspect(error));
  return `${error.name}: ${visible(error.message)}`;
}

function placeOf({ command, lane, remote, recording }: ErrorContext): string {
  const words = [
    command === undefined ? '' : `command '${command}'`,
    lane === undefined ? '' : `lane ${lane}`,
    remote === undefined ? '' : `connection of ${remote}`,
    recording ? 'recording' : '',
  ];
  return words.filter((word) => word !== '').join(', ') || 'server';
}

/** Tells `onError`. What an error hook itself throws must not meet the code that reports. */
export function reporter(onError: NonNullable<ServerOptions['onError']>): Report {
  const failed = (thrown: unknown) => process.emitWarning(`onError threw: ${describe(thrown)}`);
  return (error, about) => {
    try {
      watchRejection(onError(asError(error), about), failed);
    } catch (thrown) {
      failed(thrown);
    }
  };
}
