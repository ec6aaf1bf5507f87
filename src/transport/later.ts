/** Later turns, by the one way that browsers and Node.js share and that waits for no time. */

class Turns {
  readonly #channel = new MessageChannel();
  readonly #waiting: (() => void)[] = [];
  /** Node.js has it: what waits for nothing keeps no process alive. */
  readonly #port = this.#channel.port1 as MessagePort & { ref?(): void; unref?(): void };

  constructor() {
    this.#port.onmessage = () => {
      const run = this.#waiting.shift();
      if (this.#waiting.length === 0) this.#port.unref?.();
      run?.();
    };
    this.#port.unref?.();
  }

  later(run: () => void): void {
    if (this.#waiting.push(run) === 1) this.#port.ref?.();
    this.#channel.port2.postMessage(undefined);
  }
}

let turns: Turns | undefined;

/** Runs `run` in a later turn, after what was given here before. */
export function later(run: () => void): void {
  turns ??= new Turns();
  turns.later(run);
}
