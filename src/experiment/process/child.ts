/** A module of ours in a process of its own, asked over IPC; what it answers with is in operations.ts. */

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { after } from '../../wire/timers.ts';
import type { Answer, Call, OperationsOf } from './operations.ts';
import { track } from './track.ts';

/** How long a process may take to end by itself. */
const PATIENCE_MS = 2000;

export class Child<O extends OperationsOf<O>> {
  readonly #process: ChildProcess;
  readonly #died: string;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #nextId = 1;

  /** `died`: what an error says that comes of the process having ended; `flags`: Node's own. */
  constructor(
    file: string,
    died: string,
    { env = process.env, flags = [] }: { env?: NodeJS.ProcessEnv; flags?: readonly string[] } = {},
  ) {
    this.#died = died;
    this.#process = track(
      fork(file, {
        env,
        execArgv: ['--no-warnings', ...flags],
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      }),
    );
    this.#process.on('message', (answer: Answer) => this.#settle(answer));
    this.#process.on('exit', () => this.#failAll());
    this.#process.on('error', () => this.#failAll());
  }

  /** @throws Error with the message of the operation's, or when the process has ended. */
  ask<K extends keyof O & string>(operation: K, ...args: Parameters<O[K]>): ReturnType<O[K]> {
    const id = this.#nextId++;
    const answer = Promise.withResolvers<unknown>();
    this.#waiting.set(id, answer);
    // Where one of several askings has failed, nobody may wait for the others.
    answer.promise.catch(() => undefined);
    if (this.#process.connected) {
      this.#process.send({ id, operation, args } satisfies Call, (error) => error && this.#failAll());
    } else {
      this.#failAll();
    }
    return answer.promise as ReturnType<O[K]>;
  }

  /** Lets the process clear up and end. */
  async end(): Promise<void> {
    const { exitCode, signalCode } = this.#process;
    if (exitCode !== null || signalCode !== null) return;
    const exited = once(this.#process, 'exit');
    if (this.#process.connected) this.#process.disconnect();
    const late = after(PATIENCE_MS, () => this.#process.kill('SIGKILL'));
    await exited;
    clearTimeout(late);
  }

  #settle({ id, value, error }: Answer): void {
    const answer = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) answer?.resolve(value);
    else answer?.reject(new Error(error));
  }

  #failAll(): void {
    for (const { reject } of this.#waiting.values()) reject(new Error(this.#died));
    this.#waiting.clear();
  }
}
