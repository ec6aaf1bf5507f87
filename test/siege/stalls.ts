/** The longest stalls of this thread's event loop. */

/** How often the loop is looked at, in milliseconds. */
const LOOK_MS = 5;

export class Stalls {
  #lastMs = performance.now();
  #lastCpuUs = ownCpuUs();
  /** The longest time between two looks beyond what is due. */
  #longestMs = 0;
  /** The most CPU time that this thread has used between two looks: a stall of our own making, not the machine's. */
  #longestCpuMs = 0;
  readonly #timer = setInterval(() => this.#look(), LOOK_MS).unref();

  #look(): void {
    const nowMs = performance.now();
    const cpuUs = ownCpuUs();
    this.#longestMs = Math.max(this.#longestMs, nowMs - this.#lastMs - LOOK_MS);
    this.#longestCpuMs = Math.max(this.#longestCpuMs, (cpuUs - this.#lastCpuUs) / 1000);
    this.#lastMs = nowMs;
    this.#lastCpuUs = cpuUs;
  }

  /** The longest since the last call, in milliseconds, whole. */
  take(): { stallMs: number; stallCpuMs: number } {
    this.#look();
    const found = { stallMs: Math.round(this.#longestMs), stallCpuMs: Math.round(this.#longestCpuMs) };
    this.#longestMs = 0;
    this.#longestCpuMs = 0;
    return found;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

function ownCpuUs(): number {
  const { user, system } = process.threadCpuUsage();
  return user + system;
}
