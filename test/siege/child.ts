/** The parts of a siege are processes of their own; each is asked by messages, and answers each with one. */

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** A part, as the others see it. */
export class Child {
  readonly #process: ChildProcess;

  /** `file`: a module of this folder that {@link answer}s; `args`: its arguments, `flags`: Node's. */
  constructor(file: string, args: readonly string[], env = process.env, flags: readonly string[] = []) {
    const path = fileURLToPath(new URL(file, import.meta.url));
    this.#process = fork(path, args, { execArgv: [...flags], env });
    const kill = () => this.#process.kill('SIGKILL');
    process.once('exit', kill);
    this.#process.once('exit', () => process.off('exit', kill));
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  /** @throws Error when the process ends before it has answered. */
  async ask<T>(what: string): Promise<T> {
    const ended = new AbortController();
    const gone = once(this.#process, 'exit', ended).then(() => {
      throw new Error(`a part of the siege ended before it answered '${what}'`);
    });
    this.#process.send(what);
    try {
      const [reply] = await Promise.race([once(this.#process, 'message', ended), gone]);
      return reply as T;
    } finally {
      gone.catch(() => undefined);
      ended.abort();
    }
  }

  /** Ends the process at once. */
  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exited = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await exited;
  }
}

/** In a part: answers what it is asked. The process ends when nobody can ask any more. */
export function answer(answers: Readonly<Record<string, () => unknown>>): void {
  process.on('disconnect', () => process.exit());
  process.on('message', async (what: string) => process.send?.((await answers[what]()) ?? null));
}
