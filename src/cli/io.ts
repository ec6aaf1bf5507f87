/** What a command line has of its process: streams, signals and an exit code. Whoever calls it may have others. */

import { type EventEmitter, once } from 'node:events';
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
  readonly env: NodeJS.ProcessEnv;
  /** What the work has come to so far. */
  exitCode = 0;

  constructor({ stdin, stdout, stderr }: Streams, signals: Signals, env: NodeJS.ProcessEnv = process.env) {
    this.stdin = stdin;
    this.stdout = stdout;
    this.stderr = stderr;
    this.signals = signals;
    this.env = env;
  }

  /** A line of the result. */
  print(line: string): void {
    this.stdout.write(`${line}\n`);
  }

  /** A part of the result; resolves when more of it may come, for it goes out no faster than it is read. */
  async write(chunk: Uint8Array | string): Promise<void> {
    if (!this.stdout.write(chunk)) await once(this.stdout, 'drain');
  }

  /** Calls `then` when the result can go nowhere any more; whether that is so. */
  onOutputGone(then: () => void): () => boolean {
    let isGone = false;
    this.stdout.once('error', () => {
      isGone = true;
      then();
    });
    return () => isGone;
  }

  /** A line about the work, or why it failed, whatever the text has in it. */
  complain(message: string): void {
    this.stderr.write(`millrace: ${oneLine(message)}\n`);
  }
}

/**
 * This process's own streams. That nobody reads our output any more is no error, and ends nothing but what is done for
 * that output alone ({@link Io.onOutputGone}): a server serves on, a pull pulls on. Output that cannot be written for another reason is a
 * failure, said once.
 */
export function processIo(): Io {
  const io = new Io(process, process);
  io.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE' || io.exitCode === EXIT_FAILED) return;
    io.complain(`cannot write the output: ${fsProblem(error)}`);
    io.exitCode = EXIT_FAILED;
    // It may come after everything else is done.
    process.exitCode = EXIT_FAILED;
  });
  // What is said there is about the work and not its outcome: who does not read it does not stop the work.
  io.stderr.on('error', () => {});
  return io;
}
