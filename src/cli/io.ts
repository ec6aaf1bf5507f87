/** What a command line has of its process: streams, signals and an exit code. Whoever calls it may have others. */

import type { EventEmitter } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { fsProblem } from '../files/paths.ts';
import { oneLine } from './show.ts';

export const EXIT_FAILED = 1;
export const EXIT_MISUSED = 2;

export interface Streams {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable & { readonly isTTY?: boolean };
}

/** Emits the names of signals. */
export type Signals = Pick<EventEmitter, 'on' | 'off'>;

export class Io {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Streams['stderr'];
  readonly signals: Signals;
  /** What the work has come to so far. */
  exitCode = 0;

  constructor({ stdin, stdout, stderr }: Streams, signals: Signals) {
    this.stdin = stdin;
    this.stdout = stdout;
    this.stderr = stderr;
    this.signals = signals;
  }

  /** A line of the result. */
  print(line: string): void {
    this.stdout.write(`${line}\n`);
  }

  /** A line about the work, or why it failed, whatever the text has in it. */
  complain(message: string): void {
    this.stderr.write(`millrace: ${oneLine(message)}\n`);
  }
}

/** This process's own streams. Nobody reads what is printed any more: then the process ends. */
export function processIo(): Io {
  const io = new Io(process, process);
  // `millrace … | head` is the end, and no error.
  io.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit();
    io.complain(`cannot write the output: ${fsProblem(error)}`);
    process.exit(EXIT_FAILED);
  });
  // What is said there is about the work and not its outcome: who does not read it does not stop the work.
  io.stderr.on('error', () => {});
  return io;
}
